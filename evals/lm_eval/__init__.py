"""Runs lm-eval tasks on a trained model, and offers the judged benchmarks as lm-eval tasks."""
