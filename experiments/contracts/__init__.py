"""What an arm states about itself, and whether it holds."""
