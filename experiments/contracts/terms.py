"""The contract of an arm: the configuration that it may change, and what must be measured on it and on its baseline.

A contract is a part of the experiment and of no stage's identity: stating one changes no result.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from reer.errors import InputError

Relation = Literal["=", ">", "<", ">=", "<="]
RELATIONS: dict[Relation, Callable[[float, float], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
BASELINE = "baseline"
BOUND = re.compile(rf"(?P<relation>[<>]=?|=)?\s*(?P<than>{BASELINE}|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)", re.I)
PATH = re.compile(r"(?P<stage>\w+)(?::(?P<label>[\w.+-]+?))?\.(?P<field>\w+)(?:\.(?P<key>[\w-]+))?")
Side = Literal["arm", "baseline"]
Expectation = Literal["same", "worse"]


@dataclass(frozen=True, kw_only=True)
class MetricPath:
    """The place of a number in the metrics of a run: `refine.edits_accepted`, `mix.by_source.synthetic`,
    `grade:writing.judgements`. `key` is that of a mapping."""

    stage: str
    label: str = ""
    field: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> MetricPath:
        """The path that `str` wrote. Raises InputError for another form."""
        found = PATH.fullmatch(text)
        if found is None:
            raise InputError(f"{text}: no place of a measured number; want STAGE.FIELD, such as refine.edits_accepted")
        label, key = found["label"] or "", found["key"]
        return cls(stage=found["stage"], label=label, field=found["field"], key=key)

    def __str__(self) -> str:
        stage = f"{self.stage}:{self.label}" if self.label else self.stage
        return ".".join(filter(None, (stage, self.field, self.key)))


@dataclass(frozen=True)
class Term:
    """One statement about a measured number of the arm, or of its baseline. `than` is None where it is compared with
    the same number of the baseline."""

    of: Side
    path: MetricPath
    relation: Relation
    than: float | None

    def holds(self, measured: float, of_baseline: float | None) -> bool | None:
        """Whether the statement is true; None where it needs a number of the baseline that is not known."""
        than = of_baseline if self.than is None else self.than
        return None if than is None else RELATIONS[self.relation](measured, than)

    def __str__(self) -> str:
        than = "the baseline's" if self.than is None else f"{self.than:g}"
        owner = "" if self.of == "arm" else "baseline "
        return f"{owner}{self.path} {self.relation} {than}"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What an arm states about itself.

    touches:  the groups and keys of the configuration that it may change; None states nothing, [] that it changes none
    arm:      STAGE.FIELD → what is measured on the arm: `0`, `"> 0"`, `"< baseline"`
    baseline: STAGE.FIELD → what the baseline must have had for the switch to have anything to act on
    of:       the experiments whose choices the arm makes, under whatever name
    expects:  for a control, what must come out beside the baseline: `same` for the baseline repeated, `worse` for an
              arm that is known to be; a sweep with such arms shows whether its differences can be trusted
    """

    touches: tuple[str, ...] | None = None
    arm: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    baseline: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    of: tuple[str, ...] = ()
    expects: Expectation | None = None

    def __post_init__(self) -> None:
        for term in self.terms():
            if term.of == "baseline" and term.than is None:
                raise InputError(f"contract.baseline.{term.path}: want a number, as in '> 0'; it is the baseline's own")

    def terms(self) -> tuple[Term, ...]:
        """Every statement. Raises InputError for one that cannot be read."""
        return (*_terms("arm", self.arm), *_terms("baseline", self.baseline))

    def joined(self, other: Contract) -> Contract:
        """Both contracts; where both state something of one number, this one."""
        stated = [c.touches for c in (self, other) if c.touches is not None]
        return Contract(
            touches=tuple(dict.fromkeys(key for keys in stated for key in keys)) if self.touches is not None else None,
            arm={**other.arm, **self.arm},
            baseline={**other.baseline, **self.baseline},
            of=tuple(dict.fromkeys((*self.of, *other.of))),
            expects=self.expects if self.expects == other.expects else None,
        )


def _terms(of: Side, stated: Mapping[str, int | float | str]) -> Iterable[Term]:
    for path, text in stated.items():
        found = BOUND.fullmatch(str(text).strip())
        if found is None:
            raise InputError(f"contract.{of}.{path}: want a number, '> 0' or '< {BASELINE}', got {text!r}")
        relation: Relation = found["relation"] or "="  # pyright: ignore[reportAssignmentType]  # of the expression
        than = None if found["than"].lower() == BASELINE else float(found["than"])
        yield Term(of, MetricPath.parse(path), relation, than)


def is_touched(path: str, touches: Iterable[str]) -> bool:
    """Whether a key of the configuration is one of these, or in one of these groups."""
    return any(path == key or path.startswith(f"{key}.") for key in touches)
