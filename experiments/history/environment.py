"""What moved between two executions of a stage: code, packages, machine, servers, and branches of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.store.provenance import Hardware, Provenance, commit_in_cache, provenance
from experiments.store.records import Record

NOTHING, NOT_RECORDED = "none", "not recorded"


@dataclass(frozen=True)
class Environment:
    """Where a stage was executed, or would be now."""

    provenance: Provenance
    servers: tuple[str, ...] = ()
    revisions: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, record: Record) -> Environment:
        """What made a stage result."""
        return cls(record.provenance, record.servers, record.revisions)

    def here(self) -> Environment:
        """What would make it in this process. A branch of a model that is not in the cache is taken not to have
        moved."""
        commits = {name: commit_in_cache(name) or commit for name, commit in self.revisions.items()}
        return Environment(provenance(), self.servers, commits)

    def facts(self) -> dict[str, str]:
        """Everything that may change a result without being part of its identity, by a word for it."""
        made = self.provenance
        changed = f" ({made.changes})" if made.changes else ""
        return {
            "code": f"{made.git or 'outside a checkout'}{changed}",
            "python": made.python,
            "platform": made.platform,
            **{f"package {name}": version for name, version in made.packages.items()},
            **(_hardware(made.hardware) if made.hardware else {}),
            "servers": ", ".join(self.servers) or NOTHING,
            **{f"model {name}": commit for name, commit in self.revisions.items()},
        }


@dataclass(frozen=True)
class Moved:
    """One fact of the environment that differs, and the steps for which it does."""

    what: str
    before: str
    now: str
    steps: tuple[str, ...]


def moved(pairs: Mapping[str, tuple[Environment, Environment]]) -> tuple[Moved, ...]:
    """What differs between two environments of each step, each difference once. A fact that only one side has was not
    recorded on the other."""
    steps: dict[tuple[str, str, str], list[str]] = {}
    for step, (before, now) in pairs.items():
        old, new = before.facts(), now.facts()
        for what in dict.fromkeys([*old, *new]):
            difference = (what, old.get(what, NOT_RECORDED), new.get(what, NOT_RECORDED))
            if difference[1] != difference[2]:
                steps.setdefault(difference, []).append(step)
    return tuple(Moved(*difference, tuple(names)) for difference, names in steps.items())


def _hardware(machine: Hardware) -> dict[str, str]:
    gpus = [f"{count} x {name}" for name, count in Counter(machine.gpus).items()]
    return {"processor": machine.cpu, "processors": str(machine.cpus), "GPUs": ", ".join(gpus) or NOTHING}
