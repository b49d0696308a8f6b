"""What each stage measures, as records, and the names by which readers find them: no stage's body is loaded to read."""
