"""What the method requires of a model: to continue prompts, and to compute the negative log-likelihood of texts.

Generating and scoring are two protocols, because many backends can only generate; the types keep those from being
used as scorers. Protocols can be checked at run time, by their members' names and without evaluating any property.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import Protocol, runtime_checkable

from reer.calls import calls_in_flight
from reer.errors import InputError
from reer.models.placement import Engines
from reer.parts import Temperature, TopP
from reer.types import Message

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Prompt:
    """A conversation, and the beginning of the assistant's turn that the model is to continue."""

    messages: tuple[Message, ...]
    prefill: str = ""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Decoding settings. `temperature` 0 is greedy; `top_k` 0 disables top-k; a `stop` string ends a completion and is
    removed from it. Raises InputError for values out of range."""

    temperature: Temperature
    top_p: TopP
    max_tokens: PositiveInt
    top_k: NonNegativeInt = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1 or self.max_tokens < 1 or self.top_k < 0:
            raise InputError(f"sampling {self}: want temperature >= 0, 0 < top_p <= 1, max_tokens >= 1, top_k >= 0")


@dataclass(frozen=True)
class Request:
    """One completion to generate. `seed` determines this row's random draws alone, so that equal requests give equal
    completions on one machine. `group` is as in `Passage`. `schema` is a JSON schema as text, which the whole
    completion is to satisfy; only a `SchemaModel` is given one."""

    prompt: Prompt
    sampling: Sampling
    seed: int
    group: str = field(default="", compare=False)
    schema: str | None = None


StopReason = Literal["stop", "length", "prompt_too_long", "refused", "unreadable", "unanswered"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The model's text after the prefill, and why it ended.

    `stopped` is `stop` (end token or stop string), `length` (token limit or the model's context, whichever came first),
    `prompt_too_long` (the prompt alone fills the context; nothing was generated), `refused` (a server rejected this
    prompt for its content; `text` is then the server's message), `unreadable` (every reply to this prompt was of a
    shape that is not read; there is no text) or `unanswered` (in records of attempts that may have been billed; no
    generator yields it). `seconds` is the server's response time, None where rows are computed
    together; `served` is the model name that the server reports. `counted` is False where the server reports no usage
    that can be true: the numbers of tokens are then 0.
    """

    text: str
    stopped: StopReason
    prompt_tokens: int
    tokens: int
    seconds: float | None = field(default=None, compare=False)
    served: str = field(default="", compare=False)
    counted: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Passage:
    """A text to score after a context; the two are tokenised separately. Passages of one `group` are expected to share
    prefixes: a backend may keep them together, but no result depends on it.

    With a `closing`, the text after the answer, all three are tokenised as one, and tokens that reach over an end of
    the answer are scored with it: the span of the released code (REER_DeepWriter 277acc6, synthesize.py)."""

    context: Prompt
    answer: str
    group: str = field(default="", compare=False)
    closing: str | None = None


JsonReply = Any
"""A server's reply as parsed JSON, not yet checked: who reads it raises ValueError, LookupError, TypeError or
AttributeError on another shape."""

Nats = tuple[float, ...]


@runtime_checkable
class Generator(Protocol):
    """Continues prompts. `name` identifies everything that changes the text: weights, precision and engine."""

    name: str

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """One completion for each request, as soon as it is ready, with the request's index; in any order.

        Requests are sent while the iterator is consumed: none before the first `next`, and calls in flight only
        progress during `next`. Closing or dropping the iterator half-way cancels what is in flight. An error is raised
        after the completions that were ready before it. `in_order` collects the completions of a whole call.
        """
        ...


@runtime_checkable
class ConcurrentGenerator(Generator, Protocol):
    """A generator that takes requests one at a time, many of them in flight together (`reer.calls`)."""

    async def complete(self, request: Request) -> Completion:
        """The completion of one request. Raises Incomplete where there is none yet."""
        ...


@runtime_checkable
class Billed(Protocol):
    """A generator whose calls may cost money. It calls `on_lost` with the index of a request of the running `generate`
    for each attempt that the server may have carried out, and billed, without a usable answer; `on_lost` returns
    whether the request may be sent again."""

    on_lost: Callable[[int], bool]


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """How far a batch is: its rows, those that have ended, the tokens written so far, and how many the other rows may
    still get."""

    rows: int
    ended: int
    tokens: int
    left: int


@runtime_checkable
class ReportsBatches(Protocol):
    """A generator in this process. It calls `on_batch` after each token that the rows of a batch get."""

    on_batch: Callable[[BatchProgress], None]


def ignored(batch: BatchProgress) -> None:
    """Receives the progress of batches that nobody follows."""


