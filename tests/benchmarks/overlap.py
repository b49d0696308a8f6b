"""What it saves that stages overlap: `python -m tests.benchmarks.overlap`.

1. Judging answers while others are written. Real stages, in real time: answers that come one after another, and a judge
   server in a process of its own that answers eight calls at once. Its latency is set so that judging all answers takes
   a fraction, or a multiple, of the time of writing them. The least time of both together is that of the slower one.
2. Searching while the last drafts are written. The project's own search in virtual time, over scripted models: a
   generator with 64 slots and log-normal completion times (median 1 s, of drafts 4 s, at most 8 times as long), and a
   scorer that takes 0.15 s. The results are those of searches that begin after the last draft.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import NormalDist

from evals.benchmark import Benchmark, Item, Response
from evals.benchmarks.writing import WritingPrompts
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics
from experiments.stages import evaluation
from experiments.store.overlap import Overlap
from experiments.store.step import Artifact, StageKey, stage
from experiments.store.store import Store
from experiments.store.workspace import Workspace
from experiments.workers.early_searches import FirstDraft, early_searches
from experiments.workers.search_job import Results, SearchJob
from reer.calls import event_loop
from reer.files import write_rows
from reer.models.protocols import Completion, Device, Nats, Passage, Request
from reer.models.scripted import ScriptedModel, ScriptedSession
from reer.types import Pair, Start
from tests.benchmarks.work import environment
from tests.fakes.judge_server import judge_server
from tests.fakes.judging import BENCHMARK, judge
from tests.fakes.plans import compose
from tests.fakes.runtime import small_runtime
from tests.fakes.searches import bytes_of, drafter_of, job_of, material, served
from tests.fakes.virtual_time import VirtualTimeLoop

SECONDS_PER_ANSWER, AT_ONCE = 0.05, 8
PAIRS, WIDTH, SLOTS = (64, 250, 1000), 256, 64  # the width and the slots of `runtime=gpu`
DRAFT_SECONDS, LONGEST, SCORE_SECONDS, DRAFT_TOKENS = 4.0, 8.0, 0.15, 400
Drafts = Mapping[str, tuple[str, ...]]
JUDGING = (0.25, 0.5, 1.0, 2.0)  # the time of judging all answers, as a multiple of that of writing them


class ManyPrompts(WritingPrompts):
    """As many items as are asked for."""

    def all_items(self) -> list[Item]:
        first, *_ = super().all_items()
        return [replace(first, id=f"i{number:04d}") for number in range(self.items_limit or 1)]


@stage(StageKey("paced_answers", GenerateMetrics), version=1)
def paced_answers(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
    """An answer to each item, one after another."""
    rows: list[Response] = []
    for item in benchmark.items():
        time.sleep(SECONDS_PER_ANSWER)
        rows.append(Response.read(item.id, f"The answer to {item.id}.", False, 5, "stop"))
        ws.finished(rows[-1])
    write_rows(ws.folder / "rows.jsonl", rows)
    return GenerateMetrics(
        rows=len(rows), empty_answers=0, truncated=0, unclosed_thinking=0, with_thinking=0, mean_tokens=5.0
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100)
    given = parser.parse_args()
    print(f"# {environment()}")
    judged_ahead(given.answers)
    searched_ahead()


def judged_ahead(count: int) -> None:
    """Judging and writing one after the other, and at the same time."""
    print(f"# {count} answers of {SECONDS_PER_ANSWER * 1000:.0f} ms; a judge that answers {AT_ONCE} at once\n")
    print("| judging / writing | one after the other | at the same time | ratio | least |\n|---|---|---|---|---|")
    writing = count * SECONDS_PER_ANSWER
    for multiple in JUDGING:
        with judge_server(AT_ONCE, multiple * SECONDS_PER_ANSWER * AT_ONCE) as url:
            (alone, expected), (ahead, found) = (graded(url, count, overlap) for overlap in (False, True))
        assert found.build == expected.build, "the results depend on the time"
        least = max(1.0, multiple) * writing / alone
        print(f"| {multiple:g} | {alone:.2f} s | {ahead:.2f} s | {ahead / alone:.2f} | {least:.2f} |", flush=True)


def searched_ahead() -> None:
    """All drafts before the first search, and searches in the places that the last drafts leave."""
    print("\n| pairs | sigma | drafts | searches | together | ratio |\n|---|---|---|---|---|---|")
    exp = compose("scale=smoke", "tracking=silent")
    exp = replace(exp, runtime=replace(exp.runtime, width=WIDTH))
    for count in PAIRS:
        pairs, _ = material(exp, count)
        for sigma in (0.5, 1.0):
            with tempfile.TemporaryDirectory() as folder:

                def job(replay: str, root: str = folder, sigma: float = sigma) -> SearchJob:
                    return served(job_of(exp, Path(root) / replay), Paced(sigma=sigma))

                drafts, drafting = drafted(job("alone"), pairs, overlap=False)
                expected, searching = searched(job("alone"), pairs, drafts)
                _, together = drafted(job("ahead"), pairs, overlap=True)
                found, rest = searched(job("ahead"), pairs, drafts)
            assert bytes_of(found) == bytes_of(expected), "the results depend on the time"
            together += rest
            apart = drafting + searching
            row = f"{drafting:.0f} s | {searching:.0f} s | {together:.0f} s | {together / apart:.3f}"
            print(f"| {count} | {sigma} | {row} |", flush=True)


class PacedSession(ScriptedSession):
    """A server with slots, in virtual time."""

    def __init__(self, sigma: float, slots: asyncio.Semaphore) -> None:
        super().__init__(0)
        self.sigma, self.slots = sigma, slots

    async def complete(self, request: Request) -> Completion:
        draw = NormalDist().inv_cdf(Random(f"{request.seed} {request.group}").uniform(1e-9, 1))
        median = DRAFT_SECONDS if request.sampling.max_tokens == DRAFT_TOKENS else 1.0
        async with self.slots:
            await asyncio.sleep(median * min(LONGEST, math.exp(self.sigma * draw)))
        return self._reply(request)

    async def nats_of(self, passage: Passage) -> Nats | None:
        await asyncio.sleep(SCORE_SECONDS)
        return self._score(passage)


@dataclass(frozen=True)
class Paced(ScriptedModel):
    """A scripted model behind a server whose slots all of its sessions share."""

    sigma: float = field(default=1.0, metadata={"identity": False})
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS), compare=False)

    @contextmanager
    def open(self, device: Device) -> Iterator[PacedSession]:
        yield PacedSession(self.sigma, self.slots)


def drafted(job: SearchJob, pairs: Mapping[str, Pair], *, overlap: bool) -> tuple[Drafts, float]:
    """First drafts and the seconds that they take, with searches meanwhile or without."""
    every = list(pairs.values())
    with event_loop(VirtualTimeLoop) as runner, ExitStack() as stack:
        early = stack.enter_context(early_searches(job, every)) if overlap else None
        writer = stack.enter_context(job.open()).generator
        drafter = drafter_of(job, writer)

        def on_draft(pair_id: str, start: Start) -> None:
            if early is not None:
                early.add([FirstDraft(pair_id, start)])

        kept, _ = drafter.first_drafts(every, job.runtime.width, on_draft)
        if early is not None:
            early.end()
        return {row.pair_id: row.segments for row in kept}, runner.get_loop().time()


def searched(job: SearchJob, pairs: Mapping[str, Pair], drafts: Drafts) -> tuple[Results, float]:
    """The searches, with the seconds that they take."""
    with event_loop(VirtualTimeLoop) as runner, job.open() as models:
        return models.run(pairs, drafts, 0.0, lambda _: None), runner.get_loop().time()


def graded(url: str, count: int, overlap: bool) -> tuple[float, Artifact[GradeMetrics]]:
    """The seconds until all answers are graded, and the grades."""
    benchmark = ManyPrompts(**{**vars(BENCHMARK), "items_limit": count})
    by = judge(url, concurrency=AT_ONCE, reroutes="record")
    step = evaluation.grade(answers=paced_answers(benchmark=benchmark), benchmark=benchmark, judge=by)
    runtime = replace(small_runtime(), overlap=overlap)
    with tempfile.TemporaryDirectory() as folder, Overlap([step]) as ahead:
        began = time.perf_counter()
        artifact = Store(root=Path(folder), runtime=runtime, overlap=ahead).build(step)
        return time.perf_counter() - began, artifact


if __name__ == "__main__":
    main()
