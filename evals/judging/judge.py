"""Who judges: a role bound to a model, how it is asked, how its replies are read, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evals.benchmark import Benchmark
from evals.judging.grade_probabilities import GradeProbabilityModel
from evals.replies import READERS, Expected, Reader
from reer.errors import InputError
from reer.models.protocols import BatchModel, Completion, Device, Generator, Sampling


@dataclass(frozen=True)
class Judge:
    """The judge's role bound to a model. `attempts` counts all asks for one verdict, each with another seed.

    `settings` `benchmark` samples as the benchmark's authors do, where they say. `parser` is strict or lenient (see
    `evals.replies`). `fenced` puts marks around the text and a reminder behind it (see `delimiters`): no longer the
    benchmark's own prompt to the byte. `grades` asks no reply of the model but how probable it finds each of them,
    behind `prefill`; the score is their mean. `batch` sends through the provider's batch interface: slower, cheaper.

    For small models, which neither begin nor end with the object asked for: `prefill` opens the reply, a `stop` ends
    it, and `closing` is put where it was stopped.
    """

    name: str
    model: Any  # a reer.models.protocols.Model; Hydra composes it
    temperature: float
    top_p: float
    max_tokens: int
    attempts: int
    prefill: str = ""
    stop: tuple[str, ...] = ()
    closing: str = ""
    caution: str = ""
    settings: Literal["own", "benchmark"] = "own"
    parser: Literal["strict", "lenient"] = "strict"
    fenced: bool = False
    grades: tuple[int, ...] = ()
    batch: bool = field(default=False, metadata={"identity": False})
    usd_per_million_read: float = field(default=0.0, metadata={"identity": False})
    usd_per_million_written: float = field(default=0.0, metadata={"identity": False})

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError(f"judge.attempts wants >= 1, got {self.attempts}")
        if self.attempts > 1 and (self.temperature == 0 or self.grades):
            raise InputError(
                f"judge.attempts {self.attempts} at temperature 0, or with judge.grades, asks for the same reply "
                "again; set attempts to 1 or raise judge.temperature"
            )
        if self.parser not in READERS or self.settings not in ("own", "benchmark"):
            raise InputError(
                f"judge: want parser {' or '.join(READERS)} and settings own or benchmark, got {self.parser!r} and "
                f"{self.settings!r}"
            )
        if self.batch and not isinstance(self.model, BatchModel):
            raise InputError(f"judge.batch: {self.model.name} has no batch interface; set judge.batch=false")
        if min(self.usd_per_million_read, self.usd_per_million_written) < 0:
            raise InputError("judge: want prices >= 0")

    @property
    def model_name(self) -> str:
        """Whose verdicts these are, as records name it."""
        return f"{self.model.name}/probabilities" if self.grades else self.model.name

    @property
    def reader(self) -> Reader:
        return Expected() if self.grades else READERS[self.parser]

    def sampling_for(self, benchmark: Benchmark) -> Sampling:
        """How it samples for one benchmark."""
        theirs = benchmark.judge_sampling if self.settings == "benchmark" else None
        own = Sampling(self.temperature, self.top_p, self.max_tokens)
        return replace(theirs or own, stop=self.stop)

    def whole(self, reply: Completion) -> str:
        """The reply with what was put around it."""
        if self.grades:
            return reply.text
        return self.prefill + reply.text + (self.closing if reply.stopped == "stop" else "")

    def usd(self, read_tokens: float, written_tokens: float) -> float:
        """What so many tokens cost."""
        return (read_tokens * self.usd_per_million_read + written_tokens * self.usd_per_million_written) / 1e6

    @contextmanager
    def open(self, device: Device, folder: Path) -> Iterator[Generator]:
        """The model at work; `folder` keeps what a batch that is under way needs to be found again."""
        if self.batch:
            with self.model.open_batches(folder) as session:
                yield session
            return
        with self.model.open(device) as session:
            yield GradeProbabilityModel(session, self.grades) if self.grades else session
