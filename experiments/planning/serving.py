"""Who runs which model where: what a plan knows of the composed engines; `serving` alone reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from evals.judging.judge import Judge
from evals.judging.per_benchmark import default_judge
from experiments.experiment import Experiment
from reer.models.http.client import Endpoint
from reer.models.local.model import LocalModel
from reer.models.local.reward import RewardModel
from reer.models.local.size import Size
from reer.models.protocols import Device, Model, ScoringModel
from reer.models.rates import Rate, closest_rate
from reer.models.scripted import ScriptedModel
from reer.models.services.scoring_servers import ScoringServer
from reer.search.cost import Work

IN_PROCESS = "transformers"
UNSHARED_SCORES = ("vllm", "vllm_completions")
"""Engines whose scores read no prefix cache: vLLM 0.33 skips it for prompt log-probabilities."""
RATED_AS_VLLM = ("vllm_completions", "vllm_cached")
"""Engines with the rates of `vllm`: they differ from it in what they read, not in how fast."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How one model is run: `replicas` copies of it, each on `devices` devices."""

    model: str
    engine: str
    precision: str
    size: Size | None = None
    replicas: int = 1
    devices: int = 1
    rows: int | None = None
    """Rows that a replica decodes at once; None: as many as its memory holds."""
    place: str = ""
    """Models of one place take turns on the same devices."""
    billed: bool = False
    """A provider is paid for its calls, so that no time of a device counts."""

    @property
    def billions(self) -> float | None:
        return None if self.size is None else self.size.parameters / 1e9

    @property
    def in_process(self) -> bool:
        return self.engine == IN_PROCESS

    def rate(self, rates: Iterable[Rate]) -> Rate | None:
        """What one replica computes in a second; None where nothing is known of it."""
        engine = "vllm" if self.engine in RATED_AS_VLLM else self.engine
        return closest_rate(
            rates, engine=engine, precision=self.precision, devices=self.devices, billions=self.billions
        )

    def tokens_read(self, work: Work) -> float:
        """Tokens of prompts and scored texts that this engine computes: in process, generation keeps nothing from one
        call to the next, and scoring does."""
        scores = not work.written
        unshared = self.engine in UNSHARED_SCORES if scores else self.in_process
        return work.read_unshared if unshared else work.read

    def replica_seconds(self, work: Work, rate: Rate) -> float:
        """Seconds of one replica for this work, if it did all of it."""
        return self.tokens_read(work) / rate.reads_per_second + work.written / rate.writing(self.rows_for(work))

    def rows_for(self, work: Work) -> int:
        """Rows that a replica decodes at once: no more than its share of the calls."""
        share = -(-work.calls // self.replicas)
        return max(1, share if self.rows is None else min(share, self.rows))


@dataclass(frozen=True, kw_only=True)
class Servings:
    """The models of an experiment by role; None for a scripted one, which takes no time."""

    generator: Serving | None
    scorer: Serving | None
    student: Serving | None
    judge: Serving | None
    second_judge: Serving | None

    def all(self) -> list[Serving]:
        roles = (self.generator, self.scorer, self.student, self.judge, self.second_judge)
        return [serving for serving in roles if serving is not None]


def servings(exp: Experiment) -> Servings:
    """The models of an experiment as they are composed."""
    device_for, second = exp.runtime.device_for, exp.reliability.second
    student = serving(replace(exp.student, dtype=exp.train.precision), device_for("student"))
    return Servings(
        generator=serving(exp.generator.model, device_for("generator")),
        scorer=serving(exp.scorer.model, device_for("scorer")),
        student=None if student is None else replace(student, model="the student"),
        judge=judging(default_judge(exp.judge), device_for("judge")),
        second_judge=None if second is None else judging(second, device_for("judge")),
    )


def serving(model: Model | ScoringModel, device: Device) -> Serving | None:
    """How a model is run on a device of the runtime; None for a scripted one."""
    if isinstance(model, ScriptedModel):
        return None
    if isinstance(model, LocalModel) and model.engine != IN_PROCESS:
        placement = device.engines.placement
        return Serving(
            model=_short(model.checkpoint.name),
            engine=model.engine,
            precision=model.dtype,
            size=model.checkpoint.size,
            replicas=device.engines.replicas,
            devices=placement.gpus_per_replica,
            rows=placement.calls,
            place=",".join(map(str, placement.gpus)) or device.name,
        )
    if isinstance(model, LocalModel | RewardModel):
        return Serving(
            model=_short(model.checkpoint.name),
            engine=IN_PROCESS,
            precision=model.dtype,
            size=model.checkpoint.size,
            rows=device.generate_rows,
            place=device.name,
        )
    if isinstance(model, ScoringServer):
        return Serving(
            model=_short(model.checkpoint.name),
            engine=model.engine,
            precision=model.dtype,
            size=model.checkpoint.size,
            replicas=len(model.urls),
            place=model.base_url,
        )
    replicas, paid = (len(model.urls), bool(model.key_variable)) if isinstance(model, Endpoint) else (1, False)
    return Serving(
        model=model.name, engine="server", precision="bfloat16", replicas=replicas, place=model.name, billed=paid
    )


def _short(checkpoint: str) -> str:
    """The name of a checkpoint without its revision."""
    return checkpoint.partition("@")[0]


def judging(judge: Judge, device: Device) -> Serving | None:
    """How a judge is run; one that has a price is billed, wherever it is."""
    found = serving(judge.model, device)
    return replace(found, billed=True) if found and found.engine == "server" and judge.usd(1, 1) else found


class Split(NamedTuple):
    """Replicas of the generator and of the scorer on one machine, and the seconds of a search with them."""

    generators: int
    scorers: int
    seconds: float


def best_split(generator_seconds: float, scorer_seconds: float, devices: int, each: tuple[int, int] = (1, 1)) -> Split:
    """The replicas that make a search shortest. The seconds are those of one replica doing everything, `each` the
    devices of one generator and of one scorer. Where the devices do not hold both, they take turns on all of them."""
    best = Split(0, 0, inf)
    for generators in range(1, devices // each[0] + 1):
        scorers = (devices - generators * each[0]) // each[1]
        if scorers:
            seconds = max(generator_seconds / generators, scorer_seconds / scorers)
            best = min(best, Split(generators, scorers, seconds), key=lambda split: split.seconds)
    if best.seconds < inf:
        return best
    turns = max(1, devices // each[0]), max(1, devices // each[1])
    return Split(*turns, generator_seconds / turns[0] + scorer_seconds / turns[1])
