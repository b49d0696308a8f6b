"""Measures what this machine does per second: short prompts, some decoded tokens, a few optimizer steps."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from experiments.experiment import Experiment, Role
from experiments.planning.calibration import Calibration, TrainingRate, device_name
from experiments.store.provenance import provenance
from reer.errors import InputError
from reer.models.local.model import LocalModel, pick_device
from reer.models.local.size import Size
from reer.models.placement import software
from reer.models.protocols import Device, LoadedModel, Passage, Prompt, Request, Sampling, in_order
from reer.models.rates import Rate
from reer.training.cost import operations_per_parameter
from reer.training.launch import fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Recipe
from reer.types import Message

Clock = Callable[[], float]
SENTENCE = "The clerk counted the parcels twice, wrote the number down and went to look for the missing key. "


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much to measure: enough for a minute with a 135M model on two cores."""

    prompt_words: int = 360
    rows: tuple[int, ...] = (1, 8, 32)
    written_tokens: int = 24
    train_tokens: int = 256
    train_steps: int = 3


def calibrate(exp: Experiment, say: Callable[[str], None], amount: Amount = Amount()) -> Calibration:
    """The rates of the models that an experiment runs in this process or on engines that it starts, and of its
    training. Raises InputError where there is no such model."""
    rates = dict(_rates(exp, say, amount))
    if not rates:
        raise InputError(
            "calibrate: no model of this configuration runs on this machine with a stated size; choose some, e.g. "
            "model@generator.model=smollm2"
        )
    trained = _training_rate(exp, say, amount)
    made = provenance()
    assert made.hardware is not None, "only records of older versions lack it"
    return Calibration(
        date=date.today().isoformat(),
        device=device_name(made.hardware, pick_device(exp.runtime.device)),
        hardware=made.hardware,
        packages=made.packages,
        rates=rates,
        trainings={} if trained is None else {exp.student.checkpoint.name: trained},
    )


def _training_rate(exp: Experiment, say: Callable[[str], None], amount: Amount) -> TrainingRate | None:
    """The throughput of the student's training; None where its size is not stated."""
    size = exp.student.checkpoint.size
    if size is None:
        return None
    tokens = training_speed(exp.student, exp.train, exp.runtime.parallelism, amount)
    say(f"training of {exp.student.checkpoint.name}: {tokens:,.0f} tokens/s")
    operations = operations_per_parameter(exp.train)
    return TrainingRate(billions=size.parameters / 1e9, tflops=tokens * operations * size.parameters / 1e12)


def _rates(exp: Experiment, say: Callable[[str], None], amount: Amount) -> Iterator[tuple[str, Rate]]:
    """The rate of each model, once per checkpoint, precision and engine."""
    student = replace(exp.student, dtype=exp.train.precision)
    roles: tuple[tuple[Role, object], ...] = (
        ("generator", exp.generator.model),
        ("scorer", exp.scorer.model),
        ("student", student),
    )
    models: dict[str, tuple[Role, LocalModel]] = {
        model.name: (role, model) for role, model in roles if isinstance(model, LocalModel)
    }
    for role, model in models.values():
        size = model.checkpoint.size
        if size is None:
            say(f"{model.name}: left out, its size is not stated")
            continue
        device = one_replica(exp.runtime.device_for(role))
        with model.open(device) as session:
            rate = measured_rate(session, model, size, device, amount)
        yield model.name, rate
        writes = ", ".join(f"{value:,.1f} with {rows}" for rows, value in rate.writes_per_second.items())
        say(f"{model.name}: reads {rate.reads_per_second:,.0f} tokens/s, writes {writes} rows at once")


def one_replica(device: Device) -> Device:
    """A device with a single replica of what an engine serves on it."""
    placement = device.engines.placement
    alone = replace(placement, gpus=placement.gpus_of(0), replicas=1)
    return replace(device, engines=replace(device.engines, placement=alone, nodes=None))


