"""What it saves that stages overlap: `python -m tests.benchmarks.overlap`.

1. Judging answers while others are written. Real stages, in real time: answers that come one after another, and a judge
   server in a process of its own that answers eight calls at once. Its latency is set so that judging all answers takes
   a fraction, or a multiple, of the time of writing them. The least time of both together is that of the slower one.
2. Searching from drafts while others are written, which the project does not do. A simulation of one generator with
   slots for calls: drafts, and searches of 3 to 10 steps with two rewrites each, whose completion times are log-normal
   (median 1, of drafts 4, at most 8 times as long), in the order in which they were asked for.
"""

from __future__ import annotations

import argparse
import heapq
import math
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from evals.benchmark import Benchmark, Item, Response
from evals.benchmarks.writing import WritingPrompts
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics
from experiments.stages import evaluation
from experiments.store.overlap import Overlap
from experiments.store.step import Artifact, StageKey, stage
from experiments.store.store import Store
from experiments.store.workspace import Workspace
from reer.files import write_rows
from tests.benchmarks.work import environment
from tests.fakes.judge_server import judge_server
from tests.fakes.judging import BENCHMARK, judge
from tests.fakes.runtime import small_runtime

SECONDS_PER_ANSWER, AT_ONCE = 0.05, 8
SEARCHES = ((64, 64), (500, 64), (2000, 64), (20000, 192))  # pairs, and slots of the generator
DRAFT_SECONDS, LONGEST, STEPS, REWRITES = 4.0, 8.0, (3, 10), 2
Rounds = Sequence[Sequence[float]]
"""The seconds of the calls of one pair; those of a round are asked for together, once the round before it is done."""
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
    """All drafts before the first search, and each search as soon as its draft is there."""
    print("\n| pairs | slots | sigma | drafts, then searches | together | ratio |\n|---|---|---|---|---|---|")
    for pairs, slots in SEARCHES:
        for sigma in (0.5, 1.0):
            both = {number: calls_of(Random(f"{number} {sigma}"), sigma) for number in range(pairs)}
            drafts = makespan({number: calls[:1] for number, calls in both.items()}, slots)
            searches = makespan({number: calls[1:] for number, calls in both.items()}, slots)
            together = makespan(both, slots)
            apart = drafts + searches
            print(f"| {pairs} | {slots} | {sigma} | {apart:.0f} s | {together:.0f} s | {together / apart:.3f} |")


def calls_of(draw: Random, sigma: float) -> Rounds:
    """The draft of a pair and the rewrites of its search."""

    def seconds(median: float) -> float:
        return median * min(LONGEST, math.exp(sigma * draw.gauss(0, 1)))

    steps = [[seconds(1.0) for _ in range(REWRITES)] for _ in range(draw.randint(*STEPS))]
    return [[seconds(DRAFT_SECONDS)], *steps]


def makespan(pairs: Mapping[int, Rounds], slots: int) -> float:
    """When the last call has ended, if slots take calls in the order in which they are asked for."""
    rounds, missing = {number: iter(calls) for number, calls in pairs.items()}, dict.fromkeys(pairs, 0)
    waiting, running, now = deque[tuple[int, float]](), list[tuple[float, int]](), 0.0

    def ask(number: int) -> None:
        calls = next(rounds[number], ())
        missing[number] = len(calls)
        waiting.extend((number, seconds) for seconds in calls)

    for number in pairs:
        ask(number)
    while waiting or running:
        while waiting and len(running) < slots:
            number, seconds = waiting.popleft()
            heapq.heappush(running, (now + seconds, number))
        now, number = heapq.heappop(running)
        missing[number] -= 1
        if not missing[number]:
            ask(number)
    return now


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
