"""The shape of a judged benchmark, and what becomes of its records: scores with their coverage."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

from reer.models.protocols import Prompt, Sampling
from reer.text import split_thinking
from reer.types import Language


@dataclass(frozen=True)
class Item:
    """One prompt of a benchmark. `length` is the number of words it asks for, where it does."""

    id: str
    prompt: str
    language: Language
    category: str
    length: int | None
    rubric: tuple[str, ...] = ()


@dataclass(frozen=True)
class Response:
    """What the model under test wrote: `text` whole, then its parts. `truncated` means that the token limit, or the
    model's context, ended it;
    `closed` is False when thinking was opened and never ended (the answer is then empty)."""

    item_id: str
    text: str
    thinking: str | None
    answer: str
    closed: bool
    truncated: bool
    tokens: int

    @classmethod
    def read(cls, item_id: str, text: str, truncated: bool, tokens: int) -> Response:
        """Thinking and answer taken apart by their tags."""
        thinking, answer, closed = split_thinking(text)
        return cls(item_id, text, thinking, answer, closed, truncated, tokens)


@dataclass(frozen=True)
class JudgeCall:
    """One question to the judge about one response."""

    item_id: str
    criterion: str
    prompt: Prompt


@dataclass(frozen=True)
class Verdict:
    """A judge's reply. `scores` is None when it holds none: then `why` says so, and it is counted, never averaged.
    `earlier` are the replies to the same question that were no verdict, in order."""

    item_id: str
    criterion: str
    scores: dict[str, float] | None
    reply: str
    why: str | None
    attempts: int
    earlier: tuple[str, ...] = ()

    @property
    def replies(self) -> tuple[str, ...]:
        """All that the judge was brought to say to this question."""
        return (*self.earlier, self.reply)


@dataclass(frozen=True)
class Measure:
    """A score of a benchmark. `value` is the mean over the items that have one, None if there is none or coverage
    is under the benchmark's minimum; `low` and `high` bound it by the worst and best the missing items could be."""

    name: str
    value: float | None
    mean_of_scored: float | None
    low: float | None
    high: float | None
    scored: int
    total: int

    @property
    def coverage(self) -> float:
        return self.scored / self.total if self.total else 0.0


def in_turn(groups: Sequence[Sequence[Item]]) -> list[Item]:
    """Items of groups taken in turn, so that a limit on items cuts every group alike."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


class Malformed(ValueError):
    """A judge's reply that is no verdict; the message is the reason that is counted."""


class Benchmark(Protocol):
    """Items, generation settings, judge prompts, parsing and per-item scores; nothing else."""

    min_coverage: float

    @property
    def name(self) -> str: ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Worst and best value of each metric."""
        ...

    def sampling(self, max_tokens: int) -> Sampling: ...

    def items(self) -> list[Item]: ...

    def calls(self, item: Item, response: Response) -> list[JudgeCall]: ...

    def parse(self, call: JudgeCall, reply: str) -> dict[str, float]: ...

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]: ...

    def official(self, items: Sequence[Item], by_item: Mapping[str, Judged]) -> dict[str, float]:
        """The numbers the benchmark's own scripts would compute from these records, failures treated as theirs treat
        them; empty where there are no such scripts."""
        ...


@dataclass(frozen=True)
class Judged:
    """A response with the verdicts on it."""

    response: Response
    verdicts: tuple[Verdict, ...]


def judged_by_item(responses: Sequence[Response], verdicts: Sequence[Verdict]) -> dict[str, Judged]:
    """Responses and their verdicts by item."""
    found: dict[str, list[Verdict]] = {response.item_id: [] for response in responses}
    for verdict in verdicts:
        found[verdict.item_id].append(verdict)
    return {response.item_id: Judged(response, tuple(found[response.item_id])) for response in responses}


_OPENS_KEY = re.compile(r'\s*"')
ItemScores = dict[str, dict[str, float | None]]


def item_scores(
    benchmark: Benchmark, items: Sequence[Item], responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> ItemScores:
    """metric → item id → score, None where the judge failed. An item the model left empty is its failure, not the
    judge's: it scores the worst value, so that silence never raises a mean."""
    judged = judged_by_item(responses, verdicts)
    table: ItemScores = {}
    for item in items:
        response = judged[item.id].response
        for metric, score in benchmark.scores(item, response, judged[item.id].verdicts).items():
            nothing = score is None and not response.answer.strip()
            table.setdefault(metric, {})[item.id] = benchmark.ranges[metric][0] if nothing else score
    return table


def measures(benchmark: Benchmark, table: ItemScores) -> list[Measure]:
    """The strict aggregation: means over scored items with coverage and bounds; a headline only if enough is scored."""
    return [_measure(name, list(scores.values()), benchmark) for name, scores in table.items()]


def _measure(name: str, scores: Sequence[float | None], benchmark: Benchmark) -> Measure:
    worst, best = benchmark.ranges[name]
    known = [score for score in scores if score is not None]
    missing = len(scores) - len(known)
    mean = math.fsum(known) / len(known) if known else None
    low = (math.fsum(known) + missing * worst) / len(scores) if scores else None
    high = (math.fsum(known) + missing * best) / len(scores) if scores else None
    enough = bool(scores) and len(known) >= benchmark.min_coverage * len(scores)
    return Measure(f"{benchmark.name}/{name}", mean if enough else None, mean, low, high, len(known), len(scores))


def strict_object(reply: str) -> dict[str, Any]:
    """The last JSON object of a reply. Never evaluated; NaN, infinities and repeated keys are refused, and so is a
    reply with an object that does not parse: what stands inside may be quoted from the text under judgement.

    Raises Malformed with the reason.
    """
    found: list[dict[str, Any]] = []
    at = reply.find("{")
    while at >= 0:
        decoded = _decode(reply, at)
        if decoded:
            found.append(decoded[0])
        elif _OPENS_KEY.match(reply, at + 1):
            raise Malformed("broken_json_object")
        at = reply.find("{", decoded[1] if decoded else at + 1)
    if not found:
        raise Malformed("no_json_object")
    return found[-1]


def strict_list(reply: str) -> list[Any]:
    """The last JSON list of a reply, under the same rules, with prose or a fence around it.

    One that does not parse, or that stands in an object, spoils the whole reply: what is inside may be quoted from
    the text under judgement.

    Raises Malformed with the reason.
    """
    found: list[Any] | None = None
    end = 0
    while (at := reply.find("[", end)) >= 0:
        decoded = None if "{" in reply[end:at] else _decode(reply, at)
        if decoded is None:
            raise Malformed("broken_json_list")
        found, end = decoded
    if found is None:
        raise Malformed("no_json_list")
    return found


def _decode(reply: str, at: int) -> tuple[Any, int] | None:
    """The JSON value that begins at a place of a text, and where it ends; None if none does. A ValueError that is no
    JSONDecodeError comes from an integer of more than 4,300 digits."""
    decoder = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
    try:
        return decoder.raw_decode(reply, at)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> float:
    raise Malformed("not_a_number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed("repeated_key")
    return dict(pairs)


def whole_number(value: Any, low: int, high: int) -> int:
    """An integer in range (7.0 counts, "7", 7.5 and true do not); raises Malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Malformed("score_not_an_integer")
    if not low <= value <= high:
        raise Malformed("score_out_of_range")
    return int(value)
