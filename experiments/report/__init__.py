"""What people read: comparison tables in the terminal and as HTML."""
