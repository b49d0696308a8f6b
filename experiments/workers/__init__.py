"""Work that can run in other processes: searches with their models opened together."""
