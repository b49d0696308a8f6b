"""Commits of data sets on the hub: a branch is resolved once for a root folder and frozen in every plan after that.

`ROOT/revisions.json` keeps what was resolved, so that all arms and all later runs read the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.store.fingerprint import Json
from experiments.store.records import read_object
from reer.errors import InputError
from reer.files import write_json

ROLES = ("source", "public", "matched_to")
Lookup = Callable[[str, str], str]


def is_commit(revision: str) -> bool:
    """True for 40 hex digits."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def pinned(plan: Mapping[str, Json], root: Path, lookup: Lookup | None = None) -> dict[str, Json]:
    """The plan with each revision that has been resolved under `root`. With a `lookup` (repo, revision -> commit), the
    others are resolved now and kept; without one they stay as they are."""
    content = dict(plan)
    for role in ROLES:
        part = content.get(role)
        if isinstance(part, dict) and role == "matched_to":
            content[role] = pinned(part, root, lookup)
        elif isinstance(part, dict) and isinstance(part.get("repo"), str):
            content[role] = {**part, "revision": _commit(str(part["repo"]), part["revision"], root, lookup)}
    return content


def _commit(repo: str, revision: Json, root: Path, lookup: Lookup | None) -> Json:
    if not isinstance(revision, str) or not revision or is_commit(revision):
        return revision
    path, key = root / "revisions.json", f"{repo}@{revision}"
    resolved = read_object(path) if path.exists() else {}
    if key not in resolved and lookup is not None:
        resolved[key] = lookup(repo, revision)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, resolved)
    return resolved.get(key, revision)


def commit_on_hub(repo: str, revision: str) -> str:
    """The commit that a branch or tag of a data set names today. Raises InputError where the hub cannot be asked."""
    import httpx
    import httpx2  # huggingface_hub's client

    from reer.data.hub import commit_of

    try:
        return commit_of(repo, revision)
    except (OSError, httpx.HTTPError, httpx2.HTTPError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"data set {repo}: the commit of revision {revision!r} is not known here, and the hub cannot be asked "
            f"({reason}). Run once with network access, or set source.revision (public.revision) to a commit of 40 hex "
            f"digits from huggingface.co/datasets/{repo}/commits"
        ) from error
