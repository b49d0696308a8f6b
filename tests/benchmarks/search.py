"""The cost of the search against other implementations of the same work: `python -m tests.benchmarks.search`.

Counts hold on any machine; ratios are of interleaved runs in this process, after every variant's scores have been
checked to be equal. All variants compute with weights in one layout (`reer/models/local/decoding.py`). The model is the
bundled 135M one in fp32 on this CPU; the results do not transfer to GPUs. Where `$REER_VLLM` is the command that starts
vLLM, as in `/path/to/vllm serve --enforce-eager`, it scores a search, too.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment
from experiments.report.console import quiet_libraries
from experiments.workers.search_job import NOISE_DRAFTS
from reer.data.rows import Problems
from reer.models.engines.servers import running
from reer.models.local.model import LocalModel, LocalSession
from reer.models.local.scoring import PrefixScorer
from reer.models.local.size import Size
from reer.models.placement import EngineName, Engines, Placement
from reer.models.protocols import Device, Nats, Passage, Scorer, in_order
from reer.search.driver import Handlers, run_searches
from reer.search.methods import Refinement, RequestRewrites, RequestScores, Segments, SegmentSearch
from reer.search.score import NllScorer, repeat_noise
from reer.types import Candidate, Pair, content_id
from tests.benchmarks.work import (
    Flops,
    Passages,
    Step,
    Timed,
    ctranslate_scorer,
    environment,
    hflm_scorer,
    naive,
    rows_of_the_answer,
    step_of,
    wasted_decode,
)
from tests.fakes.plans import compose

MEMORY_BYTES = 2**31
EQUAL_NATS = 1e-4  # scores per token that differ by less are equal
DECODED = 100  # max_tokens of the released code's scoring requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096], help="tokens of a score")
    parser.add_argument("--parts", default="scoring,search,memory", help="parts to run, separated by commas")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    quiet_libraries()
    exp = compose("tracking=silent")
    assert isinstance(exp.scorer.model, LocalModel)
    size = exp.scorer.model.checkpoint.size
    assert size is not None
    with exp.scorer.model.open_here(Device("cpu")) as session:
        if given.peak:
            print(peak_bytes(session, given.peak[0], int(given.peak[1])))
            return
        print(f"# {session.name}\n# {environment()}")
        if "scoring" in given.parts:
            scoring(session, size, given.repeats)
        if "search" in given.parts:
            whole_search(session, exp, given.pairs)
    if "memory" in given.parts:
        memory(given.lengths)


def real_tokens(session: LocalSession) -> list[int]:
    """The tokens of all bundled texts, concatenated."""
    rows = compose("tracking=silent").source.rows(Problems("error"))
    return [token for row in rows for token in session.tokens.ids(row.solution + "\n\n")]


def scoring(session: LocalSession, size: Size, repeats: int) -> None:
    """K = 3 candidates of one step: |x| = 100, |z| = 6 x 100, |y| = 800 tokens."""
    flops = Flops.of(size)
    hflm = hflm_scorer(session.model, session.tokenizer)
    print("\n## Scoring a step of 3 candidates (|x| 100, |z| 6 x 100, |y| 800 tokens)\n")
    print("| segment | variant | tokens forwarded (least) | head rows | seconds | naive / this | bound | of bound |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        translate = ctranslate_scorer(session.model.config._name_or_path, f"{scratch}/ct2", session.tokenizer)
        for at in (0, 3, 5):
            _step(session, step_of(real_tokens(session), 100, 6, 100, 800, 3, at), at, repeats, flops, hflm, translate)
    if translate is None:
        print("\nCTranslate2 is not installed here, so it was not measured.")


def _step(session: Any, step: Step, at: int, repeats: int, flops: Flops, hflm: Any, translate: Any) -> None:
    timed, naive_flops, rows = Timed(), step.naive_flops(flops), sum(len(c + a) for c, a in step.candidates)
    found: dict[str, Any] = {}
    fresh = kept = PrefixScorer(model=session.model, rows=1, budget_bytes=MEMORY_BYTES)
    for _ in range(repeats):
        found["naive loop"] = timed.run("naive loop", lambda: naive(session.model, step.candidates))
        found["lm-eval HFLM"] = timed.run("lm-eval HFLM", lambda: hflm(step.candidates))
        if translate:
            found["CTranslate2"] = timed.run("CTranslate2", lambda: translate(step.candidates))
        fresh = PrefixScorer(model=session.model, rows=1, budget_bytes=MEMORY_BYTES)
        found["ours"] = timed.run("ours", lambda scorer=fresh: in_order(scorer.score(step.candidates, ["g"] * 3), 3))
        kept = PrefixScorer(model=session.model, rows=1, budget_bytes=MEMORY_BYTES)
        list(kept.score([step.before], ["g"]))
        kept.counts.forwarded_tokens = kept.counts.head_rows = 0
        found["ours, step before kept"] = timed.run(
            "ours, step before kept", lambda scorer=kept: in_order(scorer.score(step.candidates, ["g"] * 3), 3)
        )
    _assert_equal(found, step.candidates)
    lines = {
        "naive loop": (rows, rows, 1.0),
        "lm-eval HFLM": (rows - 3, rows - 3, 1.0),
        "CTranslate2": (rows, rows, 1.0),
        "ours": (fresh.counts.forwarded_tokens, fresh.counts.head_rows, naive_flops / step.minimal_flops(flops, False)),
        "ours, step before kept": (
            kept.counts.forwarded_tokens,
            kept.counts.head_rows,
            naive_flops / step.minimal_flops(flops, True),
        ),
    }
    for name in timed.seconds:
        tokens, head, bound = lines[name]
        least = step.minimal_tokens("kept" in name)
        ratio = timed.ratio("naive loop", name)
        share = f"{ratio / bound:.0%}" if "ours" in name else ""
        seconds = f"{timed.shown(name)} | {ratio:.2f} | {bound:.2f} | {share}"
        print(f"| {at} | {name} | {tokens} ({least}) | {head} | {seconds} |")
    sys.stdout.flush()


def _assert_equal(found: dict[str, Any], candidates: Passages) -> None:
    """Every variant's mean NLL is that of the naive loop."""
    reference = [sum(nats) / len(nats) for nats in found["naive loop"]]
    for name, scores in found.items():
        sums = [score if isinstance(score, float) else sum(score) for score in scores]
        for mean, total, (_, answer) in zip(reference, sums, candidates, strict=True):
            assert abs(mean - total / len(answer)) < EQUAL_NATS, f"{name}: {total / len(answer)} is not {mean}"


