"""What the YAML of an arm changes, read off the files: nothing is composed.

An arm is known by its choices as well as by its name: whoever composes `search=single_pass`, on the command line or as
the arm of a design, makes the arm `no_iterative_search`, and its contract holds for that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import yaml

from experiments.contracts.measured import check_names
from experiments.contracts.terms import Contract, is_touched
from reer.errors import InputError
from reer.parts import build

GROUP = "experiment"
OWN_KEYS = {"defaults", "name", "contract", "hydra"}  # of the arm itself: no change of its configuration
GLOBAL = "@package _global_"


@dataclass(frozen=True)
class WrittenArm:
    """The YAML of an arm: the choices and keys that it sets, and its contract."""

    name: str
    file: Path
    choices: Mapping[str, str]
    keys: tuple[str, ...]
    contract: Contract

    @property
    def changed(self) -> tuple[str, ...]:
        """The groups and keys of the configuration that differ from the baseline's."""
        return (*self.choices, *self.keys)

    def is_made_by(self, choices: Mapping[str, str]) -> bool:
        """Whether these choices make the arm. Keys that it sets cannot be seen in choices."""
        return bool(self.choices) and not self.keys and self.choices.items() <= choices.items()

    def check(self) -> None:
        """Raise InputError for a change that the contract does not allow, and for a number that is not measured."""
        check_names(self.contract)
        touches = self.contract.touches
        if touches is None:
            return
        for key in self.changed:
            if not is_touched(key, touches):
                raise InputError(
                    f"experiment={self.name}: {self.file} changes {key}, and its contract lets it touch "
                    f"{', '.join(touches) or 'nothing'}; leave {key} out, or add it to contract.touches"
                )


def contract_of(experiment: str, choices: Mapping[str, str], folders: Sequence[Path]) -> Contract:
    """The contract of a run: that of its experiment, and those of all arms that its choices make. Raises InputError
    for one that its own YAML breaks."""
    files = [file for folder in folders for file in sorted((folder / GROUP).glob("*.yaml"))]
    arms = [written_arm(file, folders) for file in files]
    contract = Contract()
    for arm in sorted(arms, key=lambda arm: arm.name != experiment):
        if arm.name == experiment:
            arm.check()
            contract = replace(arm.contract, of=(arm.name,) if arm.changed else ())
        elif arm.is_made_by(choices):
            contract = contract.joined(replace(arm.contract, of=(arm.name,)))
    return contract


def written_arm(file: Path, folders: Sequence[Path]) -> WrittenArm:
    """The arm of a YAML file. Raises InputError for a contract that is none."""
    content = _read(file)
    stated = content.get("contract")
    contract = build(stated, {}, f"{file}: contract", Contract) if isinstance(stated, Mapping) else Contract()
    choices, keys = dict[str, str](), list[str]()
    for key, choice in _changes(file, folders):
        if choice is None:
            keys.append(key)
        else:
            choices[key] = choice
    return WrittenArm(file.stem, file, choices, tuple(dict.fromkeys(keys)), contract)


def _changes(file: Path, folders: Sequence[Path]) -> Iterator[tuple[str, str | None]]:
    """Each key that a global YAML file sets, without a choice, and each group that it overrides, with its choice; also
    those of the files that it takes its defaults from."""
    content = _read(file)
    defaults = content.get("defaults")
    for entry in defaults if isinstance(defaults, list) else ():
        if isinstance(entry, str):
            parent = file.with_name(f"{entry}.yaml")
            yield from _changes(parent, folders) if parent.is_file() and parent != file else ()
        elif isinstance(entry, Mapping):
            for key, choice in entry.items():
                group, _, package = str(key).split()[-1].lstrip("/").partition("@")
                yield (package or group, str(choice))
                yield from _of_global_choice(group, str(choice), folders)
    own = {key: value for key, value in content.items() if key not in OWN_KEYS}
    yield from ((key, None) for key in _leaves(own))


def _of_global_choice(group: str, choice: str, folders: Sequence[Path]) -> Iterator[tuple[str, str | None]]:
    """What a choice sets outside its own group."""
    for file in (folder / group / f"{choice}.yaml" for folder in folders):
        if file.is_file() and GLOBAL in file.read_text(encoding="utf-8").partition("\n")[0]:
            yield from _changes(file, folders)


def _leaves(content: Mapping[str, object], path: str = "") -> Iterator[str]:
    for key, value in content.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, where)
        else:
            yield where


def _read(file: Path) -> Mapping[str, object]:
    """The content of a YAML file, parsed once until the file changes: every job of a command looks at every arm."""
    found = file.stat()
    return _parsed(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _parsed(file: Path, _changed_ns: int, _size: int) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not YAML: {error}") from error
    return content if isinstance(content, Mapping) else {}
