"""Results on disk: memoised stages, fingerprints, and the files of a run."""

from pathlib import Path

OUTPUTS = Path("outputs")
"""The default of runtime.root: where commands look for runs by themselves."""
