"""The edge: configuration, the memoised pipeline, tracking, reports and the command line."""
