"""Rows of every source become pairs and public reasoning samples."""
