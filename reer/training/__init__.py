"""Rows become tokens, tokens become a fine-tuned student."""
