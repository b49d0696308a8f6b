"""Tokens per second of completions that are written together: `python -m tests.benchmarks.decoding`.

The bundled 135M model in this process (fp32); behind a vLLM that this starts by `$REER_VLLM`, a command such as
`/path/to/vllm serve --enforce-eager`; and behind a llama.cpp server at `$REER_LLAMACPP_URL` (an address ending in /v1),
which has the model's own GGUF and a slot for each row: `xllamacpp.Server` or `llama-server`. All get the same requests.
A rate is the tokens of all rows by the seconds until the last one is there; the first run of each backend is discarded.

In this process, also how long a judge's questions about the bundled prompts take to read: padded to one length, and as
they are read.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from evals.benchmark import JudgedBenchmark, Response
from experiments.report.console import quiet_libraries
from reer.data.rows import Problems
from reer.models.engines.servers import running
from reer.models.local.decoding import decoding_cache, read_prompts
from reer.models.local.model import LocalModel, LocalSession
from reer.models.local.scoring import shared_tokens
from reer.models.placement import Engines, Placement
from reer.models.protocols import Device, Generator, Prompt, Request, Sampling, in_order
from reer.models.services.openai import ChatServer
from reer.types import Message
from tests.benchmarks.work import environment
from tests.fakes.plans import compose

ROWS = (1, 8, 32)


@dataclass(frozen=True)
class Backend:
    """An open model, and what it is called in the table."""

    name: str
    session: Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48, help="at most, of a row")
    parser.add_argument("--backends", default="in process,vllm,llama.cpp", help="separated by commas")
    given = parser.parse_args()
    quiet_libraries()
    model = compose("tracking=silent").student
    assert isinstance(model, LocalModel)
    print(f"# {model.checkpoint.name}, at most {given.tokens} tokens a row\n# {environment()}\n")
    print("| backend | rows | tokens/s, median | least to most | of one row | load |\n|---|---|---|---|---|---|")
    for name in given.backends.split(","):
        with OPENED[name](model) as backend:
            measure(backend, given.repeats, given.tokens)
    reading(model, given.repeats)


def reading(model: LocalModel, repeats: int) -> None:
    """Print how long questions take to read, in turn in both ways."""
    with replace(model, engine="transformers").open(Device("cpu")) as session:
        assert isinstance(session, LocalSession)
        prompts = sorted((session.tokens.context_ids(prompt) for prompt in questions()), key=len)
        ways = {"padded": padded, "as they are": lambda loaded, ids: read_prompts(loaded, ids, 1)[0]}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            for name, read in ways.items():
                began = time.perf_counter()
                with torch.inference_mode():
                    read(session.model, prompts)
                seconds[name].append(time.perf_counter() - began)
    shared = min(shared_tokens(prompts[0], other) for other in prompts[1:])
    lengths = f"{len(prompts[0])} to {len(prompts[-1])}"
    print(f"\n# {len(prompts)} questions of {lengths} tokens, which share the first {shared}\n")
    print("| read | seconds, median | least to most |\n|---|---|---|")
    for name, (_, *measured) in seconds.items():
        print(f"| {name} | {statistics.median(measured):.2f} | {min(measured):.2f} to {max(measured):.2f} |")


def questions() -> list[Prompt]:
    """A judge's questions about answers of different lengths."""
    exp = compose("tracking=silent")
    benchmark, text = exp.benchmarks["writing"], " ".join(row.solution for row in exp.source.rows(Problems("error")))
    assert isinstance(benchmark, JudgedBenchmark)
    answers = [" ".join(text.split()[: 30 * (n + 1)]) for n in range(len(benchmark.items()))]
    responses = [Response.read(i.id, a, False, 9, "stop") for i, a in zip(benchmark.items(), answers, strict=True)]
    calls = (benchmark.calls(item, given) for item, given in zip(benchmark.items(), responses, strict=True))
    return [call.prompt for found in calls for call in found]


def padded(model: Any, prompts: Sequence[list[int]]) -> Any:
    """The logits after prompts that are padded on the left and read in one batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions, cache = (mask.cumsum(1) - 1).clamp(min=0), decoding_cache(model.config)
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, cache=cache, logits_to_keep=1)
    return out.logits[:, -1]


def measure(backend: Backend | None, repeats: int, tokens: int) -> None:
    """Print a line for each number of rows; nothing for a backend that is not here."""
    if backend is None:
        return
    rates = {rows: [rate(backend.session, requests(rows, tokens)) for _ in range(repeats + 1)][1:] for rows in ROWS}
    one = statistics.median(rates[ROWS[0]])
    for rows, measured in rates.items():
        median, load = statistics.median(measured), os.getloadavg()[0]
        span = f"{min(measured):.0f} to {max(measured):.0f}"
        print(f"| {backend.name} | {rows} | {median:.0f} | {span} | {median / one:.1f} | {load:.1f} |", flush=True)


def rate(session: Generator, asked: Sequence[Request]) -> float:
    """Tokens per second of one call."""
    began = time.perf_counter()
    replies = in_order(session.generate(asked), len(asked))
    return sum(reply.tokens for reply in replies) / (time.perf_counter() - began)


def requests(rows: int, tokens: int) -> list[Request]:
    """Completions of prompts that differ."""
    sampling = Sampling(temperature=0.8, top_p=0.85, max_tokens=tokens)
    texts = [f"Write a long story about {number + 2} ships and the sea." for number in range(rows)]
    return [Request(Prompt((Message("user", text),)), sampling, seed) for seed, text in enumerate(texts)]


@contextmanager
def in_process(model: LocalModel) -> Iterator[Backend]:
    with replace(model, engine="transformers").open(Device("cpu", generate_rows=max(ROWS))) as session:
        yield Backend("in process", session)


@contextmanager
def on_vllm(model: LocalModel) -> Iterator[Backend | None]:
    if "REER_VLLM" not in os.environ:
        print("| vllm | not measured: REER_VLLM is not set | | | | |")
        yield None
        return
    place = Placement(memory_share=0.1, context_tokens=2048)
    engines = Engines(vllm=tuple(shlex.split(os.environ["REER_VLLM"])), placement=place)
    with replace(model, engine="vllm").open(Device("cpu", engines=engines)) as session:
        version = _reply(running()[0].urls[0] + "/version")["version"]
        yield Backend(f"vllm {version}", session)


@contextmanager
def on_llama_cpp(model: LocalModel) -> Iterator[Backend | None]:
    url = os.environ.get("REER_LLAMACPP_URL")
    if url is None:
        print("| llama.cpp | not measured: REER_LLAMACPP_URL is not set | | | | |")
        yield None
        return
    build = _reply(url.removesuffix("/v1") + "/props").get("build_info", "")
    name = _reply(url + "/models")["data"][0]["id"]
    with ChatServer(model=name, base_url=url, concurrency=max(ROWS)).open(Device()) as session:
        yield Backend(f"llama.cpp {build}", session)


OPENED = {"in process": in_process, "vllm": on_vllm, "llama.cpp": on_llama_cpp}


def _reply(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


if __name__ == "__main__":
    main()
