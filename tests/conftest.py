"""Fixtures of all tests, and the isolation of the session from the user's files, keys and caches."""

from __future__ import annotations

import gc
import gzip
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer

from evals.benchmarks.data_files import DataFiles
from tests.fakes.commands import finished
from tests.fakes.isolation import Snapshot, changed, isolate, snapshot
from tests.fakes.workers import SweepScheduling, needs_sweep

REPOSITORY = Path(__file__).parents[1]
OUTPUTS = REPOSITORY / "outputs"
ARMS = (
    "full",
    "no_synthetic_data",
    "no_iterative_search",
    "no_reflection_tokens",
    "short_trajectories",
    "no_literature_arts",
)
SESSION = pytest.StashKey[Path]()
BEFORE = pytest.StashKey[Snapshot]()


def pytest_configure(config: pytest.Config) -> None:
    """Isolate the session before test modules import libraries that read their environment at import."""
    config.stash[SESSION] = Path(tempfile.mkdtemp(prefix="reer-tests-"))
    config.stash[BEFORE] = snapshot(OUTPUTS)
    isolate(config.stash[SESSION])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if anything in the checkout's `outputs/` has changed."""
    names = changed(session.config.stash[BEFORE], snapshot(OUTPUTS))
    if names:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nthe tests wrote to {OUTPUTS} (or a run did meanwhile): {names[:10]}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[SESSION], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that need the six arms come first: they take longest, and one worker of `pytest -n` runs them all."""
    items.sort(key=lambda item: not needs_sweep(item.nodeid))


def pytest_collection_finish() -> None:
    """The collected tests live as long as the session: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SweepScheduling:
    return SweepScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fixtures of modules and of the session run in an empty folder, where the default `outputs/` does not exist."""
    folder = request.config.stash[SESSION] / "work"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture(autouse=True)
def _isolated_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in its own folder, so that no test finds the `outputs/` of another. Hydra lowers the root logger's
    level in a process that composed; asyncio's debug lines are no messages of ours."""
    monkeypatch.chdir(tmp_path)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data for measurements, where it is at hand: `$REER_SHARED`, else a folder `shared` beside the project."""
    folder = Path(os.environ.get("REER_SHARED") or REPOSITORY.parent / "shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set REER_SHARED to a folder that has it")
    return folder


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime.root of the six arms at smoke scale, run once for the session. Tests that change it use a copy.

    The arms are run in this process, which imports torch once; the sweep itself then starts its six processes, which
    find their stages in the store.
    """
    root = tmp_path_factory.mktemp("sweep")
    for arm in ARMS:
        finished(root, "run", f"experiment={arm}", "scale=smoke")
    finished(root, "run", "sweep=ablations", "scale=smoke")
    return root


@pytest.fixture
def arms(sweep: Path, tmp_path: Path) -> Path:
    """A copy of the six arms that a test may change."""
    return Path(shutil.copytree(sweep, tmp_path / "out"))


def pinned(folder: Path) -> DataFiles:
    """The benchmark files in a folder, pinned by their content."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".json", ".jsonl", ".txt", ".gz")]
    digests = {}
    for file in files:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        digests[file.relative_to(folder).as_posix().removesuffix(".gz")] = hashlib.sha256(content).hexdigest()
    return DataFiles(folder=str(folder), sha256=digests, upstream="a test")
