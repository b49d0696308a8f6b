"""A panel: several judges grade the same answers, and the mean of their grades is one verdict.

A verdict of the panel needs one of every member: a mean over whoever answered would be on another scale from item to
item. Grades are never standardised within a run, because that would take the difference between two runs away; a member
with a scale of its own is given a line (`reer bridge MEMBER OTHER` prints it).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Self

from pydantic import FiniteFloat, PositiveFloat

from evals.benchmark import Verdict
from evals.judging.judge import Judge
from evals.judging.records import Judgement, Judgements
from evals.judging.session import JudgeSession
from evals.statistics.agreement import Agreement, agreement
from reer.errors import InputError, near
from reer.models.protocols import Device
from reer.parts import Name


@dataclass(frozen=True, kw_only=True)
class Line:
    """Puts a member's grades on the panel's scale: `intercept + slope * grade`. Preferences between two answers are on
    one scale already."""

    intercept: FiniteFloat
    slope: PositiveFloat

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class JudgePanel:
    """Judges by the name that each has in the panel. Raises InputError for fewer than two."""

    name: Name
    """The name of the whole in reports."""
    members: dict[Name, Judge]
    lines: dict[Name, Line] = field(default_factory=dict[Name, Line])
    """The lines of members whose grades are on another scale; the grades of all others count as they are."""

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise InputError(f"judge.members: a panel wants two judges or more, got {len(self.members)}")
        for name in self.lines:
            if name not in self.members:
                known = ", ".join(self.members)
                raise InputError(f"judge.lines: got {name!r}, want members ({known}){near(name, self.members)}")

    @property
    def asks_as_published(self) -> bool:
        """Whether the numbers of a benchmark's authors can be computed; theirs is one judge."""
        return False

    @property
    def comparing(self) -> JudgePanel:
        """The same judges as they compare two answers: none has a scale of its own."""
        return replace(self, lines={})

    def combined(self, verdicts: Mapping[str, Sequence[Verdict]]) -> list[Verdict]:
        """The verdicts of the panel, from those of its members on the same calls."""
        return [self._one(dict(zip(verdicts, call, strict=True))) for call in zip(*verdicts.values(), strict=True)]

    def _one(self, by_member: Mapping[str, Verdict]) -> Verdict:
        first = next(iter(by_member.values()))
        placed = [self._placed(name, verdict.scores) for name, verdict in by_member.items() if verdict.scores]
        complete = len(placed) == len(by_member)
        return Verdict(
            item_id=first.item_id,
            criterion=first.criterion,
            scores={key: statistics.fmean(scores[key] for scores in placed) for key in placed[0]} if complete else None,
            reply="\n\n".join(f"{name}: {verdict.reply}" for name, verdict in by_member.items() if verdict.reply),
            why=None if complete else _why(by_member),
            attempts=sum(verdict.attempts for verdict in by_member.values()),
            earlier=tuple(f"{name}: {reply}" for name, verdict in by_member.items() for reply in verdict.earlier),
            records=tuple(key for verdict in by_member.values() for key in verdict.records),
            members={name: verdict.scores for name, verdict in by_member.items()},
        )

    def _placed(self, name: str, scores: Mapping[str, float]) -> dict[str, float]:
        """A member's grades on the panel's scale."""
        line = self.lines.get(name, Line(intercept=0.0, slope=1.0))
        return {key: line.intercept + line.slope * score for key, score in scores.items()}


def _why(by_member: Mapping[str, Verdict]) -> str | None:
    """The reason that all members have, else the first member without a score and its reason."""
    reasons = {name: verdict.why for name, verdict in by_member.items()}
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return next(f"{name}: {why}" for name, why in reasons.items() if why)


Grader = Judge | JudgePanel
"""What grades a benchmark."""


def members_of(judge: Grader) -> dict[str, Judge]:
    """The judges that are asked, by their name in the panel; a judge alone is its only member."""
    return dict(judge.members) if isinstance(judge, JudgePanel) else {judge.name: judge}


class PanelSession:
    """Asks the members of a panel, one after another; see `JudgeSession`."""

    def __init__(self, panel: JudgePanel, members: Mapping[str, JudgeSession]) -> None:
        self.judge, self.members = panel, members
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        for session in self.members.values():
            self._opened.enter_context(session)
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    @property
    def asked(self) -> int:
        """How many calls the members have answered."""
        return sum(session.asked for session in self.members.values())

    @property
    def in_flight(self) -> int:
        """How many questions have been asked and are not answered yet."""
        return sum(session.in_flight for session in self.members.values())

    @property
    def paid_usd(self) -> float:
        """What the calls of all members have cost, in US dollars."""
        return sum(session.paid_usd for session in self.members.values())

    def find(self, key: str) -> Judgement | None:
        """The record with a key, if there is one."""
        found = (session.find(key) for session in self.members.values())
        return next((record for record in found if record is not None), None)


GradingSession = JudgeSession | PanelSession


def session_of(judge: Grader, records: Path, device: Device, budget_usd: float | None) -> GradingSession:
    """A session of whatever grades, with the judgements in a folder on record."""
    sessions = {
        name: JudgeSession(member, Judgements(records), device, budget_usd)
        for name, member in members_of(judge).items()
    }
    return PanelSession(judge, sessions) if isinstance(judge, JudgePanel) else sessions[judge.name]


@dataclass(frozen=True, kw_only=True)
class MemberAgreement(Agreement):
    """The agreement of two members on the grades that both gave."""

    first: str
    second: str


def between_members(verdicts: Sequence[Verdict]) -> tuple[MemberAgreement, ...]:
    """The agreement of each pair of members; empty where one judge graded."""
    grades: dict[str, dict[str, float]] = {}
    for number, verdict in enumerate(verdicts):
        for name, scores in verdict.members.items():
            grades.setdefault(name, {}).update({f"{number} {key}": score for key, score in (scores or {}).items()})
    return tuple(
        MemberAgreement(first=first, second=second, **asdict(agreement(grades[first], grades[second])))
        for first, second in combinations(grades, 2)
    )
