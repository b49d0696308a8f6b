"""The types of a judged benchmark: items, responses, judge calls, verdicts; and scores aggregated to measures."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

from pydantic import PositiveInt

from evals.replies import STRICT, Reader, Schema
from reer.models.protocols import Prompt, Sampling
from reer.parts import Seed, Share, Temperature
from reer.text import split_thinking
from reer.types import Language, item_seed


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt of a benchmark. `length` is the number of words that it asks for, None if it asks for none. `rubric`
    holds the criteria by which a judge grades the answer."""

    id: str
    prompt: str
    language: Language
    category: str
    length: int | None
    rubric: tuple[str, ...] = ()


View = Literal["answer", "official"]


@dataclass(frozen=True, kw_only=True)
class Response:
    """The output of the model under test: the full `text`, and its thinking and answer.

    `truncated` is True if the token limit or the model's context ended it; `closed` is False if thinking was opened but
    not closed (the answer is then empty). `stopped` is the finish reason that the backend reported, None if there was
    no generation."""

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
        """A model's output, with thinking and answer separated at their tags."""
        thinking, answer, closed = split_thinking(text)
        return cls(
            item_id=item_id,
            text=text,
            thinking=thinking,
            answer=answer,
            closed=closed,
            truncated=truncated,
            tokens=tokens,
            stopped=stopped,
        )

    @classmethod
    def of_text(cls, item_id: str, text: str) -> Response:
        """A text that no model generated here, taken as the whole answer; tags in it are not interpreted."""
        return cls(item_id=item_id, text=text, thinking=None, answer=text, closed=True, truncated=False, tokens=0)

    def shown(self, judge_sees: View) -> str:
        """The text that is judged: the `answer`, or with `official` the full text, as upstream scripts that do not
        separate thinking see it."""
        return self.answer if judge_sees == "answer" else self.text


@dataclass(frozen=True)
class JudgeCall:
    """One question to the judge about one response."""

    item_id: str
    criterion: str
    prompt: Prompt


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one judge call. `scores` is None if no reply could be parsed: then `why` holds the reason, and the
    verdict is counted as unscored, never averaged. `reply` is the last reply, `earlier` the unparsable ones before it,
    in order; `records` are the keys of all judgements involved; `members` holds what each judge of a panel gave."""

    item_id: str
    criterion: str
    scores: dict[str, float] | None
    reply: str
    why: str | None
    attempts: int
    earlier: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    members: Mapping[str, dict[str, float] | None] = field(default_factory=dict[str, "dict[str, float] | None"])

    @property
    def replies(self) -> tuple[str, ...]:
        """All replies of the judge to this call, in order."""
        return (*self.earlier, self.reply)


class MeasureName(NamedTuple):
    """What a measure is called: the benchmark and one of its metrics (`writing`, `quality`)."""

    benchmark: str
    metric: str

    def __str__(self) -> str:
        return f"{self.benchmark}/{self.metric}"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One score of a benchmark. `value` is the mean over scored items; None if there are none, or if coverage is below
    the benchmark's minimum. `low` and `high` bound the mean over all items: they count each unscored item as `worst`
    or `best`, the ends of the metric's range (None if the range is unknown)."""

    benchmark: str
    metric: str
    value: float | None
    mean_of_scored: float | None
    low: float | None
    high: float | None
    scored: int
    total: int
    worst: float | None = None
    best: float | None = None

    @property
    def name(self) -> MeasureName:
        return MeasureName(self.benchmark, self.metric)

    @property
    def coverage(self) -> float:
        """The share of items that are scored."""
        return self.scored / self.total if self.total else 0.0


@dataclass(frozen=True)
class OfficialScore:
    """A number of a benchmark's own scripts: the mean over `counted` of `total` items, or criteria where the scripts
    average criteria."""

    value: float
    counted: int
    total: int

    @classmethod
    def mean(cls, values: Sequence[float | None], unit: Callable[[float], float] = float) -> OfficialScore | None:
        """The mean of the values that are known, in another unit; None if none is."""
        known = [value for value in values if value is not None]
        return cls(unit(math.fsum(known) / len(known)), len(known), len(values)) if known else None

    @classmethod
    def over(cls, scores: Sequence[OfficialScore]) -> OfficialScore | None:
        """The mean over the counted items of several runs; None for no run."""
        counted = sum(score.counted for score in scores)
        if not counted:
            return None
        mean = math.fsum(score.value * score.counted for score in scores) / counted
        return cls(mean, counted, sum(score.total for score in scores))

    def rescaled(self, unit: Callable[[float], float]) -> OfficialScore:
        """The same number in another unit."""
        return replace(self, value=unit(self.value))


