"""Language models behind two small protocols; one file per backend."""
