"""Keeps a test session away from the user: no keys, a home and caches of its own, and another working directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

CREDENTIAL = re.compile(r".*_(API_KEY|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY)", re.I)
LIBRARY = re.compile(r"(HF|HUGGING_FACE|HUGGINGFACE|TRANSFORMERS|WANDB)_.*")
OWN = ("REER_CACHE", "REER_CONF")
REPOSITORY = Path(__file__).parents[2]

Snapshot = dict[str, tuple[int, int]]


def isolate(folder: Path) -> None:
    """Point HOME, every cache and every library at `folder`, and remove the user's keys and settings.

    Called before any library is imported that reads its environment at import. `REER_TEST_CACHE` names a cache of
    model weights to use instead of an empty one, so that slow tests need not fetch the bundled model again.
    """
    for name in list(os.environ):
        if CREDENTIAL.fullmatch(name) or LIBRARY.fullmatch(name) or name in OWN:
            del os.environ[name]
    home, cache = folder / "home", folder / "home" / ".cache"
    cache.mkdir(parents=True)
    os.environ |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "REER_CACHE": os.environ.get("REER_TEST_CACHE") or str(cache / "reer"),
        "HF_HOME": str(cache / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "offline",
        "WANDB_CACHE_DIR": str(cache / "wandb"),
        "WANDB_CONFIG_DIR": str(home / ".config" / "wandb"),
        "WANDB_DATA_DIR": str(home / ".local" / "share" / "wandb"),
        "OMP_WAIT_POLICY": "passive",  # idle OpenMP threads must not spin
        "OMP_NUM_THREADS": "1",  # models of tests are too small to share among threads, and workers run side by side
        "PYTHONPATH": str(REPOSITORY),  # child processes of tests import `tests.fakes`, which no installation holds
        "TQDM_DISABLE": "1",
    }


def snapshot(folder: Path) -> Snapshot:
    """Size and modification time of every file below a folder, by relative path; empty where there is no folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """The files that were added, removed or written between two snapshots."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
