"""The judged benchmarks and the official files they read."""
