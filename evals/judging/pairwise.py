"""Pairwise comparison: a judge compares two runs' answers to the same prompts, each pair in both orders.

A judge with position bias contradicts itself between the two orders. The number of such pairs is reported, and each of
them counts as a tie. A panel prefers what its members prefer on average: in each order it has the mean of their
preferences (1, one half for a tie, or 0), and none unless every member has one. A pair is a tie where the mean of both
orders is one half. A member that contradicts itself counts as a tie of its own.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from evals.benchmark import Frame, Item, JudgeCall, JudgedResponse, OfficialScore, Response, Verdict, identity_frame
from evals.judging.panel import Grader, GradingSession, JudgePanel, MemberAgreement, between_members, members_of
from evals.judging.verdicts import OnVerdict, ignored, judge_all, unscored_reasons
from evals.replies import A_TEXT, STRICT, Malformed, Reader, Schema, reply_schema
from evals.statistics.paired import Difference, paired_difference
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.text import fill
from reer.types import Message

POSITIONS = ("first", "second")
"""The position of the arm's answer in the prompt, which is also the criterion of the call."""


@dataclass(frozen=True)
class Pairwise:
    """The question about a pair of answers."""

    prompt: str
    """The judge's prompt, with the slots prompt, first, second."""

    def __post_init__(self) -> None:
        missing = [slot for slot in ("prompt", *POSITIONS) if f"{{{{{slot}}}}}" not in self.prompt]
        if missing:
            raise InputError(
                f"pairwise.prompt: want the slots {{{{prompt}}}}, {{{{first}}}}, {{{{second}}}}, got a prompt without "
                f"{', '.join(missing)}; add the missing slots"
            )


@dataclass(frozen=True)
class PairwiseBenchmark:
    """A Benchmark whose metric `win` is 1 where the arm's answer is preferred in both orders, 0 where the baseline's
    is, and the mean of the two orders otherwise."""

    pairwise: Pairwise
    prompts: tuple[Item, ...]
    baseline: Mapping[str, Response]
    min_coverage: float = 0.98

    @property
    def name(self) -> str:
        return "pairwise"

    @property
    def version(self) -> str:
        return f"pairwise@{sha256(self.pairwise.prompt.encode()).hexdigest()[:12]}"

    @property
    def judge_sampling(self) -> Sampling | None:
        return None

    @property
    def grades(self) -> tuple[int, ...] | None:
        return None

    @property
    def reply_schema(self) -> Schema:
        return reply_schema({"reason": A_TEXT, "better": {"type": "string", "enum": [*POSITIONS, "tie"]}})

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"win": (0.0, 1.0)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens)

    def items(self) -> list[Item]:
        return list(self.prompts)

    def shown(self, response: Response) -> str:
        return response.answer

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        answers = [frame(response.answer), frame(self.baseline[item.id].answer)]
        calls = []
        for position, (first, second) in zip(POSITIONS, (answers, answers[::-1]), strict=True):
            text = fill(self.pairwise.prompt, {"prompt": item.prompt, "first": first, "second": second})
            calls.append(JudgeCall(item.id, position, Prompt((Message("user", text),))))
        return calls

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        winner = reader.parse_object(reply, ("better",))["better"]
        if winner == "tie":
            return {"win": 0.5}
        if winner not in POSITIONS:
            raise Malformed("no_winner_named")
        return {"win": float(winner == call.criterion)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        wins = [verdict.scores["win"] for verdict in verdicts if verdict.scores]
        return {"win": statistics.fmean(wins) if len(wins) == len(POSITIONS) else None}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        return {}

    def groups(self, item: Item) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class PairwiseResult:
    """The outcome of all pairs of answers, from the arm's side."""

    pairs: int
    wins: int
    losses: int
    ties: int
    flipped: int
    """Pairs in which the judge, or the panel on average, preferred the same position in both orders."""
    unscored: Mapping[str, int]
    """Verdicts without a score, by reason."""
    position_bias: float | None
    """The arm's win rate in the first position minus that in the second; None where a position has no verdict."""
    difference: Difference | None
    """The mean win rate minus one half, with its interval and tests."""
    between_members: tuple[MemberAgreement, ...] = ()
    """The agreement of each pair of a panel's members on single preferences."""


def comparing(judge: Grader) -> Grader:
    """What grades, as it compares two answers. Raises InputError where it cannot, because it was trained to grade or
    gives nothing but grades."""
    for member in members_of(judge).values():
        if member.trained_for or member.grades:
            why = f"was trained to grade {', '.join(member.trained_for)}" if member.trained_for else "gives grades"
            raise InputError(
                f"pairwise: want judges that can compare two answers, but {member.name} {why} alone; choose another "
                "judge, such as judge=qwen25_7b"
            )
    return judge.comparing if isinstance(judge, JudgePanel) else judge


def judge_pairs(
    pairwise: Pairwise,
    items: Sequence[Item],
    arm: Sequence[Response],
    baseline: Sequence[Response],
    session: GradingSession,
    on_verdict: OnVerdict = ignored,
) -> tuple[PairwiseResult, list[Verdict]]:
    """Judge all pairs in both orders by `comparing` judges; see `judge_all` for `on_verdict`. Raises InputError where
    the two runs did not answer the same items."""
    baseline_by_item = {response.item_id: response for response in baseline}
    if not {item.id for item in items} == set(baseline_by_item) == {response.item_id for response in arm}:
        raise InputError("pairwise: the two runs answered different items; compare runs of one benchmark and scale")
    benchmark = PairwiseBenchmark(pairwise, tuple(items), baseline_by_item)
    verdicts = judge_all(benchmark, items, arm, session, on_verdict, send_empty=True)
    by_item: dict[str, list[Verdict]] = {item.id: [] for item in items}
    for verdict in verdicts:
        by_item[verdict.item_id].append(verdict)
    wins = {item.id: benchmark.scores(item, baseline_by_item[item.id], by_item[item.id])["win"] for item in items}
    return pairwise_result(wins, by_item), verdicts


def pairwise_result(wins: Mapping[str, float | None], verdicts: Mapping[str, Sequence[Verdict]]) -> PairwiseResult:
    """The result of all pairs, from the win rates and the verdicts by item."""
    flat = [verdict for of_item in verdicts.values() for verdict in of_item]
    counts = Counter(_outcome(win) for win in wins.values() if win is not None)
    wins_at = {place: [v.scores["win"] for v in flat if v.criterion == place and v.scores] for place in POSITIONS}
    first, second = (statistics.fmean(scores) if scores else None for scores in wins_at.values())
    outcomes = [{_outcome(v.scores["win"]) for v in of_item if v.scores} for of_item in verdicts.values()]
    return PairwiseResult(
        pairs=len(wins),
        wins=counts["win"],
        losses=counts["loss"],
        ties=counts["tie"],
        flipped=sum(outcome >= {"win", "loss"} for outcome in outcomes),
        unscored=unscored_reasons(flat),
        position_bias=None if first is None or second is None else first - second,
        difference=paired_difference(wins, dict.fromkeys(wins, 0.5)),
        between_members=between_members(flat),
    )


def _outcome(win: float) -> Literal["win", "tie", "loss"]:
    """What a win rate says; one half is a tie, also where thirds of a panel add up to it."""
    if math.isclose(win, 0.5):
        return "tie"
    return "win" if win > 0.5 else "loss"
