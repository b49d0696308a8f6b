"""Filters, transformations and the mixture: which thinking is trained on, and in which form."""
