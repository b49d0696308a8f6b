"""What the method asks of a model: to continue prompts, and to say how surprising a text is.

Two protocols, because many backends can do the first only; the types keep them from being used as a scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from reer.errors import InputError
from reer.types import Message


@dataclass(frozen=True)
class Prompt:
    """A conversation and the words already put into the assistant's mouth."""

    messages: tuple[Message, ...]
    prefill: str = ""


@dataclass(frozen=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy; `top_k` 0 is off; `stop` ends a completion, itself cut off."""

    temperature: float
    top_p: float
    max_tokens: int
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1 or self.top_k < 0:
            raise InputError(f"sampling {self}: want temperature >= 0, 0 < top_p <= 1, max_tokens >= 1, top_k >= 0")


@dataclass(frozen=True)
class Request:
    """One completion to make. Equal requests give equal completions on one machine: `seed` feeds this row alone.
    `group` is as in Passage."""

    prompt: Prompt
    sampling: Sampling
    seed: int
    group: str = field(default="", compare=False)


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prefill, and why it ended: at an end token or stop string, at the token limit
    (or the model's context, whichever came first), never begun because the prompt alone fills the context, or refused
    by a server for what this one prompt holds (`text` is then what the server said). `seconds` is how long a server
    took, None where rows are computed together; `served` is the model a server says it answered with."""

    text: str
    stopped: Literal["stop", "length", "no_room", "refused"]
    prompt_tokens: int
    tokens: int
    seconds: float | None = field(default=None, compare=False)
    served: str = field(default="", compare=False)


@dataclass(frozen=True)
class Passage:
    """A text to be scored after a context; context and answer are tokenised separately. Passages of one `group` share
    beginnings: a backend may keep them together, and no result depends on it."""

    context: Prompt
    answer: str
    group: str = field(default="", compare=False)


Nats = tuple[float, ...]
Heard = Callable[[Sequence[int], Sequence[Any]], None]


def unheard(positions: Sequence[int], answers: Sequence[Any]) -> None:
    """Nobody waits for the answers of a call before all of them are there."""


class Generator(Protocol):
    """Continues prompts. `name` identifies weights, precision and engine: whatever changes its words."""

    name: str

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        """One completion per request, in order. A backend that answers some requests before others tells `heard`
        their positions and answers, so that they outlive a kill."""
        ...


class Scorer(Protocol):
    """Gives the negative log-likelihood in nats of each token of each answer, given its context; None for a passage
    that the model's context cannot hold."""

    name: str

    def score(self, passages: Sequence[Passage], heard: Heard = unheard) -> list[Nats | None]: ...


@dataclass(frozen=True)
class Device:
    """Where and how wide to compute: rows decoded together, rows scored together, and the memory in GiB set aside for
    beginnings that scored texts share. Never part of identity."""

    name: str = "auto"
    generate_rows: int = 16
    score_rows: int = 1
    prefix_gib: float = 1.0

    def __post_init__(self) -> None:
        if self.generate_rows < 1 or self.score_rows < 1 or self.prefix_gib < 0:
            raise InputError(f"runtime: want generate_rows and score_rows >= 1 and prefix_gib >= 0, got {self}")


class LoadedModel(Generator, Scorer, Protocol):
    """A loaded model that can do both."""


@runtime_checkable
class Model(Protocol):
    """A cheap description of a generator; `open` loads it, leaving the block frees it. `name` is that of its sessions,
    known without loading anything."""

    @property
    def name(self) -> str: ...

    def open(self, device: Device) -> AbstractContextManager[Generator]: ...


class ScoringModel(Protocol):
    """A cheap description of a model that can also score."""

    @property
    def name(self) -> str: ...

    def open(self, device: Device) -> AbstractContextManager[LoadedModel]: ...