def version_of(name: str, sha256: Mapping[str, str]) -> str:
    """A benchmark's name with a hash of its files, given as file name → sha256."""
    digests = "\n".join(f"{file} {digest}" for file, digest in sorted(sha256.items()))
    return f"{name}@{hashlib.sha256(digests.encode()).hexdigest()[:12]}"


def interleaved(groups: Sequence[Sequence[Item]]) -> list[Item]:
    """The items of all groups, one from each group in turn, so that an interrupted run has some of each."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def sampled(items: Sequence[Item], limit: int | None, seed: int, stratum: Callable[[Item], str]) -> list[Item]:
    """A stratified random sample in the order of the items; all of them without a limit below their number.

    Each stratum has its share of the sample, to within one item: items are shuffled within their strata, and taken at
    regular distances from all strata one after another."""
    if limit is None or limit >= len(items):
        return list(items)
    ordered = sorted(items, key=lambda item: (stratum(item), item_seed(seed, item.id)))
    chosen = {ordered[(2 * place + 1) * len(ordered) // (2 * limit)].id for place in range(limit)}
    return [item for item in items if item.id in chosen]


Frame = Callable[[str], str]


def identity_frame(text: str) -> str:
    """Puts nothing around the text to be judged, as upstream does."""
    return text


@runtime_checkable
class Benchmark(Protocol):
    """A judged benchmark: items, generation settings, judge prompts, parsing of replies and scores per item."""

    @property
    def name(self) -> str: ...

    @property
    def min_coverage(self) -> float:
        """The share of items that must be scored; below it no headline value is reported."""
        ...

    @property
    def version(self) -> str:
        """The name with a hash of data and prompts."""
        ...

    @property
    def judge_sampling(self) -> Sampling | None:
        """How the judge of the benchmark's authors samples; None if they do not state it."""
        ...

    @property
    def grades(self) -> tuple[int, ...] | None:
        """All possible grades if a verdict is a single integer grade, else None."""
        ...

    @property
    def reply_schema(self) -> Schema | None:
        """The JSON schema of the replies that its prompts ask for; None where they ask for another form than one JSON
        object, which is all that servers can hold a reply to."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Worst and best value of each metric."""
        ...

    def sampling(self, max_tokens: int) -> Sampling:
        """How the model under test samples, with at most `max_tokens` per response."""
        ...

    def items(self) -> list[Item]: ...

    def shown(self, response: Response) -> str:
        """The text of a response that is judged."""
        ...

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        """The questions to the judge; `frame` is applied to the text that is judged."""
        ...

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        """The scores in a judge's reply. Raises Malformed with the reason if there are none."""
        ...

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        """Metric → score of one item; None if the verdicts leave it unscored."""
        ...

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        """The numbers that the benchmark's own scripts compute from these records; empty if there are no such scripts.

        What a script would not count, or would stop at, is left out of the mean and of `counted`. An empty answer has
        the worst grade: the scripts send it to the judge, this project does not."""
        ...

    def groups(self, item: Item) -> tuple[str, ...]:
        """The parts of the benchmark that an item belongs to; each has scores of its own (`group_measures`)."""
        ...


@dataclass(frozen=True, kw_only=True)
class JudgedBenchmark(ABC):
    """Base of the judged benchmarks that an experiment can choose. `temperature` is that of the model under test."""

    temperature: Temperature
    min_coverage: Share
    items_limit: PositiveInt | None = None
    """The number of items of a stratified random sample (see `sampled`); None: all."""
    items_seed: Seed = 0
    """Which sample is drawn."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        return version_of(self.name, self.file_sha256)

    @property
    def judge_sampling(self) -> Sampling | None:
        return None

    @property
    def grades(self) -> tuple[int, ...] | None:
        return None

    @property
    def reply_schema(self) -> Schema | None:
        return None

    @property
    @abstractmethod
    def file_sha256(self) -> Mapping[str, str]:
        """File name → sha256 of the data and prompts."""

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, tuple[float, float]]: ...

    @abstractmethod
    def sampling(self, max_tokens: int) -> Sampling: ...

    @abstractmethod
    def all_items(self) -> list[Item]:
        """The items without the limit."""

    def items(self) -> list[Item]:
        return sampled(self.all_items(), self.items_limit, self.items_seed, self.stratum)

    def stratum(self, item: Item) -> str:
        """The stratum of an item, which a sample represents by its share."""
        return f"{item.category}/{item.language}"

    def at_most(self, limit: int | None) -> Self:
        """The same benchmark with no more items than a limit."""
        smaller = limit is not None and (self.items_limit is None or limit < self.items_limit)
        return replace(self, items_limit=limit) if smaller else self

    def also_needs(self) -> str:
        """What is missing on this machine besides the benchmark's own files, as a sentence; empty if nothing is."""
        return ""

    def shown(self, response: Response) -> str:
        return response.answer

    @abstractmethod
    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]: ...

    @abstractmethod
    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]: ...

    @abstractmethod
    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]: ...

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        return {}

    def groups(self, item: Item) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class JudgedResponse:
    """A response with the verdicts on it."""

    response: Response
    verdicts: tuple[Verdict, ...]