class Recorded:
    """Handles RequestRewrites with paragraphs of other texts: rewrites of one step differ from one another and from
    every segment, so that no rounding decides between equal texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(dict.fromkeys(texts))

    def __call__(self, requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [[Candidate(text, 60, None, None) for text in self._rewrites(request)] for request in requests]

    def _rewrites(self, request: RequestRewrites) -> list[str]:
        start = int(content_id(request.pair_id, str(request.index)), 16) % len(self.texts)
        others = [text for text in (*self.texts[start:], *self.texts[:start]) if text not in request.segments]
        return others[: request.n]


def _no_drafts(requests: Sequence[Any]) -> list[Any]:
    raise AssertionError("the released algorithm has one start")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a variant has computed."""

    calls: int
    tokens: int
    head_rows: int
    decoded: int = 0

    def since(self, before: Work) -> Work:
        return Work(
            calls=self.calls - before.calls,
            tokens=self.tokens - before.tokens,
            head_rows=self.head_rows - before.head_rows,
            decoded=self.decoded - before.decoded,
        )


class ReleasedScorer:
    """Scoring as released, switch by switch: one passage at a time, no shared prefixes, 100 decoded tokens."""

    name = "port"

    def __init__(self, session: LocalSession, decode: bool, head_on_answer: bool) -> None:
        self.session, self.decode, self.score_rows = session, decode, rows_of_the_answer if head_on_answer else naive
        self.tokens = self.rows = self.decoded = self.calls = 0

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        ids = [self.session.tokens.passage_ids(passage) for passage in passages]
        self.calls += len(ids)
        self.tokens += sum(len(c + a) for c, a in ids)
        self.rows += sum(len(a) + 1 if self.score_rows is rows_of_the_answer else len(c + a) for c, a in ids)
        nats = self.score_rows(self.session.model, ids)
        if self.decode:
            self.decoded += wasted_decode(self.session.model, ids, DECODED)
        yield from enumerate([tuple(one) for one in nats])

    def work(self) -> Work:
        return Work(calls=self.calls, tokens=self.tokens, head_rows=self.rows, decoded=self.decoded)


