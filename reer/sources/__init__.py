"""Where pairs come from: one file per source, each yielding raw rows that `reer.pairs` turns into Pairs."""
