"""How busy the search keeps a server: `python -m tests.benchmarks.driver`.

In virtual time, with the project's own driver and HTTP client on a scripted server of 64 slots: 500 searches of 3 to 14
segments, 2 rewrites a step with log-normal completion times (median 1, sigma 1), scores of 0.15. Compared are rounds,
in which every search waits for the slowest call of all of them, and the driver as it is. The delays, and so the work,
are the same for both. With `$REER_VLLM`, the command that starts vLLM as in `/path/to/vllm serve --enforce-eager`, the
bundled 135M model also writes the rewrites of a smaller search in real time: in this process, and behind vLLM in rounds
and by the driver.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist
from typing import Any

from reer.calls import all_of, event_loop
from reer.models.http.client import Call, Client, Endpoint
from reer.models.http.connection import Reply
from reer.models.local.model import LocalModel
from reer.models.placement import Engines, Placement
from reer.models.protocols import ConcurrentGenerator, Device, Generator, Prompt, Request, Sampling, in_order
from reer.search.driver import Concurrent, Handlers, run_searches
from reer.search.methods import (
    RequestDrafts,
    RequestRewrites,
    RequestScores,
    Search,
    SearchReply,
    SearchRequest,
    SegmentSearch,
)
from reer.types import Candidate, Message
from tests.fakes.plans import compose
from tests.fakes.virtual_time import VirtualTimeLoop

SLOTS, SCORE_SECONDS = 64, 0.15
WIDTHS = (64, 128, 256, 1024)
WRITING, TOKENS = 8, 64  # searches side by side, and tokens of a rewrite, with a real model
METHOD = SegmentSearch(max_edits=10, n_candidates=2, threshold=-1.0)
Drafts = Mapping[str, tuple[str, ...]]
Ask = Callable[[SearchRequest], list[Call[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="searches side by side")
    parser.add_argument("--written", type=int, default=16, help="searches with a real model")
    given = parser.parse_args()
    drafts = drafts_of(given.searches, 3, 14)
    print(
        f"# {given.searches} searches in virtual time, {SLOTS} slots; busy: share of the slots, in brackets until fewer"
    )
    print("# searches than slots are left; time: as a multiple of the least possible\n")
    print("| width | rounds: busy | time | driver: busy | time | rounds / driver |\n|---|---|---|---|---|---|")
    for width in map(int, given.widths.split(",")):
        old, new = measured(drafts, width, rounds), measured(drafts, width, driven)
        assert old.results == new.results, "a delay changed a result"
        print(f"| {width} | {old} | {new} | {old.seconds / new.seconds:.2f} |", flush=True)
    if "REER_VLLM" in os.environ:
        in_real_time(shlex.split(os.environ["REER_VLLM"]), given.written)
    else:
        print("\nOn a real server: not measured (REER_VLLM is not set).")


def drafts_of(count: int, shortest: int, longest: int) -> dict[str, tuple[str, ...]]:
    """Drafts of uniformly distributed numbers of segments."""
    draw = Random(0)
    return {f"p{n}": tuple(f"{n} {i}" for i in range(draw.randint(shortest, longest))) for n in range(count)}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run: its results, how long it took, and the share of the slots that were busy."""

    results: Mapping[str, Any]
    seconds: float
    least_seconds: float
    busy_before_tail: float

    def __str__(self) -> str:
        busy = self.least_seconds / self.seconds
        return f"{busy:.0%} ({self.busy_before_tail:.0%}) | {self.seconds / self.least_seconds:.2f}"


