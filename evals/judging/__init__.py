"""LLM judges: questions, records, verdicts, pairwise comparison, and measurements of a judge's reliability."""
