"""The stages: rows in, library, rows out, typed metrics. Stage files do not import one another."""
