"""The shape of a judged benchmark, and what becomes of its records: scores with their coverage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, Protocol, runtime_checkable

from evals.replies import STRICT, Reader
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


View = Literal["answer", "official"]


@dataclass(frozen=True)
class Response:
    """What the model under test wrote: `text` whole, then its parts. `truncated` means that the token limit, or the
    model's context, ended it; `closed` is False when thinking was opened and never ended (the answer is then empty).
    `stopped` is why the model ended, as its backend says; None where nobody generated it here."""

    item_id: str
    text: str
    thinking: str | None
    answer: str
    closed: bool
    truncated: bool
    tokens: int
    stopped: str | None = None

    @classmethod
    def read(cls, item_id: str, text: str, truncated: bool, tokens: int, stopped: str | None = None) -> Response:
        """Thinking and answer taken apart by their tags."""
        thinking, answer, closed = split_thinking(text)
        return cls(item_id, text, thinking, answer, closed, truncated, tokens, stopped)

    def shown(self, judge_sees: View) -> str:
        """What is judged: the `answer`, or with `official` all of it, as scripts that know no thinking see it."""
        return self.answer if judge_sees == "answer" else self.text


@dataclass(frozen=True)
class JudgeCall:
    """One question to the judge about one response."""

    item_id: str
    criterion: str
    prompt: Prompt


@dataclass(frozen=True)
class Verdict:
    """A judge's reply. `scores` is None when it holds none: then `why` says so, and it is counted, never averaged.
    `earlier` are the replies to the same question that were no verdict, in order; `records` names the judgements that
    hold all of it."""

    item_id: str
    criterion: str
    scores: dict[str, float] | None
    reply: str
    why: str | None
    attempts: int
    earlier: tuple[str, ...] = ()
    records: tuple[str, ...] = ()

    @property
    def replies(self) -> tuple[str, ...]:
        """All that the judge was brought to say to this question."""
        return (*self.earlier, self.reply)


@dataclass(frozen=True)
class Measure:
    """A score of a benchmark. `value` is the mean over the items that have one, None if there is none or coverage
    is under the benchmark's minimum; `low` and `high` bound it by the worst and best the missing items could be, which
    are `worst` and `best` (None where nobody says)."""

    name: str
    value: float | None
    mean_of_scored: float | None
    low: float | None
    high: float | None
    scored: int
    total: int
    worst: float | None = None
    best: float | None = None

    @property
    def coverage(self) -> float:
        return self.scored / self.total if self.total else 0.0


def version_of(name: str, sha256: Mapping[str, str]) -> str:
    """A benchmark's name with a hash of the files it is made of."""
    digests = "\n".join(f"{file} {digest}" for file, digest in sorted(sha256.items()))
    return f"{name}@{hashlib.sha256(digests.encode()).hexdigest()[:12]}"


def in_turn(groups: Sequence[Sequence[Item]]) -> list[Item]:
    """Items of groups taken in turn, so that a limit on items cuts every group alike."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


Frame = Callable[[str], str]


def identity_frame(text: str) -> str:
    """The frame that upstream puts around a text to be judged: none."""
    return text


@runtime_checkable
class Benchmark(Protocol):
    """Items, generation settings, judge prompts, parsing and per-item scores; nothing else."""

    @property
    def name(self) -> str: ...

    @property
    def min_coverage(self) -> float:
        """Under this share of scored items a headline is withheld."""
        ...

    @property
    def version(self) -> str:
        """Its name with a hash of its data and prompts."""
        ...

    @property
    def judge_sampling(self) -> Sampling | None:
        """How its authors' judge samples; None where nobody says."""
        ...

    @property
    def grades(self) -> tuple[int, ...] | None:
        """The grades, if a verdict is one of them and no more."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Worst and best value of each metric."""
        ...

    def sampling(self, max_tokens: int) -> Sampling: ...

    def items(self) -> list[Item]: ...

    def shown(self, response: Response) -> str:
        """What of a response is judged."""
        ...

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        """What the judge is asked, `frame` around the text that is judged."""
        ...

    def parse(self, call: JudgeCall, reply: str, read: Reader = STRICT) -> dict[str, float]: ...

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
            nothing = score is None and not benchmark.shown(response).strip()
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
    headline = mean if enough else None
    return Measure(f"{benchmark.name}/{name}", headline, mean, low, high, len(known), len(scores), worst, best)
