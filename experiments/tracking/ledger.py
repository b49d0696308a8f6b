"""Which W&B runs mirror a run, kept beside its record (`mirrored.json`), so that each row is sent once.

A W&B run belongs to one attempt. An attempt ends when a stage that it shows is rebuilt with other content: the
next attempt has an id of its own, and the old one is tagged `superseded`. Online, a resumed run goes on in the W&B run
it began. Offline, each process begins a new directory with everything in it, and only the last directory of an attempt
is ever sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from reer.files import adapter, write_json

log = logging.getLogger(__name__)
FILE = "mirrored.json"
SUPERSEDED = "superseded"  # tag of a W&B run that another one replaced


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """One W&B run of a run.

    `experiment` identifies what is mirrored. `online`: W&B has the rows, else `folder` (relative to the runtime's root)
    has them. `stages` are the digests of the stages it shows, by name. `row` is its row of the table; `row_sent`:
    W&B has that row.
    """

    experiment: str
    number: int
    project: str
    entity: str | None = None
    online: bool
    folder: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict[str, str])
    row: Mapping[str, float | str] = field(default_factory=dict[str, float | str])
    row_sent: bool = False
    superseded: bool = False

    @property
    def id(self) -> str:
        """The id of the W&B run: the same for the same experiment, with the number of a later attempt."""
        return self.experiment if self.number == 1 else f"{self.experiment}-a{self.number}"

    @property
    def path(self) -> str:
        """What W&B's public API calls this run."""
        return "/".join(filter(None, (self.entity, self.project, self.id)))


def next_mirror(mirrors: tuple[Mirror, ...], wanted: Mirror, stored: Mapping[str, str]) -> Mirror:
    """The W&B run that a process mirrors to: a resumed one, or a new attempt. `wanted` is the first attempt at this
    experiment in the wanted mode; `stored` are the digests of the stages that the store holds now, by name."""
    same = [m for m in mirrors if (m.experiment, m.project) == (wanted.experiment, wanted.project)]
    if not same:
        return wanted
    last = same[-1]
    rebuilt = any(stored.get(name) != digest for name, digest in last.stages.items())
    unknown = last.online and not wanted.online  # what W&B has cannot be asked
    if rebuilt or unknown:
        return replace(wanted, number=last.number + 1)
    return replace(last, online=wanted.online, folder=None) if last.online else replace(wanted, number=last.number)


class Ledger:
    """The W&B runs of one run, oldest first; the last is the current one."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.mirrors = _read(self.file)

    @property
    def current(self) -> Mirror | None:
        return self.mirrors[-1] if self.mirrors else None

    def put(self, mirror: Mirror) -> None:
        """Keep a W&B run as the current one. It supersedes the others of its project."""
        others = [m for m in self.mirrors if (m.id, m.project) != (mirror.id, mirror.project)]
        self._write((*(replace(m, superseded=m.project == mirror.project) for m in others), mirror))

    def change(self, mirror: Mirror) -> None:
        """Keep a W&B run in the place of the one with its id."""
        same = (mirror.id, mirror.project)
        self._write(tuple(mirror if (m.id, m.project) == same else m for m in self.mirrors))

    def _write(self, mirrors: tuple[Mirror, ...]) -> None:
        self.mirrors = mirrors
        write_json(self.file, [asdict(m) for m in mirrors])


def _read(path: Path) -> tuple[Mirror, ...]:
    try:
        return adapter(tuple[Mirror, ...]).validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except ValidationError:
        log.warning("%s is damaged or of another version: W&B may get rows of this run a second time", path)
        return ()
