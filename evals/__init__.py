"""Evaluation of a trained model: benchmarks, judges and statistics, with failures kept separate from scores."""
