"""Benchmarks, judges and statistics: what a trained model is worth, with failures kept apart from scores."""
