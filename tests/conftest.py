"""Shared fixtures. The first lines matter: idle OpenMP threads must not spin, and nothing may reach the network."""

import os

os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TQDM_DISABLE"] = "1"
os.environ.pop("WANDB_API_KEY", None)

import gzip
import hashlib
from pathlib import Path

import pytest

from evals.benchmarks.data_files import DataFiles

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data for measurements, where it is at hand: `$REER_SHARED`, else a folder `shared` beside the project."""
    folder = Path(os.environ.get("REER_SHARED") or REPOSITORY.parent / "shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set REER_SHARED to a folder that has it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _model_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tiny models are built once for the session, away from the user's cache (unless a cache is named)."""
    os.environ.setdefault("REER_CACHE", str(tmp_path_factory.mktemp("cache")))


def pinned(folder: Path) -> DataFiles:
    """A benchmark's files as they lie in a folder, pinned by what they hold."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".json", ".jsonl", ".txt", ".gz")]
    digests = {}
    for file in files:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        digests[file.relative_to(folder).as_posix().removesuffix(".gz")] = hashlib.sha256(content).hexdigest()
    return DataFiles(str(folder), digests, "a test")
