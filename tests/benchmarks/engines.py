"""What an engine does per second on the device at hand:

    python -m tests.benchmarks.engines --engine vllm --model qwen3_8b --precision fp8

A model of a stated shape without its weights (`--load-format dummy`: their values change no speed), behind a server
that `$REER_VLLM` or `$REER_SGLANG` starts, with a byte-level tokenizer. Measured are scored tokens per second,
generated tokens per second by rows at once after short and long prompts, and how long the scores of a step of the
search take: K candidates for each of several pairs, which share a beginning that the last step has scored. Beside each
is what `conf/estimate/h100.yaml` has, for H100s. `--cpu` takes a model of a few thousand weights.
"""

from __future__ import annotations

import argparse
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from experiments.planning.measuring import SENTENCE
from reer.models.local.model import LocalModel
from reer.models.local.size import Size
from reer.models.local.weights import Head
from reer.models.placement import Engines, Placement, Precision, ServerEngine, software
from reer.models.protocols import Device, Generator, LoadedModel, Passage, Prompt, Request, Sampling, in_order
from reer.models.rates import Rate, closest_rate
from reer.types import Message
from tests.fakes.costs import assumed
from tests.gpu.models import QWEN3_8B, QWEN3_TINY, QWEN25_32B, described

SHAPES = {"qwen3_8b": QWEN3_8B, "qwen25_32b": QWEN25_32B}


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Tokens and rows of each measurement; the tokenizer makes a token of every character."""

    scored_passages: int = 64
    scored_tokens: int = 4000
    rows: tuple[int, ...] = (1, 8, 32, 64, 128)
    short_tokens: int = 100
    long_tokens: int = 6000
    long_rows: tuple[int, ...] = (16, 46)
    written_tokens: int = 200
    pairs: int = 16
    candidates: int = 4
    shared_tokens: int = 3000
    answer_tokens: int = 2000
    steps: int = 3


SMALL = Amount(
    scored_passages=2,
    scored_tokens=200,
    rows=(1, 2),
    long_tokens=300,
    long_rows=(2,),
    written_tokens=8,
    pairs=2,
    candidates=2,
    shared_tokens=200,
    answer_tokens=50,
    steps=2,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=get_args(ServerEngine), default="vllm")
    parser.add_argument("--model", choices=SHAPES, default="qwen3_8b")
    parser.add_argument("--precision", choices=get_args(Precision), default="bfloat16")
    parser.add_argument("--gpus", type=int, default=1, help="that share one copy")
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    shape, amount = (QWEN3_TINY, SMALL) if given.cpu else (SHAPES[given.model], Amount())
    planned = closest_rate(
        assumed().rates.values(),
        engine=software(given.engine),
        precision=given.precision,
        devices=given.gpus,
        billions=shape.parameters / 1e9,
    )
    print(f"# {given.model} ({shape.parameters / 1e9:.1f}B), {given.precision}, {given.engine} on {given.gpus} devices")
    print("| measure | measured | planned |\n|---|---|---|")
    began = time.perf_counter()
    with opened(shape, given.engine, given.precision, given.gpus, short=given.cpu) as session:
        print(f"| ready after, s | {time.perf_counter() - began:.0f} | |", flush=True)
        for line in measured(session, amount, planned):
            print(f"| {line} |", flush=True)


@dataclass(frozen=True)
class Shape:
    """A checkpoint that is described and has no weights."""

    size: Size
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.size.parameters / 1e9:.2f}B"

    def fetch(self) -> Path:
        return described(self.size, self.folder)

    def require(self, head: Head = "causal") -> None:
        """Nothing is absent: no weights are loaded."""


@contextmanager
def opened(shape: Size, engine: ServerEngine, precision: Precision, gpus: int, *, short: bool) -> Iterator[LoadedModel]:
    """A model of this shape behind its engine, without weights of its own."""
    with tempfile.TemporaryDirectory() as folder:
        program = without_weights(Path(folder), os.environ[f"REER_{software(engine).upper()}"])
        place = Placement(
            gpus=tuple(range(gpus)) if not short else (),
            calls=256,
            context_tokens=2048 if short else 16384,
            memory_share=0.1 if short else 0.9,
        )
        engines = replace(Engines(placement=place), **{software(engine): program})
        with LocalModel(Shape(shape, Path(folder) / "model"), precision, engine).open(
            Device("cpu", engines=engines)
        ) as session:
            yield session


def without_weights(folder: Path, command: str) -> tuple[str, ...]:
    """A program that starts an engine with random weights; a run may not choose that, because it changes numbers."""
    program, dashes, options = command.partition(" --")
    script = folder / "engine"
    script.write_text(f'#!/bin/sh\nexec {program} "$@" {dashes}{options} --load-format dummy\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return (str(script),)


def measured(session: LoadedModel, amount: Amount, planned: Rate | None) -> Iterator[str]:
    """The lines of the table, as they are known."""
    score(session, [passage("warm up", amount.scored_tokens, i) for i in range(4)])
    reads = (
        amount.scored_passages
        * amount.scored_tokens
        / score(session, [passage("read", amount.scored_tokens, i) for i in range(amount.scored_passages)])
    )
    yield f"scored tokens/s, texts of {amount.scored_tokens} | {reads:,.0f} | " + (
        f"{planned.reads_per_second:,.0f}" if planned else ""
    )
    for tokens, counts in ((amount.short_tokens, amount.rows), (amount.long_tokens, amount.long_rows)):
        for rows in counts:
            rate = written(session, rows, tokens, amount.written_tokens)
            plan = f"{planned.writing(rows):,.0f}" if planned else ""
            yield f"written tokens/s, {rows} rows after {tokens} | {rate:,.0f} | {plan}"
    yield from step_of_search(session, amount, planned)


def score(session: LoadedModel, passages: Sequence[Passage]) -> float:
    """Seconds until all passages have scores."""
    began = time.perf_counter()
    found = in_order(session.score(passages), len(passages))
    assert all(nats for nats in found), "a passage has no score"
    return time.perf_counter() - began


def written(session: Generator, rows: int, prompt_tokens: int, tokens: int) -> float:
    """Generated tokens per second of all rows, after the first token: prompts are in the cache when it is measured."""
    seconds: dict[int, float] = {}
    for limit in (1, 1, tokens):  # the first reads the prompts, the second tells what one token takes after them
        asked = [
            Request(
                prompt(f"{rows} {prompt_tokens} {row}", prompt_tokens),
                Sampling(temperature=1.0, top_p=1.0, max_tokens=limit),
                row,
            )
            for row in range(rows)
        ]
        began = time.perf_counter()
        replies = in_order(session.generate(asked), rows)
        seconds[limit] = time.perf_counter() - began
    return (sum(reply.tokens for reply in replies) - rows) / max(seconds[tokens] - seconds[1], 1e-3)


def step_of_search(session: LoadedModel, amount: Amount, planned: Rate | None) -> Iterator[str]:
    """The scores of steps of searches side by side: candidates share all before them and have the answer after them."""
    tokens, shared = 0, 0
    for step in range(amount.steps):
        passages = [
            Passage(
                prompt(f"pair {pair}", amount.shared_tokens, " ".join([f"Step {at}." for at in range(step)])),
                f"Candidate {candidate} of step {step}. " + filled(amount.answer_tokens, pair),
                f"pair {pair}",
            )
            for pair in range(amount.pairs)
            for candidate in range(amount.candidates)
        ]
        seconds = score(session, passages)
        tokens = amount.shared_tokens + amount.answer_tokens
        shared = amount.answer_tokens + (0 if step else amount.shared_tokens // amount.candidates)
        plan = ""
        if planned:
            alone, reused = (len(passages) * each / planned.reads_per_second for each in (tokens, shared))
            plan = f"{alone:.1f}, {reused:.1f} with shared beginnings"
        name = f"scores of step {step + 1}, s: {amount.pairs} pairs of {amount.candidates} candidates, {tokens} tokens"
        yield f"{name} | {seconds:.2f} | {plan}"


def passage(kind: str, tokens: int, number: int) -> Passage:
    return Passage(Prompt((Message("user", f"{kind} {number}"),)), filled(tokens, number))


def prompt(number: str, tokens: int, more: str = "") -> Prompt:
    return Prompt((Message("user", f"{number} {filled(tokens, 0)} {more}"),))


def filled(tokens: int, number: int) -> str:
    """A text of this many characters, and so of tokens."""
    return (f"Parcel {number}. " + SENTENCE * (tokens // len(SENTENCE) + 1))[:tokens]


if __name__ == "__main__":
    main()
