"""REER: search for the thinking that makes a known good solution least surprising (arXiv 2509.06160)."""