def judged_by_item(responses: Sequence[Response], verdicts: Sequence[Verdict]) -> dict[str, JudgedResponse]:
    """Responses with their verdicts, by item id."""
    by_item: dict[str, list[Verdict]] = {response.item_id: [] for response in responses}
    for verdict in verdicts:
        by_item[verdict.item_id].append(verdict)
    return {response.item_id: JudgedResponse(response, tuple(by_item[response.item_id])) for response in responses}


ItemScores = dict[str, dict[str, float | None]]


def item_scores(
    benchmark: Benchmark, items: Sequence[Item], responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> ItemScores:
    """Metric → item id → score, None if the judge failed. If the model returned nothing, that is its own failure, not
    the judge's: the item scores the worst value, so that an empty answer never raises a mean. An item without a
    response is unscored."""
    judged = judged_by_item(responses, verdicts)
    table: ItemScores = {}
    for item in items:
        if item.id not in judged:
            for metric in benchmark.scores(item, Response.of_text(item.id, "-"), ()):
                table.setdefault(metric, {})[item.id] = None
            continue
        response = judged[item.id].response
        for metric, score in benchmark.scores(item, response, judged[item.id].verdicts).items():
            empty = score is None and not benchmark.shown(response).strip()
            table.setdefault(metric, {})[item.id] = benchmark.ranges[metric][0] if empty else score
    return table


def measures(benchmark: Benchmark, table: ItemScores) -> list[Measure]:
    """Means over scored items with coverage and bounds; a headline value only if enough items are scored."""
    return [_measure(metric, list(scores.values()), benchmark) for metric, scores in table.items()]


@dataclass(frozen=True)
class GroupMeasure:
    """A measure over one part of a benchmark, such as a sub-domain or the answers of one language."""

    group: str
    measure: Measure


def group_measures(benchmark: Benchmark, items: Sequence[Item], table: ItemScores) -> list[GroupMeasure]:
    """The measures of every part of a benchmark, in the order of its items; none of them is a headline. A part has the
    metrics that all of its items have, once each: in a domain, the overall score and that of the domain are one."""
    members: dict[str, list[str]] = {}
    for item in items:
        for group in benchmark.groups(item):
            members.setdefault(group, []).append(item.id)
    parts: list[GroupMeasure] = []
    for group, ids in members.items():
        complete = {metric: column for metric, column in table.items() if all(item_id in column for item_id in ids)}
        columns = {metric: tuple(column[item_id] for item_id in ids) for metric, column in complete.items()}
        once = {scores: metric for metric, scores in reversed(columns.items())}
        parts += [GroupMeasure(group, _measure(m, s, benchmark)) for m, s in columns.items() if once[s] == m]
    return parts


def _measure(metric: str, scores: Sequence[float | None], benchmark: Benchmark) -> Measure:
    worst, best = benchmark.ranges[metric]
    known = [score for score in scores if score is not None]
    missing = len(scores) - len(known)
    mean = math.fsum(known) / len(known) if known else None
    covered = bool(scores) and len(known) >= benchmark.min_coverage * len(scores)
    return Measure(
        benchmark=benchmark.name,
        metric=metric,
        value=mean if covered else None,
        mean_of_scored=mean,
        low=(math.fsum(known) + missing * worst) / len(scores) if scores else None,
        high=(math.fsum(known) + missing * best) / len(scores) if scores else None,
        scored=len(known),
        total=len(scores),
        worst=worst,
        best=best,
    )
