"""The overhead of judging, without the judge: `python -m tests.benchmarks.judging`.

1. Throughput against a scripted server with a limit, 5 % of 429 and 500 in between, as a share of what latency and
   limit allow; and compared with a client that sends one request after another.
2. The same, killed half-way and resumed: no judgement is lost or duplicated.
3. WritingBench's 1,000 queries with five criteria each, with a scripted judge: seconds, memory, records.
   (Its data: `--writingbench FOLDER`, or $REER_SHARED/data/benchmarks/writingbench.)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.benchmark import Item, Response, item_scores, judged_by_item, measures
from evals.benchmarks.writing import WritingPrompts
from evals.benchmarks.writingbench import WritingBench
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.models.protocols import Device, Model
from reer.models.scripted import ScriptedModel
from reer.models.services.openai import ChatServer
from tests.benchmarks.work import environment
from tests.conftest import pinned
from tests.fakes.judge_server import judge_server

COUNT, LIMIT, LATENCY_SECONDS, FAILING = 1000, 32, 0.2, 0.05
BENCH = WritingPrompts(
    judge_prompt="{{prompt}}\n{{answer}}\n{{rubric}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)
ITEMS = [
    Item(id=f"i{n:04d}", prompt=f"Write text {n}.", language="en", category="c", length=100, rubric=("Is it good?",))
    for n in range(COUNT)
]
ANSWERS = [Response.read(item.id, f"A text for {item.id}. " * 100, False, 400) for item in ITEMS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sequential", type=int, default=50, help="judgements for the client that asks one by one")
    parser.add_argument("--writingbench", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        judge(given.work, given.url, LIMIT, COUNT)
        return
    print(f"# {environment()}")
    throughput(given.repeats, given.sequential)
    killed()
    shared = os.environ.get("REER_SHARED")
    folder = given.writingbench or (Path(shared) / "data/benchmarks/writingbench" if shared else None)
    if folder is None:
        print("WritingBench: not measured, its files are missing (--writingbench FOLDER)")
    else:
        whole_benchmark(folder)


def counts(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/counts") as reply:
        return json.load(reply)


def judge_of(model: Model) -> Judge:
    return Judge(name="scripted", model=model, temperature=0.5, top_p=1.0, max_tokens=64, attempts=1)


def judge(folder: Path, url: str, concurrency: int, count: int) -> float:
    """Judge the first `count` items; returns the seconds it took."""
    server = ChatServer(base_url=url, model="scripted", concurrency=concurrency, health_check=False)
    began = time.perf_counter()
    with JudgeSession(judge_of(server), Judgements(folder), Device()) as session:
        verdicts = judge_all(BENCH, ITEMS[:count], ANSWERS[:count], session)
    assert all(verdict.scores == {"quality": 7.0} for verdict in verdicts)
    return time.perf_counter() - began


def throughput(repeats: int, sequential: int) -> None:
    ideal = COUNT * LATENCY_SECONDS / LIMIT
    each = f"{LATENCY_SECONDS * 1000:.0f} ms each, {LIMIT} at once, {FAILING:.0%} fail"
    print(f"{COUNT} judgements, {each}: ideal {ideal:.2f} s")
    for concurrency in (LIMIT, 2 * LIMIT):
        taken, seen = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder, judge_server(LIMIT, LATENCY_SECONDS, FAILING) as url:
                taken.append(judge(Path(folder), url, concurrency, COUNT))
                seen.append(counts(url))
                assert len(Judgements(Path(folder))) == COUNT == seen[-1]["answered"], (
                    "exactly one answer for each item"
                )
        median, held = statistics.median(taken), statistics.median(s["held"] for s in seen)
        share, of_slots = ideal / median, ideal * (1 + held / COUNT) / median
        print(
            f"  client given {concurrency:3d} slots: {median:6.2f} s ({min(taken):.2f}-{max(taken):.2f}), "
            f"{share:.1%} of the ideal, {of_slots:.1%} counting slots that a 500 occupied; "
            f"429 over the limit {[s['limited'] for s in seen]}, "
            f"scripted failures {[s['failed'] for s in seen]}"
        )
    with tempfile.TemporaryDirectory() as folder, judge_server(LIMIT, LATENCY_SECONDS, FAILING) as url:
        slow = judge(Path(folder), url, 1, sequential) / sequential * COUNT
    print(f"  one by one: {slow:.0f} s (from {sequential}): {slow / statistics.median(taken):.1f} times as long")


def killed() -> None:
    """SIGKILL when half of the items are answered, then the same command again."""
    with tempfile.TemporaryDirectory() as folder, judge_server(LIMIT, LATENCY_SECONDS, FAILING) as url:
        command = [sys.executable, "-m", "tests.benchmarks.judging", "--work", folder, "--url", url]
        child = subprocess.Popen(command)
        while counts(url)["answered"] < COUNT // 2:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = len(Judgements(Path(folder)))
        subprocess.run(command, check=True)
        records = [json.loads(row) for file in Path(folder).glob("*.jsonl") for row in file.read_bytes().splitlines()]
        answered = counts(url)["answered"]
    keys = {record["key"] for record in records}
    print(
        f"killed with {kept} recorded, then resumed: {len(keys)} judgements, {len(records) - len(keys)} duplicated, "
        f"{COUNT - len(keys)} lost; the server answered {answered}: {answered - COUNT} were in flight at the kill"
    )
    assert len(keys) == COUNT == len(records)


def whole_benchmark(folder: Path) -> None:
    """All of WritingBench, answers of 600 words, judged by the scripted model."""
    data = pinned(folder)
    names = ("benchmark_all.jsonl", "judge_prompt.json", "requirement_index.json")
    bench = WritingBench(
        data=replace(data, sha256={n: data.sha256[n] for n in names}),
        judge_sees="answer",
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        min_coverage=0.98,
    )
    began = time.perf_counter()
    items = bench.items()
    responses = [Response.read(item.id, "A sentence of six words here. " * 100, False, 800) for item in items]
    with tempfile.TemporaryDirectory() as work:
        seconds, verdicts = _judged(bench, items, responses, Path(work))
        found = measures(bench, item_scores(bench, items, responses, verdicts))
        official = bench.official(items, judged_by_item(responses, verdicts))
        whole = time.perf_counter() - began
        again, _ = _judged(bench, items, responses, Path(work))
        records = Judgements(Path(work))
        size = sum(file.stat().st_size for file in Path(work).glob("*.jsonl")) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counted = f"{len(items)} queries, {len(verdicts)} verdicts, {len(records)} records ({size:.0f} MiB)"
    print(
        f"WritingBench: {counted}: judged in {seconds:.1f} s, {whole:.1f} s with reading and aggregates; again from "
        f"records {again:.1f} s; at most {peak:.0f} MiB"
    )
    strict, of_script = found[0], official["overall"]
    print(f"  strict overall {strict.mean_of_scored:.6f} over {strict.scored}, official {of_script.value:.6f}")


def _judged(bench: WritingBench, items: list[Item], responses: list[Response], work: Path) -> tuple[float, list[Any]]:
    began = time.perf_counter()
    with JudgeSession(judge_of(ScriptedModel()), Judgements(work), Device()) as session:
        verdicts = judge_all(bench, items, responses, session)
    return time.perf_counter() - began, verdicts


if __name__ == "__main__":
    main()
