"""Models in this process: transformers checkpoints, decoding, exact scoring with shared prefixes."""
