"""The jobs of a sweep: what they are made of, how they start, and how they end."""
