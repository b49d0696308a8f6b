"""The judge as a role: which model it is, how it is sampled, how its replies are parsed, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, InstanceOf, NonNegativeFloat, NonNegativeInt, PositiveInt

from evals.benchmark import Benchmark, Frame, Item, JudgeCall, Response, identity_frame
from evals.benchmarks.published_prompt import PublishedPrompt
from evals.judging.grade_probabilities import GradeProbabilityModel
from evals.judging.lifecycle import Life, Notice
from evals.replies import READERS, Expected, Reader
from reer.errors import InputError
from reer.models.protocols import (
    BatchModel,
    Completion,
    Device,
    Generator,
    Model,
    RemoteModel,
    Sampling,
    SchemaModel,
    Scorer,
    TopKModel,
)
from reer.parts import Name

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The judge's role bound to a model.

    `prefill`, `stop` and `closing` are for small models, which neither begin nor end with the JSON object that is
    asked for.
    """

    name: Name
    """The judge's name in reports."""
    model: InstanceOf[Model]
    temperature: NonNegativeFloat
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: PositiveInt
    """The longest reply, in tokens."""
    attempts: PositiveInt
    """The number of requests for one verdict, the first one included; each has a seed of its own."""
    top_k: NonNegativeInt = 0
    """The number of likeliest tokens that are sampled from; 0: all."""
    prefill: str = ""
    """Text that opens the reply."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply; they are cut off."""
    closing: str = ""
    """Text that is appended to a reply that was ended by `stop`."""
    caution: str = ""
    """A sentence that reports show next to this judge's scores."""
    settings: Literal["own", "benchmark"] = "own"
    """`benchmark` samples as the benchmark's authors do, where they state it."""
    prompt: PublishedPrompt | None = None
    """The words that a benchmark's authors asked in at another time; None: those of the benchmark's own files."""
    parser: Literal["strict", "lenient"] = "strict"
    """How replies are parsed (see `evals.replies`)."""
    delimit_answer: bool = False
    """Puts delimiters around the answer and a reminder at the end of the prompt (see `delimiters`). The prompt is then
    no longer the benchmark's own."""
    grades: tuple[int, ...] = ()
    """If set, no reply is generated: the model is asked for the probability of each of these grades after `prefill`,
    and the score is their mean."""
    structured: bool = False
    """Has the server hold replies to the JSON schema of the form that a benchmark's prompts ask for, which no authors
    do."""
    batch: bool = field(default=False, metadata={"identity": False})
    """Sends through the provider's batch interface, which is slower and cheaper."""
    usd_per_million_read: Price | None = field(default=None, metadata={"identity": False})
    """Price of a million prompt tokens; None where it is unknown."""
    usd_per_million_written: Price | None = field(default=None, metadata={"identity": False})
    """Price of a million generated tokens; None where it is unknown."""
    life: Life | None = field(default=None, metadata={"identity": False})
    """When the model is retired; None where no provider may retire it."""
    trained_for: tuple[Name, ...] = field(default=(), metadata={"identity": False})
    """The benchmarks that a fine-tuned judge was trained to grade; empty: any."""

    def __post_init__(self) -> None:
        if self.attempts > 1 and (self.temperature == 0 or self.grades):
            raise InputError(
                f"judge.attempts {self.attempts} at temperature 0, or with judge.grades, asks for the same reply "
                "again; set attempts to 1 or raise judge.temperature"
            )
        if self.structured and (self.prefill or self.stop or self.grades):
            raise InputError(
                "judge.structured: a reply that is held to a schema begins and ends by itself; leave out "
                "judge.prefill, judge.stop and judge.grades, or set judge.structured=false"
            )
        if self.structured and not (isinstance(self.model, SchemaModel) and self.model.follows_schemas):
            raise InputError(
                f"judge.structured: {self.model.name} cannot be held to a JSON schema; set judge.structured=false, or "
                "choose engine=vllm, engine=sglang or a server with send_schema=true"
            )
        if self.top_k and isinstance(self.model, TopKModel) and not self.model.send_top_k:
            raise InputError(
                f"judge.top_k: {self.model.name} is not sent it; set judge.model.send_top_k=true where the server "
                "supports it, or judge.top_k=0"
            )
        if self.batch and not isinstance(self.model, BatchModel):
            raise InputError(f"judge.batch: {self.model.name} has no batch interface; set judge.batch=false")

    @property
    def model_name(self) -> str:
        """The name under which verdicts are recorded."""
        return f"{self.model.name}/probabilities" if self.grades else self.model.name

    @property
    def answers_elsewhere(self) -> bool:
        """Whether the model is at an address, with hardware that no other model of a run takes, and answers each call
        as it comes."""
        return isinstance(self.model, RemoteModel) and not self.batch

    @property
    def asks_as_published(self) -> bool:
        """Whether it is asked as the authors of a benchmark ask theirs, so that their numbers can be computed."""
        return not (self.delimit_answer or self.structured or self.prompt)

    @property
    def reply_reader(self) -> Reader:
        """The parser of this judge's replies."""
        return Expected() if self.grades else READERS[self.parser]

    def sampling(self, benchmark: Benchmark) -> Sampling:
        """The sampling settings for a benchmark."""
        official = benchmark.judge_sampling if self.settings == "benchmark" else None
        own = Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, top_k=self.top_k)
        return replace(official or own, stop=self.stop)

    def calls(
        self, benchmark: Benchmark, item: Item, response: Response, frame: Frame = identity_frame
    ) -> list[JudgeCall]:
        """The questions about one response in the words that this judge is asked in (see `Benchmark.calls`)."""
        if self.prompt is None:
            return benchmark.calls(item, response, frame)
        return self.prompt.calls(benchmark, item, response, frame)

    def full_reply(self, reply: Completion) -> str:
        """The reply with `prefill` and, where `stop` ended it, `closing`."""
        if self.grades:
            return reply.text
        return self.prefill + reply.text + (self.closing if reply.stopped == "stop" else "")

    def usd(self, read_tokens: float, written_tokens: float) -> float:
        """The price of these numbers of prompt tokens and generated tokens, as far as it is known."""
        read, written = self.usd_per_million_read or 0.0, self.usd_per_million_written or 0.0
        return (read_tokens * read + written_tokens * written) / 1e6

    def require_prices(self, budget_usd: float | None) -> None:
        """Raise InputError where a budget cannot hold, because this judge costs money at an unknown price."""
        unknown = None in (self.usd_per_million_read, self.usd_per_million_written)
        if budget_usd is not None and unknown and isinstance(self.model, RemoteModel):
            raise InputError(
                f"budget.usd needs the prices of judge {self.name}: set its usd_per_million_read and "
                "usd_per_million_written (0 where it costs nothing)"
            )

    def retirement(self, today: date) -> Notice | None:
        """What is to be said of the retirement of this judge's model."""
        return None if self.life is None else self.life.notice(self.model, today)

    def require_alive(self, today: date) -> None:
        """Raise InputError where the provider has retired the model."""
        notice = self.retirement(today)
        if notice is not None and notice.over:
            raise InputError(f"judge {self.name}: {notice.text}; what it has judged stays on record")

    def require_meant_for(self, benchmark: Benchmark) -> None:
        """Raise InputError for a benchmark that the judge was not trained to grade, or has no words for."""
        if self.trained_for and benchmark.name not in self.trained_for:
            trained = ", ".join(self.trained_for)
            raise InputError(
                f"judge {self.name}: it was trained to grade {trained} alone, got {benchmark.name}; choose "
                f"benchmark=[{trained}], or a judge for each benchmark, such as judge=open"
            )
        if self.prompt is not None:
            self.prompt.require_words_for(benchmark)

    def schema_of(self, benchmark: Benchmark) -> str | None:
        """The JSON schema that replies are held to, as text; None where they are free."""
        return json.dumps(benchmark.reply_schema, ensure_ascii=False) if self.structured else None

    def require_form_of(self, benchmark: Benchmark) -> None:
        """Raise InputError where the judge is held to a form that a verdict of the benchmark does not have: to a
        schema, or to one of its grades."""
        if self.structured and benchmark.reply_schema is None:
            raise InputError(
                f"judge.structured: the prompts of {benchmark.name} ask for another form than one JSON object, which "
                "is all that servers can hold a reply to; set judge.structured=false, or choose another benchmark"
            )
        if self.grades and self.grades != benchmark.grades:
            raise InputError(
                f"judge.grades: {benchmark.name} needs verdicts that are more than one grade of {list(self.grades)}; "
                "choose a judge that replies in text, or another benchmark"
            )

    @contextmanager
    def open(self, device: Device, folder: Path) -> Iterator[Generator]:
        """The loaded model; `folder` records pending batches. Raises InputError where `grades` are asked of a model
        that cannot score texts."""
        if self.batch and isinstance(self.model, BatchModel):
            with self.model.open_batches(folder) as generator:
                yield generator
            return
        with self.model.open(device) as generator:
            yield self._grading(generator) if self.grades else generator

    def _grading(self, generator: Generator) -> Generator:
        if not isinstance(generator, Scorer):
            raise InputError(
                f"judge.grades: {self.model.name} generates text but does not score it; set judge.grades=[], or choose "
                "a judge with a local model"
            )
        return GradeProbabilityModel(generator, self.grades)
