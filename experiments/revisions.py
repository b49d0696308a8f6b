"""Commits on the hub: a branch of a data set or a model is resolved once for a root folder and frozen in every plan
after that.

`ROOT/revisions.json` keeps what was resolved, so that all arms and all later runs read the same rows and weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.store.fingerprint import Json
from experiments.store.provenance import commit_in_cache
from experiments.store.records import read_object
from reer.errors import Incomplete, InputError
from reer.files import write_json

log = logging.getLogger(__name__)
Lookup = Callable[[str, str], str]


def is_commit(revision: str) -> bool:
    """True for 40 hex digits."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def pinned(
    plan: Mapping[str, Json],
    root: Path,
    lookup: Lookup | None = None,
    today: Lookup | None = None,
    models: Lookup | None = None,
) -> dict[str, Json]:
    """The plan with each revision that has been resolved under `root`, also in the parts of a source and in the arm it
    is matched to. With a `lookup` (repo, revision -> commit), the others are resolved now and kept, those of models by
    `models`, and a branch that has moved since it was kept is reported (`today`: how its commit is found; default: the
    hub is asked). Without one they stay as they are."""

    def pinned_part(part: Json) -> Json:
        if not isinstance(part, dict):
            return part
        inner = {key: pinned_part(value) for key, value in part.items()}
        if not isinstance(repo := part.get("repo"), str):
            return inner
        if "split" in part:
            commit = _commit(repo, repo, part["revision"], root, lookup, today or commit_on_hub)
        elif part.get("kind") == "HubModel":
            commit = _commit(f"model {repo}", repo, part["revision"], root, models, today or model_commit_on_hub)
        else:
            return inner
        return {**inner, "revision": commit}

    return {key: pinned_part(value) for key, value in plan.items()}


def _commit(what: str, repo: str, revision: Json, root: Path, lookup: Lookup | None, today: Lookup) -> Json:
    if not isinstance(revision, str) or not revision or is_commit(revision):
        return revision
    path, key = root / "revisions.json", f"{what}@{revision}"
    resolved = read_object(path) if path.exists() else {}
    if key in resolved and lookup is not None:
        _report_move(repo, revision, str(resolved[key]), path, today)
    elif lookup is not None and is_commit(commit := lookup(repo, revision)):
        resolved[key] = commit
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, resolved)
    return resolved.get(key, revision)


def _report_move(repo: str, revision: str, kept: str, path: Path, today: Lookup) -> None:
    """Warn where a branch names another commit than the one that is kept; silent where the hub cannot be asked."""
    try:
        now = today(repo, revision)
    except InputError:
        return
    if is_commit(now) and now != kept:
        log.warning(
            "%s: revision %r has moved to commit %s; this folder keeps %s, so that its runs stay comparable. For the "
            "new rows use another runtime.root, or remove the entry from %s",
            repo,
            revision,
            now,
            kept,
            path,
        )


def commit_on_hub(repo: str, revision: str) -> str:
    """The commit that a branch or tag of a data set names today. Raises InputError where the hub cannot be asked."""
    from reer.data.hub import commit_of

    try:
        return commit_of(repo, revision)
    except Incomplete as error:
        raise InputError(
            f"data set {repo}: the commit of revision {revision!r} is not known here. {error} Run once with network "
            "access, or set source.revision (public.revision) to a commit of 40 hex digits from "
            f"huggingface.co/datasets/{repo}/commits"
        ) from error


def model_commit_on_hub(repo: str, revision: str) -> str:
    """The commit that a branch or tag of a model names today: on the hub, else in the local cache. Where neither can
    be asked it stays the branch: no work may need the model, and fetching it says what is missing."""
    from reer.models.local.hub import commit_of_model

    try:
        return commit_of_model(repo, revision)
    except Incomplete:
        return commit_in_cache(f"{repo}@{revision}") or revision
