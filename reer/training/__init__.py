"""Fine-tuning: samples are rendered to tokens with a loss mask, and a student is trained on them."""