def report_batches(generator: Generator, on_batch: Callable[[BatchProgress], None]) -> None:
    """Have `on_batch` called while batches are computed; servers have none."""
    if isinstance(generator, ReportsBatches):
        generator.on_batch = on_batch


@runtime_checkable
class Scorer(Protocol):
    """Computes the negative log-likelihood, in nats, of each token of an answer given its context."""

    name: str

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """The nats of each passage with the passage's index, consumed as in `Generator.generate`; None where the
        model's context cannot hold the passage."""
        ...


@runtime_checkable
class ConcurrentScorer(Scorer, Protocol):
    """A scorer that takes passages one at a time, many of them in flight together."""

    async def nats_of(self, passage: Passage) -> Nats | None:
        """The nats of one passage, as in `Scorer.score`. Raises Incomplete where there is no answer yet."""
        ...


def in_order(pairs: Iterable[tuple[int, Answer]], count: int) -> list[Answer]:
    """The answers of a call of `count` items in the order of its items, once all of them are ready. Raises RuntimeError
    where the backend did not answer every item."""
    answers = dict(pairs)
    missing = [i for i in range(count) if i not in answers]
    if missing or len(answers) != count:
        raise RuntimeError(f"a model answered {len(answers)} of {count} items; the first one missing is {missing[:1]}")
    return [answers[i] for i in range(count)]


def generated(generator: Generator, requests: Sequence[Request], width: int) -> Iterator[tuple[int, Completion]]:
    """The completion of each request with its index, as it comes.

    A server has up to `width` requests at any time. A model in this process gets `width` of them at once, in order, so
    that an interrupted run forms the same batches when it is resumed. Raises Incomplete after the others that were in
    flight.
    """
    if isinstance(generator, ConcurrentGenerator):
        yield from _rolling(generator, requests, width)
        return
    for start in range(0, len(requests), width):
        for at, completion in generator.generate(requests[start : start + width]):
            yield start + at, completion


def _rolling(
    generator: ConcurrentGenerator, requests: Sequence[Request], width: int
) -> Iterator[tuple[int, Completion]]:
    waiting = deque(range(len(requests)))
    with calls_in_flight() as calls:
        while calls or (waiting and calls.incomplete is None):
            while waiting and len(calls) < width and calls.incomplete is None:
                at = waiting.popleft()
                calls.start(at, generator.complete(requests[at]))
            yield from calls.completed()


@dataclass(frozen=True)
class Device:
    """Where a model runs and how much it computes at once. Never part of a result's identity."""

    name: str = "auto"
    """A torch device; `auto` is the GPU where there is one."""
    generate_rows: PositiveInt = 16
    """Rows decoded together."""
    score_rows: PositiveInt = 1
    """Rows scored together, and prompts read together."""
    prefix_gib: Annotated[float, Field(ge=0)] = 1.0
    """Memory in GiB for cached prefixes of scored texts."""
    engines: Engines = field(default_factory=Engines)
    """How servers of models with another engine than transformers are started here."""


@runtime_checkable
class LoadedModel(Generator, Scorer, Protocol):
    """A loaded model that generates and scores."""


@runtime_checkable
class Model(Protocol):
    """A cheap description of a generator: `open` loads it, and leaving the block frees it, or lets it be kept for the
    next who opens it (see `reer.models.shared`). `name` is the name of its sessions, known without loading anything."""

    @property
    def name(self) -> str: ...

    def open(self, device: Device) -> AbstractContextManager[Generator]: ...


@runtime_checkable
class ScoringModel(Protocol):
    """A cheap description of a model that scores."""

    @property
    def name(self) -> str: ...

    def open(self, device: Device) -> AbstractContextManager[Scorer]: ...


@runtime_checkable
class SchemaModel(Protocol):
    """A model that may be able to write nothing but what satisfies a JSON schema."""

    @property
    def follows_schemas(self) -> bool:
        """Whether it is, as it is configured."""
        ...


@runtime_checkable
class TopKModel(Protocol):
    """A model behind a server that may not know `top_k`."""

    @property
    def send_top_k(self) -> bool:
        """Whether the server is sent it."""
        ...


@runtime_checkable
class BatchModel(Protocol):
    """A model whose provider has a batch interface."""

    def open_batches(self, folder: Path) -> AbstractContextManager[Generator]:
        """A generator that sends all requests of a call as batches; `folder` records the batches that are pending."""
        ...


@runtime_checkable
class RemoteModel(Protocol):
    """A model behind a server, whose calls may cost money."""

    @property
    def base_url(self) -> str: ...


@runtime_checkable
class SnapshotModel(RemoteModel, Protocol):
    """A remote model that is asked for by a name of its provider."""

    @property
    def model(self) -> str: ...
