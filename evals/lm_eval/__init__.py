"""lm-eval tasks on a trained model, and our benchmarks as lm-eval tasks."""
