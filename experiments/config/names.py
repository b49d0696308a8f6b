"""The name of a run, derived from its overrides; and the refusal of secrets in a plan."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reer.errors import InputError
from reer.secrets import is_a_hex_key, looks_like_a_secret, names_a_credential

NAME_CHARACTERS = 80  # the longest name of a run
AXES = {
    "scale",
    "experiment",
    "sweep",
    "seed",
    "replace",
    "baseline",
}  # as whole choices: part of the run's name already
OUTSIDE = {"runtime", "tracking", "estimate", "hydra", "budget", "pairwise", "design"}
ARMS = (
    "experiment",
    "name",
    "match",
    "data",
    "search",
    "reflection",
    "trajectory",
    "categories",
)  # the groups that an arm may change
COMMITS = ("revision", "commit")  # keys whose value may be 40 hex digits


def derived_name(name: str, overrides: Sequence[str]) -> str:
    """The arm's name with the overrides that change it: `full+search=single_pass`. A name set by an override is kept
    unchanged. A longer name than is allowed ends in a hash of the whole, so that no two names become one."""
    extras = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "name":
            return name
        if key.endswith(".data.folder"):
            continue  # the folder of a benchmark's files, not their content
        if key not in AXES and group_of(override) not in OUTSIDE:
            extras.append(f"{key}={Path(value).name}")
    slug = re.sub(r"[^A-Za-z0-9._=+-]+", "-", "+".join([name, *sorted(extras)]))
    if len(slug) <= NAME_CHARACTERS:
        return slug.rstrip("+-=.")
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]
    return f"{slug[: NAME_CHARACTERS - len(digest) - 1].rstrip('+-=.')}-{digest}"


def without(overrides: Sequence[str], *groups: str) -> list[str]:
    """The overrides that neither choose from these groups nor set a key in them."""
    return [override for override in overrides if group_of(override) not in groups]


def group_of(override: str) -> str:
    """The group that an override chooses from, or sets a key in: `hydra` of `hydra/launcher=joblib`."""
    return re.split(r"[@./=]", override.lstrip("+~"))[0]


def refuse_keys(value: object, path: str = "") -> None:
    """Raise InputError for a text that looks like a secret: plans are written to disk and shown in W&B."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            refuse_keys(item, f"{path}.{key}".strip("."))
    elif isinstance(value, list):
        for item in value:
            refuse_keys(item, path)
    elif isinstance(value, str) and _is_secret(value, path):
        raise _secret(path)


def refuse_keys_in(overrides: Sequence[str]) -> None:
    """Raise InputError for an override with a value that looks like a secret, and for one that sets or copies an
    environment variable whose name says that it holds one: Hydra writes both to disk, and messages repeat overrides."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if looks_like_a_secret(key):
            raise _secret("an override")
        if _is_secret(value.strip("'\""), key):
            raise _secret(key)
        if "env_set" in override or "env_copy" in override:
            for variable in filter(names_a_credential, re.findall(r"\w+", override)):
                raise InputError(
                    f"{key}: Hydra would write the value of {variable} to disk; jobs inherit the command's "
                    "environment variables, so set it there"
                )


def _is_secret(value: str, path: str) -> bool:
    commit = path.rpartition(".")[2] in COMMITS
    return looks_like_a_secret(value) or (is_a_hex_key(value) and not commit)


def _secret(path: str) -> InputError:
    return InputError(f"{path} looks like a secret; put it into an environment variable and name the variable instead")