def work_in_process(session: LocalSession) -> Work:
    counts = session.scorer.counts
    return Work(calls=counts.passages, tokens=counts.forwarded_tokens, head_rows=counts.head_rows)


def work_of_vllm(url: str) -> Work:
    """From the server's own counters: each call decodes one token, and the head runs on all tokens of its prompt."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        lines = [line.split(" ") for line in reply.read().decode().splitlines() if line.startswith("vllm:")]

    def total(counter: str) -> int:
        return int(sum(float(value) for name, value in lines if name.partition("{")[0] == f"vllm:{counter}_total"))

    computed = total("prompt_tokens") - total("prompt_tokens_cached")
    decoded = total("generation_tokens")
    return Work(calls=decoded, tokens=computed, head_rows=computed, decoded=decoded)


@dataclass(kw_only=True)
class WholeSearch:
    """The released search (2 edits of 2 rewrites) over real texts with recorded rewrites. Differences of scores below
    `floor` nats decide nothing."""

    exp: Experiment
    pairs: dict[str, Pair]
    drafts: dict[str, Segments]
    rewrite: Recorded
    floor: float
    timed: Timed = field(default_factory=Timed)
    results: dict[str, dict[str, Refinement]] = field(default_factory=dict[str, dict[str, Refinement]])

    def scorer_of(self, scorer: Scorer) -> NllScorer:
        prompts = self.exp.prompts.with_triggers(self.exp.reflection.triggers)
        return NllScorer(scorer, self.exp.scorer.score, self.pairs, prompts)

    def measure(self, name: str, scorer: Scorer, width: int, work: Callable[[], Work]) -> None:
        """Print a line of the table. Raises AssertionError where the winners or scores are not those of the first."""
        before = work()
        self.results[name] = self.timed.run(name, partial(self._search, self.scorer_of(scorer), width))
        first = next(iter(self.results))
        _assert_same_winners(name, self.results[name], self.results[first])
        done, ratio = work().since(before), self.timed.ratio(first, name)
        counted = f"{done.calls} | {done.tokens} | {done.head_rows} | {done.decoded}"
        load = os.getloadavg()[0]
        print(f"| {name} | {counted} | {self.timed.median(name):.1f} | {ratio:.2f} | {load:.1f} |", flush=True)

    def _search(self, score: NllScorer, width: int) -> dict[str, Refinement]:
        method = SegmentSearch(max_edits=2, n_candidates=2, threshold=0.25)
        method = method.rescaled(lambda nats: self.exp.scorer.score.from_nats((nats,)), self.floor)
        steps = {pair_id: method.steps(pair_id, draft) for pair_id, draft in self.drafts.items()}
        handlers = Handlers(rewrite=self.rewrite, score=score, draft=_no_drafts)
        return run_searches(steps, handlers, width, lambda _: None)  # type: ignore[return-value]


def whole_search(session: LocalSession, exp: Experiment, count: int) -> None:
    """The released search, by improvement, and behind vLLM where `$REER_VLLM` starts one."""
    session.scorer = PrefixScorer(model=session.model, rows=1, budget_bytes=MEMORY_BYTES)
    pairs, drafts, texts = _material(exp, count)
    search = WholeSearch(exp=exp, pairs=pairs, drafts=drafts, rewrite=Recorded(texts), floor=EQUAL_NATS)
    requests = [RequestScores(pair_id, (draft,)) for pair_id, draft in list(drafts.items())[:NOISE_DRAFTS]]
    passages = [passage for passage in search.scorer_of(session).passages(requests) if passage is not None]
    search.floor = max(search.floor, repeat_noise(session, exp.scorer.score, passages))
    print(f"\n## Whole search on recorded rewrites, {len(drafts)} pairs, winners and scores identical\n")
    print("| variant | score calls | tokens forwarded | head rows | tokens decoded | seconds | port / this | load |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, decode, head_on_answer in (
        ("port of the released code", True, False),
        ("without the unused decoding", False, False),
        ("and the head on answers only", False, True),
    ):
        scorer = ReleasedScorer(session, decode, head_on_answer)
        search.measure(name, scorer, 1, scorer.work)
    search.measure("and shared prefixes (ours)", session, 32, partial(work_in_process, session))
    if "REER_VLLM" in os.environ:
        on_vllm(search, shlex.split(os.environ["REER_VLLM"]))
    print("\nSGLang, which needs a GPU, was not measured.")


def on_vllm(search: WholeSearch, command: Sequence[str]) -> None:
    """The same search with vLLM as the scorer, which computes every prompt, or reads its cache."""
    model = search.exp.scorer.model
    assert isinstance(model, LocalModel)
    engines = Engines(vllm=tuple(command), placement=Placement(memory_share=0.1, context_tokens=4096))
    named: tuple[tuple[EngineName, str], ...] = (("vllm", "each prompt computed"), ("vllm_cached", "its cache read"))
    for engine, what in named:
        with replace(model, engine=engine).open(Device("cpu", engines=engines)) as served:
            search.measure(f"vLLM, {what}", served, 32, partial(work_of_vllm, running()[0].urls[0]))


def _material(exp: Experiment, count: int) -> tuple[dict[str, Pair], dict[str, Segments], list[str]]:
    """Pairs from the bundled English texts; drafts and rewrites from paragraphs of the others."""
    rows = [row for row in exp.source.rows(Problems("error")) if row.solution.isascii() or "。" not in row.solution]
    paragraphs = [p for row in rows for p in row.solution.split("\n\n") if 150 < len(p) < 450]
    pairs, drafts = {}, {}
    for number, row in enumerate(rows[:count]):
        body = "\n\n".join(row.solution.split("\n\n")[:4])
        pair = Pair(
            id=content_id(row.where),
            query=row.query or "Write this text.",
            solution=body,
            category="others",
            language="en",
            source="bundled",
        )
        pairs[pair.id] = pair
        drafts[pair.id] = tuple(paragraphs[(number * 7 + i * 3) % len(paragraphs)] for i in range(3))
    return pairs, drafts, paragraphs


def _assert_same_winners(name: str, found: dict[str, Refinement], reference: dict[str, Refinement]) -> None:
    for pair_id, row in reference.items():
        assert [e.chosen for e in found[pair_id].edits] == [e.chosen for e in row.edits], f"{name}: {pair_id}"
        assert abs(found[pair_id].score - row.score) < EQUAL_NATS, f"{name}: {pair_id}"


def peak_bytes(session: LocalSession, how: str, tokens: int) -> int:
    """Peak memory that one score of `tokens` tokens, half of them the answer's, adds to this process. In bytes."""
    words = (real_tokens(session) * 4)[:tokens]
    passage = (words[: tokens // 2], words[tokens // 2 :])
    with redirect_stderr(StringIO()):
        naive(session.model, [(words[:8], words[8:16])])
    Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the high-water mark to the current size
    before = _status("VmRSS")
    if how == "naive":
        naive(session.model, [passage])
    else:
        list(PrefixScorer(model=session.model, rows=1, budget_bytes=MEMORY_BYTES).score([passage], ["g"]))
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """A memory figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def memory(lengths: Sequence[int]) -> None:
    """Peak memory of each length and method, each in its own process."""
    print("\n## Memory that one score adds at its peak (half context, half answer)\n")
    print("| tokens | naive loop | ours | ours / naive |\n|---|---|---|---|")
    for tokens in lengths:
        command = [sys.executable, "-m", "tests.benchmarks.search", "--peak"]
        used = [
            int(subprocess.run([*command, how, str(tokens)], capture_output=True, text=True, check=True).stdout)
            for how in ("naive", "ours")
        ]
        print(
            f"| {tokens} | {used[0] / 2**20:.0f} MiB | {used[1] / 2**20:.0f} MiB | {used[1] / used[0]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