class SlottedServer:
    """A server in virtual time that answers a call after the seconds in its body; `busy` adds up these seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.busy, self.in_flight, self.changed_at = clock, 0.0, 0, 0.0

    def busy_until_now(self) -> float:
        self.busy += self.in_flight * (self.clock() - self.changed_at)
        self.changed_at = self.clock()
        return self.busy

    async def request(self, method: str, url: str, payload: bytes, seconds: float, max_bytes: int) -> Reply:
        self.busy_until_now()
        self.in_flight += 1
        await asyncio.sleep(json.loads(payload)["seconds"])
        self.busy_until_now()
        self.in_flight -= 1
        return Reply(200, {}, b"{}")

    async def upload(self, url: str, form: Mapping[str, str], content: bytes, seconds: float, max_bytes: int) -> Reply:
        raise AssertionError("a search uploads no files")


def uniform(*parts: object) -> float:
    """A number between 0 and 1 that depends on the parts alone."""
    return (int(hashlib.sha256(repr(parts).encode()).hexdigest()[:13], 16) + 0.5) / 16**13


def calls_of(request: SearchRequest) -> list[Call[float]]:
    """The calls of a request; each takes the same time whenever it is made."""
    if isinstance(request, RequestRewrites):
        draws = [uniform(request.pair_id, request.index, sample) for sample in range(request.n)]
        return [_call(math.exp(NormalDist().inv_cdf(draw))) for draw in draws]
    assert isinstance(request, RequestScores)
    return [_call(SCORE_SECONDS) for _ in request.thinkings]


def _call(seconds: float) -> Call[float]:
    return Call(path="/", body={"seconds": seconds}, read=lambda _: seconds)


def candidates_of(request: RequestRewrites) -> list[Candidate]:
    return [Candidate(f"{request.pair_id} {request.index} {k}", 1, None, None) for k in range(request.n)]


def scores_of(request: RequestScores) -> list[float]:
    return [uniform(thinking) for thinking in request.thinkings]


Run = Callable[[Client, Drafts, int, Callable[[Any], None]], Mapping[str, Any]]


def measured(drafts: Drafts, width: int, run: Run) -> Measured:
    """One run in virtual time."""
    with event_loop(VirtualTimeLoop) as runner:
        clock = runner.get_loop().time
        server = SlottedServer(clock)
        endpoint = Endpoint(base_url="http://virtual", concurrency=SLOTS)
        client = Client("virtual", endpoint, server, runner, clock)
        ends: list[tuple[float, float]] = []
        results = run(client, drafts, width, lambda _: ends.append((clock(), server.busy_until_now())))
        tail, busy = ends[max(0, len(ends) - SLOTS - 1)]
        return Measured(
            results=results,
            seconds=clock(),
            least_seconds=server.busy_until_now() / SLOTS,
            busy_before_tail=busy / (SLOTS * tail),
        )


def searches_of(drafts: Drafts) -> dict[str, Search]:
    return {pair_id: METHOD.steps(pair_id, draft) for pair_id, draft in drafts.items()}


def driven(client: Client, drafts: Drafts, width: int, on_done: Callable[[Any], None]) -> Mapping[str, Any]:
    """The driver of the project."""

    async def rewrite(request: RequestRewrites) -> list[Candidate]:
        await all_of(client.answer(call) for call in calls_of(request))
        return candidates_of(request)

    async def score(request: RequestScores) -> list[float]:
        await all_of(client.answer(call) for call in calls_of(request))
        return scores_of(request)

    handlers = Handlers(Concurrent(rewrite), Concurrent(score), no_drafts)
    return run_searches(searches_of(drafts), handlers, width, on_done)


def rounds(client: Client, drafts: Drafts, width: int, on_done: Callable[[Any], None]) -> Mapping[str, Any]:
    """The searches in rounds: all requests of one kind are asked together, and all of them are waited for."""
    searches = searches_of(drafts)
    waiting, pending, results = list(searches), dict[str, SearchRequest](), dict[str, Any]()

    def advance(pair_id: str, reply: SearchReply | None) -> None:
        pending.pop(pair_id, None)
        try:
            pending[pair_id] = next(searches[pair_id]) if reply is None else searches[pair_id].send(reply)
        except StopIteration as ended:
            results[pair_id] = ended.value
            on_done(ended.value)

    while waiting or pending:
        while waiting and len(pending) < width:
            advance(waiting.pop(0), None)
        for kind, reply in (
            (RequestRewrites, lambda request: SearchReply(candidates=candidates_of(request))),
            (RequestScores, lambda request: SearchReply(scores=scores_of(request))),
        ):
            batch = [request for request in pending.values() if isinstance(request, kind)]
            list(client.ask([call for request in batch for call in calls_of(request)]))
            for request in batch:
                advance(request.pair_id, reply(request))
    return {pair_id: results[pair_id] for pair_id in drafts}


def no_drafts(requests: Sequence[RequestDrafts]) -> list[Any]:
    raise AssertionError("a search with one start asks for no drafts")


def in_real_time(command: Sequence[str], count: int) -> None:
    """Print the wall clock of a search whose rewrites a real model writes; scores are scripted and cost nothing."""
    model, device = compose("tracking=silent").student, Device("cpu", generate_rows=2 * WRITING)
    assert isinstance(model, LocalModel)
    drafts, load = drafts_of(count, 3, 6), os.getloadavg()[0]
    print(f"\n# {count} searches, {WRITING} side by side, at most {TOKENS} tokens a rewrite; load {load:.1f}\n")
    print("| rewrites by | seconds |\n|---|---|")
    with model.open(device) as here:
        print(f"| transformers, in this process | {written(here, drafts, False):.1f} |", flush=True)
    place = Placement(memory_share=0.1, context_tokens=2048)
    engines = Engines(vllm=tuple(command), placement=place)
    with replace(model, engine="vllm").open(replace(device, engines=engines)) as served:
        print(f"| vLLM, in rounds | {written(served, drafts, False):.1f} |", flush=True)
        print(f"| vLLM, by the driver | {written(served, drafts, True):.1f} |", flush=True)


def written(session: Generator, drafts: Drafts, concurrent: bool) -> float:
    """The seconds of a search with the rewrites of a session."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=TOKENS)

    def request_of(request: RequestRewrites, sample: int) -> Request:
        words = f"Write {int(60 * uniform(request.pair_id, request.index, sample)) + 1} words about the number"
        prompt = Prompt((Message("user", f"{words} {request.pair_id} {request.index}."),))
        return Request(prompt, sampling, sample, request.pair_id)

    async def rewrite(request: RequestRewrites) -> list[Candidate]:
        assert isinstance(session, ConcurrentGenerator)
        await all_of(session.complete(request_of(request, sample)) for sample in range(request.n))
        return candidates_of(request)

    def rewrite_all(requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        calls = [request_of(request, sample) for request in requests for sample in range(request.n)]
        in_order(session.generate(calls), len(calls))
        return [candidates_of(request) for request in requests]

    handlers = Handlers(
        Concurrent(rewrite) if concurrent else rewrite_all,
        lambda requests: [scores_of(request) for request in requests],
        no_drafts,
    )
    began = time.perf_counter()
    run_searches(searches_of(drafts), handlers, WRITING, lambda _: None)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
