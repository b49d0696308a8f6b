"""Shared fixtures. The first lines matter: idle OpenMP threads must not spin, and nothing may reach the network."""

import os

os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TQDM_DISABLE"] = "1"
os.environ.pop("WANDB_API_KEY", None)

from pathlib import Path

import pytest

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
