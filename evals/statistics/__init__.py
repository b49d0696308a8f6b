"""Paired comparison of arms over items and seeds."""
