"""Paired comparison of arms over items and seeds; README.md lists the methods with their measured error rates."""
