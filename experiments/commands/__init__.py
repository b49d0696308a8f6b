"""The verbs of the command line, in files by what they are for."""