def measured_rate(
    session: LoadedModel,
    model: LocalModel,
    size: Size,
    device: Device,
    amount: Amount,
    clock: Clock = time.perf_counter,
) -> Rate:
    """The rate of an open model. Passages of the same lengths, and the same requests, are its warm-up: a GPU loads its
    kernels for each new shape."""
    count = device.score_rows
    passages = [Passage(Prompt((Message("user", f"{i}"),)), _text(amount.prompt_words, i)) for i in range(2 * count)]
    in_order(session.score(passages[:count]), count)
    began = clock()
    scored = in_order(session.score(passages[count:]), count)
    reads = sum(len(nats) for nats in scored if nats is not None) / (clock() - began)
    return Rate(
        engine="transformers" if model.engine == "transformers" else software(model.engine),
        devices=device.engines.placement.gpus_per_replica if model.engine != "transformers" else 1,
        precision=model.dtype,
        billions=size.parameters / 1e9,
        reads_per_second=reads,
        writes_per_second={rows: _writing(session, rows, amount, clock) for rows in _batches(amount, model, device)},
        source=f"measured on {date.today().isoformat()} by `reer calibrate`",
        measured=True,
    )


def _batches(amount: Amount, model: LocalModel, device: Device) -> list[int]:
    """The numbers of rows to decode at once: those that this process, or the engine, takes."""
    most = device.generate_rows if model.engine == "transformers" else device.engines.placement.calls
    return [rows for rows in amount.rows if rows <= most] or [most]


def _writing(session: LoadedModel, rows: int, amount: Amount, clock: Clock) -> float:
    """Tokens per second of all rows, after the time that the first token takes has been subtracted. The warm-up also
    brings the prompts into an engine's cache, from which both measured calls read them."""

    def seconds(tokens: int) -> tuple[float, int]:
        begin = clock()
        replies = in_order(session.generate([_request(row, tokens) for row in range(rows)]), rows)
        return clock() - begin, sum(reply.tokens for reply in replies)

    seconds(amount.written_tokens)
    (first, _), (whole, written) = seconds(1), seconds(amount.written_tokens)
    taken = whole - first if whole > first else whole  # a machine that others use may have been slow for the first
    return max(1, written - rows) / taken


def _request(row: int, tokens: int) -> Request:
    prompt = Prompt((Message("user", f"Tell a long story about parcel {row}."),), prefill="There once was a parcel")
    return Request(prompt, Sampling(temperature=1.0, top_p=1.0, max_tokens=tokens), seed=row)


def _text(count: int, number: int) -> str:
    words = (f"Parcel {number}. " + SENTENCE * (count // 10 + 1)).split()
    return " ".join(words[:count])


def training_speed(student: LocalModel, recipe: Recipe, parallelism: Parallelism, amount: Amount) -> float:
    """Tokens per second of a short training in this process: the median step after the first."""
    alone = replace(parallelism, devices=1, nodes=1, sharding="none", start=())
    short = replace(recipe, epochs=1, global_batch=alone.micro_batch)
    rows = training_rows(amount.train_tokens, amount.train_steps * alone.micro_batch)
    with tempfile.TemporaryDirectory() as folder:
        curve = train_once(Path(folder), str(student.checkpoint.fetch()), short, alone, rows)
    return statistics.median(row["tokens_per_second"] for row in curve[1:] or curve)


def training_rows(tokens: int, count: int) -> list[dict[str, list[int]]]:
    """Rows of arbitrary token ids; their content changes no speed."""
    ids = [[5 + (row + at) % 200 for at in range(tokens)] for row in range(count)]
    return [{"input_ids": row, "labels": [-100] * (tokens // 4) + row[tokens // 4 :]} for row in ids]


def train_once(
    work: Path, student: str, recipe: Recipe, parallelism: Parallelism, rows: Sequence[dict[str, list[int]]]
) -> list[dict[str, float]]:
    """The curve of one training on these rows; nothing is kept."""
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (work / "out").mkdir()
    curve: list[dict[str, float]] = []
    job = Job(
        student=student,
        rows=str(work / "rows.jsonl"),
        recipe=recipe,
        seed=0,
        parallelism=parallelism,
        work=str(work / "out"),
    )
    fine_tune(job, lambda row: curve.append(dict(row)))
    return curve
