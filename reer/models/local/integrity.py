"""A model folder is data: its bytes identify it, damage is noticed before it is loaded, and nothing in it is run."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from reer.errors import InputError
from reer.files import adapter, sync_folder, sync_tree, write_json
from reer.models.local.weights import require_files

log = logging.getLogger(__name__)

MARKER = "COMPLETE"  # in a cached folder: the sha256 of every other file, by name; written last
IDENTIFYING = (".json", ".safetensors", ".jinja")


def existing(folder: Path) -> Path:
    """A folder that holds a model. Raises InputError for any other, for one whose model wants code to be run, and for
    one whose weights are not all there."""
    if not (folder / "config.json").is_file():
        alone = "; it holds an adapter alone, merge it into its base model and save that"
        why = alone if (folder / "adapter_config.json").is_file() else ""
        raise InputError(f"model folder {folder}: no config.json; want a folder saved by save_pretrained{why}")
    refuse_code(folder)
    require_files(folder)
    return folder


def refuse_code(folder: Path) -> None:
    """Raise InputError for a configuration that names Python code (`auto_map`), or cannot be read."""
    for file in sorted(folder.glob("*config.json")):
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}: not a JSON object: {error}; fetch the model again") from None
        if isinstance(content, dict) and "auto_map" in content:
            raise InputError(
                f"{file}: auto_map names Python code that comes with the model, which is never run here; want a model "
                "whose architecture is part of transformers, without auto_map"
            )


def folder_digest(folder: Path) -> str:
    """The sha256 (16 digits) of the names and bytes of a model folder's configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for file in sorted(existing(folder).iterdir()):
        if file.suffix in IDENTIFYING:
            digest.update(file.name.encode())
            digest.update(bytes.fromhex(_sha256(file)))
    return digest.hexdigest()[:16]


def cached_model(folder: Path, make: Callable[[Path], Path]) -> Path:
    """A model folder of the cache, made by `make(scratch)` if it is missing or damaged. It appears complete or not at
    all, and its files are verified once in each process."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be created: {error.strerror}; set REER_CACHE to a folder that can be written"
        ) from error
    with FileLock(f"{folder}.lock"):
        damage = _damage(folder)
        if damage and folder.exists():
            log.warning("%s: %s; making this cached model again", folder, damage)
        if damage:
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = make(Path(scratch))
                write_json(made / MARKER, {file.name: _sha256(file) for file in sorted(made.iterdir())})
                sync_tree(made)
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
            sync_folder(folder.parent)
    return folder


def _damage(folder: Path) -> str:
    """What is wrong with a cached folder; '' if it is complete and every file has its recorded content."""
    try:
        recorded = adapter(dict[str, str]).validate_json((folder / MARKER).read_bytes())
    except FileNotFoundError:
        return "not complete"
    except ValidationError:
        return f"{MARKER} is damaged"
    for name, digest in recorded.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _sha256(folder / name) != digest:
            return f"{name} does not have the content that was stored"
    return ""


def verify_download(folder: Path) -> None:
    """Raise InputError, naming the file, if a snapshot of the hub's cache is damaged. The cache names each file after
    the digest that the hub states: the sha256 of large files, the git digest of others."""
    for file in sorted(folder.iterdir()):
        stated = file.resolve().name
        if file.suffix in IDENTIFYING and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stated):
            actual = _sha256(file) if len(stated) == 64 else _git_digest(file)
            if actual != stated:
                raise InputError(
                    f"{file.resolve()}: the file is damaged: its digest is {actual}, the hub states {stated}; delete "
                    "it and repeat the command to download it again"
                )


def _git_digest(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _sha256(file: Path) -> str:
    """The sha256 of a file; computed once in a process, as long as the file is not written."""
    status = file.stat()
    return _sha256_of(file, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _sha256_of(file: Path, inode: int, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
