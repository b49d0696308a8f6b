"""Judges at work: questions, records, verdicts, and how reliable a judge is."""
