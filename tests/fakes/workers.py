"""How `pytest -n` shares the tests among its workers."""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling

WITH_SWEEP = (
    "tests/experiments/history/",
    "tests/experiments/report/page/test_page.py",
    "tests/experiments/sweeps/test_launchers.py",
    "tests/experiments/test_end_to_end.py",
    "tests/experiments/tracking/test_online.py",
    "tests/test_readmes.py",
)


def needs_sweep(nodeid: str) -> bool:
    """Whether a test is in a file, or in a folder, that works on the six arms."""
    return nodeid.startswith(WITH_SWEEP)


class SweepScheduling(LoadScopeScheduling):
    """A file is run by one worker, and all files that need the six arms by the same one. (`--dist=loadgroup` of
    xdist 3.8 has no effect with pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return "sweep" if needs_sweep(nodeid) else nodeid.partition("::")[0]
