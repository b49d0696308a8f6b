"""What was run before: its state, its repetition, why stages are computed, what differs, and what nobody needs."""
