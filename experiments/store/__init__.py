"""Results on disk: memoised stages, fingerprints, and the files of a run."""
