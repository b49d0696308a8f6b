"""The Hugging Face hub, asked by its own client: errors as ours, and the tensors of a model before it is downloaded."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reer.errors import Incomplete, InputError
from reer.models.local.integrity import existing
from reer.models.local.weights import INDEX, Head, require_tensors

LOOKUP_SECONDS = 20.0


@contextmanager
def asking(what: str, page: str) -> Iterator[None]:
    """What the hub's client raises, as errors of ours that say what to do. `what` is asked for (data set owner/name),
    `page` is its page."""
    import httpx
    import httpx2  # huggingface_hub's client
    from huggingface_hub.errors import (
        GatedRepoError,
        NotASafetensorsRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError as error:
        raise InputError(f"{what}: no such revision; give a commit from {page}/commits") from error
    except GatedRepoError as error:
        raise InputError(f"{what}: it is gated; accept its terms at {page} and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{what}: the hub has none of this name, or it is private; check the name, or set HF_TOKEN"
        ) from error
    except (NotASafetensorsRepoError, RemoteEntryNotFoundError) as error:
        raise InputError(f"{what}: {first_line(error)} Look at {page}/tree, or choose another") from error
    except (OSError, httpx.HTTPError, httpx2.HTTPError) as error:
        raise Incomplete(
            f"{what}: the hub cannot be read ({first_line(error)}); repeat the command with network access: files "
            "that are complete are kept"
        ) from error


def commit_of_model(repo: str, revision: str) -> str:
    """The commit that a branch or tag of a model names on the hub. Raises Incomplete where the hub cannot be asked."""
    from huggingface_hub import HfApi

    with asking(f"model {repo}", f"https://huggingface.co/{repo}"):
        commit = HfApi().model_info(repo, revision=revision, timeout=LOOKUP_SECONDS).sha
    if commit is None:
        raise InputError(
            f"model {repo}: the hub returns no commit for revision {revision!r}; give a commit of 40 hex digits"
        )
    return commit


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def require_tensors_on_hub(repo: str, revision: str, head: Head) -> None:
    """Raise InputError for a model on the hub whose weights lack a file or a tensor; Incomplete where the hub cannot be
    asked. Downloads its configuration and the heads of its weights alone."""
    from huggingface_hub import HfApi, hf_hub_download

    with asking(f"model {repo}", f"https://huggingface.co/{repo}"):
        config = hf_hub_download(repo, "config.json", revision=revision)
        found = HfApi().get_safetensors_metadata(repo, revision=revision)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / repo.replace("/", "--")
        folder.mkdir()
        (folder / "config.json").write_bytes(Path(config).read_bytes())
        for name, file in found.files_metadata.items():
            heads = {tensor: (info.dtype, info.shape, info.data_offsets) for tensor, info in file.tensors.items()}
            _write_hollow(folder / name, heads)
        if found.sharded:
            (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": found.weight_map}))
        require_tensors(existing(folder), head)


def _write_hollow(file: Path, tensors: Mapping[str, tuple[str, list[int], tuple[int, int]]]) -> None:
    """A safetensors file with these tensors, all zero: a hole on the disk that takes no room."""
    head = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            **{
                name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}
                for name, (dtype, shape, offsets) in tensors.items()
            },
        }
    ).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head)
    os.truncate(file, 8 + len(head) + max((offsets[1] for _, _, offsets in tensors.values()), default=0))
