"""What a user may choose: the groups and choices of the configuration folders, read from the YAML files themselves.

The project's own folder comes first; a folder of the user's adds to it. Nothing here needs Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reer.errors import InputError, near
from reer.files import adapter

CONF_VARIABLE = "REER_CONF"
YAML_BYTES = 1 << 17  # a larger file is no choice, but data
YAML_NODES = 10_000  # with aliases written out: nine lines of nine aliases each are a thousand million values
YAML_DEPTH = 50
COMPOSED_OF = "composed_of"  # key of a plan that is no part of the experiment
HYDRA_GROUP = "hydra"  # a user's folder may add launchers and other settings of Hydra itself


def _own_folder() -> Path:
    """`conf/` inside the installed package, or at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


CONF = _own_folder()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One YAML file: what a group may be set to. `used_by` are the keys that it fills by default."""

    group: str
    name: str
    description: str
    path: Path
    used_by: tuple[str, ...] = ()


def conf_folders(extra: Path | None = None) -> tuple[Path, ...]:
    """The configuration folders in order: the project's own, then the user's (`extra`, else `$REER_CONF`).

    Raises InputError if the user's folder does not exist, holds a folder that is no group, repeats a choice, or holds a
    YAML file that is too large to read.
    """
    named = os.environ.get(CONF_VARIABLE)
    user = extra or (Path(named) if named else None)
    if user is None:
        return (CONF,)
    where = "--config-dir" if extra else CONF_VARIABLE
    if not user.is_dir():
        raise InputError(f"{where}: no such folder: {user}; want a folder with YAML files in folders such as search/")
    _check_user_folder(user.resolve(), where)
    return (CONF, user.resolve())


def _check_user_folder(user: Path, where: str) -> None:
    own_groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    stray = sorted(file.name for file in user.iterdir() if file.suffix in (".yaml", ".yml"))
    if stray:
        raise InputError(
            f"{where}: {user / stray[0]} is in no group; want it in a folder such as {user / 'experiment'}"
        )
    for file in sorted(user.rglob("*.yaml")):
        _refuse_large(file)
    for file in sorted(user.glob("*/*.yaml")):
        group = file.parent.name
        if group == HYDRA_GROUP:
            continue
        if group not in own_groups:
            raise InputError(f"{where}: {file.parent} is not a configuration group{near(group, own_groups)}")
        if (CONF / group / file.name).exists():
            raise InputError(f"{where}: {group}={file.stem} already exists in {CONF}; rename {file}")


def _refuse_large(file: Path) -> None:
    """Raise InputError for a file whose values would fill the memory: by its size, or written out from aliases. Reads
    the file as a stream of events, so that none of its values is built."""
    if not file.is_file():
        raise InputError(f"{file}: want a file, got a folder or a device")
    size = file.stat().st_size
    if size > YAML_BYTES:
        raise InputError(f"{file}: {size} bytes; want at most {YAML_BYTES} in a YAML file of choices")
    import yaml

    counts, anchors = [0], dict[str, int]()  # nodes of each collection that is open; of each node with an anchor
    names: list[str | None] = []  # the anchor of each collection that is open
    try:
        for event in yaml.parse(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                counts.append(1)
                names.append(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                nodes, name = counts.pop(), names.pop()
                counts[-1] += nodes
                anchors |= {name: nodes} if name else {}
            elif isinstance(event, yaml.AliasEvent):
                counts[-1] += anchors.get(event.anchor, YAML_NODES + 1)  # unknown while it is open: it holds itself
            elif isinstance(event, yaml.ScalarEvent):
                counts[-1] += 1
                anchors |= {event.anchor: 1} if event.anchor else {}
            if max(counts) > YAML_NODES or len(counts) > YAML_DEPTH:
                raise InputError(
                    f"{file}: more than {YAML_NODES} values with its aliases written out, or nested deeper than "
                    f"{YAML_DEPTH}; want a small YAML file of choices"
                )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not YAML: {error}") from error


def groups(folders: Sequence[Path]) -> list[str]:
    """All group names, sorted."""
    names = {folder.name for root in folders for folder in root.iterdir() if folder.is_dir()}
    return sorted(names - {HYDRA_GROUP, "__pycache__"})


def choice_names(group: str, folders: Sequence[Path]) -> list[str]:
    """The names a group may be set to, sorted."""
    return sorted(file.stem for root in folders for file in (root / group).glob("*.yaml"))


def choices(folders: Sequence[Path], group: str | None = None) -> list[Choice]:
    """Every choice of one group, or of all. Raises InputError for a group that does not exist."""
    known = groups(folders)
    if group is not None and group not in known:
        raise InputError(f"no group is called {group!r}; groups: {', '.join(known)}{near(group, known)}")
    defaults = default_choices()
    files = [file for name in known for root in folders for file in sorted((root / name).glob("*.yaml"))]
    return [
        Choice(
            group=file.parent.name,
            name=file.stem,
            description=description(file),
            path=file,
            used_by=defaults.get((file.parent.name, file.stem), ()),
        )
        for file in files
        if group in (None, file.parent.name)
    ]


def description(file: Path) -> str:
    """The first sentence of the comment at the head of a YAML file."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z0-9(])", " ".join(lines), maxsplit=1)[0]


@cache
def default_choices() -> dict[tuple[str, str], tuple[str, ...]]:
    """(group, choice) -> the keys it fills when no override is given: config.yaml, changed by the default scale."""
    defaults = _defaults_of(CONF / "config.yaml")
    scale = defaults["scale"][0]
    chosen = {**defaults, **_defaults_of(CONF / "scale" / f"{scale}.yaml")}
    keys: dict[tuple[str, str], tuple[str, ...]] = {}
    for key, names in chosen.items():
        group, _, package = key.partition("@")
        for name in names:
            keys[group, name] = (*keys.get((group, name), ()), package or group)
    return keys


def _defaults_of(file: Path) -> dict[str, list[str]]:
    """`group@package` -> names, of one file's defaults list."""
    import yaml

    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["defaults"]
    chosen: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            ((key, value),) = entry.items()
            words = str(key).split()
            if not words[-1].lstrip("/").startswith(HYDRA_GROUP):
                chosen[words[-1].lstrip("/")] = value if isinstance(value, list) else [value]
    return chosen


@dataclass(frozen=True)
class ComposedOf:
    """What a plan was composed of: Hydra's choice in every group that takes one, and the overrides."""

    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    overrides: tuple[str, ...] = ()


def composed_of(plan: Mapping[str, object]) -> ComposedOf:
    """What a plan was composed of; nothing for a plan that an earlier version froze."""
    return adapter(ComposedOf).validate_python(plan[COMPOSED_OF]) if COMPOSED_OF in plan else ComposedOf()
