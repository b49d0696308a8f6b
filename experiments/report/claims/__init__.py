"""Claims: statements over arms and measures, and what the differences of a sweep say of them."""
