"""Two arms' answers to the same prompts against each other, each pair judged in both orders.

A judge that prefers a place and not a text contradicts itself between the orders: that share is reported, and such a
pair counts as a tie.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from evals.benchmark import Frame, Item, JudgeCall, JudgedResponse, Response, Verdict, identity_frame
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from evals.replies import STRICT, Malformed, Reader
from evals.statistics.paired import Difference, paired_difference
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.text import fill
from reer.types import Message

ORDERS = ("first", "second")  # where the arm's text stands


@dataclass(frozen=True)
class Pairwise:
    """How a pair is asked about: `prompt` has the slots prompt, first, second."""

    prompt: str

    def __post_init__(self) -> None:
        missing = [slot for slot in ("prompt", "first", "second") if f"{{{{{slot}}}}}" not in self.prompt]
        if missing:
            raise InputError(
                f"pairwise.prompt: want the slots {{{{prompt}}}}, {{{{first}}}}, {{{{second}}}}; no {missing}"
            )


@dataclass(frozen=True)
class PairwiseBenchmark:
    """A Benchmark whose score is 1 where an arm's answer is preferred in both orders and 0 where the opponent's is."""

    pairwise: Pairwise
    prompts: tuple[Item, ...]
    opponents: Mapping[str, Response]
    min_coverage: float = 0.98

    @property
    def name(self) -> str:
        return "duel"

    @property
    def version(self) -> str:
        return f"duel@{sha256(self.pairwise.prompt.encode()).hexdigest()[:12]}"

    @property
    def judge_sampling(self) -> Sampling | None:
        return None

    @property
    def grades(self) -> tuple[int, ...] | None:
        return None

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"win": (0.0, 1.0)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(0.0, 1.0, max_tokens)

    def items(self) -> list[Item]:
        return list(self.prompts)

    def shown(self, response: Response) -> str:
        return response.answer

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        texts = [frame(response.answer), frame(self.opponents[item.id].answer)]
        made = []
        for place, (first, second) in zip(ORDERS, (texts, texts[::-1]), strict=True):
            asked = fill(self.pairwise.prompt, {"prompt": item.prompt, "first": first, "second": second})
            made.append(JudgeCall(item.id, place, Prompt((Message("user", asked),))))
        return made

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        better = reader.parse_object(reply).get("better")
        if better == "tie":
            return {"win": 0.5}
        if better not in ORDERS:
            raise Malformed("no_winner_named")
        return {"win": float(better == call.criterion)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        wins = [verdict.scores["win"] for verdict in verdicts if verdict.scores]
        return {"win": statistics.fmean(wins) if len(wins) == len(ORDERS) else None}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Outcome:
    """Pairs by how they ended. `flipped` preferred the same place in both orders; `first_place` is how much oftener a
    text wins in the first place than in the second. `difference` is the mean win from one half."""

    pairs: int
    wins: int
    losses: int
    ties: int
    flipped: int
    unscored: Mapping[str, int]
    first_place: float | None
    difference: Difference | None


def judge_pairs(
    pairwise: Pairwise,
    items: Sequence[Item],
    arm: Sequence[Response],
    opponent: Sequence[Response],
    session: JudgeSession,
    told: Any = lambda count: None,
) -> tuple[Outcome, list[Verdict]]:
    """Judge all pairs in both orders. Raises InputError where the two did not answer the same items."""
    others = {response.item_id: response for response in opponent}
    if {item.id for item in items} != set(others) or set(others) != {response.item_id for response in arm}:
        raise InputError("duel: the two runs answered different items; compare runs of one benchmark and scale")
    duel = PairwiseBenchmark(pairwise, tuple(items), others)
    verdicts = judge_all(duel, items, arm, session, told, send_empty=True)
    by_item: dict[str, list[Verdict]] = {item.id: [] for item in items}
    for verdict in verdicts:
        by_item[verdict.item_id].append(verdict)
    wins = {item.id: duel.scores(item, others[item.id], by_item[item.id])["win"] for item in items}
    return outcome(wins, verdicts), verdicts


def outcome(wins: Mapping[str, float | None], verdicts: Sequence[Verdict]) -> Outcome:
    """What came of all pairs."""
    known = [win for win in wins.values() if win is not None]
    placed = {place: [v.scores["win"] for v in verdicts if v.criterion == place and v.scores] for place in ORDERS}
    split: dict[str, set[float]] = {}
    for verdict in verdicts:
        split.setdefault(verdict.item_id, set()).update(verdict.scores.values() if verdict.scores else ())
    reasons = [verdict.why for verdict in verdicts if verdict.why]
    bias = statistics.fmean(placed["first"]) - statistics.fmean(placed["second"]) if all(placed.values()) else None
    return Outcome(
        len(wins),
        sum(win > 0.5 for win in known),
        sum(win < 0.5 for win in known),
        sum(win == 0.5 for win in known),
        sum(found >= {0.0, 1.0} for found in split.values()),
        {why: reasons.count(why) for why in set(reasons)},
        bias,
        paired_difference(wins, dict.fromkeys(wins, 0.5)),
    )
