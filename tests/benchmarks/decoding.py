"""Tokens per second of completions that are written together: `python -m tests.benchmarks.decoding`.

The bundled 135M model in this process (fp32); behind a vLLM that this starts by `$REER_VLLM`, a command such as
`/path/to/vllm serve --enforce-eager`; and behind a llama.cpp server at `$REER_LLAMACPP_URL` (an address ending in /v1),
which has the model's own GGUF and a slot for each row: `xllamacpp.Server` or `llama-server`. All get the same requests.
A rate is the tokens of all rows by the seconds until the last one is there; the first run of each backend is discarded.
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

from experiments.report.console import quiet_libraries
from reer.models.engines.servers import running
from reer.models.local.model import LocalModel
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
