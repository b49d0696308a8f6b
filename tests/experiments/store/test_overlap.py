"""A judge is asked about answers while others are written, and nothing but the time depends on it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Benchmark, Response
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics
from experiments.stages import evaluation
from experiments.store.overlap import Overlap
from experiments.store.step import Ahead, Artifact, StageKey, Step, stage
from experiments.store.store import Store
from experiments.store.workspace import StageProgress, Workspace
from reer.errors import Incomplete, InputError
from reer.files import write_rows
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.scripted import ScriptedModel
from tests.fakes.children import until
from tests.fakes.http import Handler, Serve, Server, hangs, respond, says
from tests.fakes.judging import BENCHMARK, judge
from tests.fakes.runtime import small_runtime

SIX = replace(BENCHMARK, items_limit=6)
LAST = 5
Pause = Callable[[int], None]


def no_pause(number: int) -> None:
    pass


def grades(handler: Handler) -> None:
    """A grade that depends on the question."""
    says(json.dumps({"score": 1 + sum(handler.raw) % 10, "reason": "scripted"}))(handler)


def answers(pause: Pause, benchmark: Benchmark = SIX) -> Step[GenerateMetrics]:
    """A stage that pauses before each answer, given its number."""

    @stage(StageKey("answers", GenerateMetrics), version=1)
    def paused(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
        """One answer to each item."""
        rows: list[Response] = []
        for number, item in enumerate(benchmark.items()):
            pause(number)
            rows.append(Response.read(item.id, f"The answer to {item.id}.", False, 5, "stop"))
            ws.finished(rows[-1])
        pause(len(rows))
        write_rows(ws.folder / "rows.jsonl", rows)
        return GenerateMetrics(
            rows=len(rows), empty_answers=0, truncated=0, unclosed_thinking=0, with_thinking=0, mean_tokens=5.0
        )

    return paused(benchmark=benchmark)


def graded(of: Step[GenerateMetrics], by: Judge, benchmark: Benchmark = SIX) -> Step[GradeMetrics]:
    return evaluation.grade(label="writing", answers=of, benchmark=benchmark, judge=by)


@contextmanager
def opened(
    root: Path, *steps: Step, budget_usd: float | None = None, overlap: bool = True, grace_seconds: float = 5.0
) -> Generator[Store]:
    runtime = replace(small_runtime(str(root)), overlap=overlap)
    with Overlap(steps, grace_seconds) as ahead:
        yield Store(root=root, runtime=runtime, budget_usd=budget_usd, overlap=ahead)


def built(root: Path, by: Judge, pause: Pause = no_pause, **settings: Any) -> Artifact[GradeMetrics]:
    """The grades of six answers."""
    step = graded(answers(pause), by)
    with opened(root, step, **settings) as store:
        return store.build(step)


def asked(server: Server) -> list[int]:
    """How often each question came, most often first."""
    return sorted(Counter(json.dumps(body) for body in server.bodies).values(), reverse=True)


def working_ahead() -> bool:
    return any(thread.name.startswith("ahead of") for thread in threading.enumerate())


def before_last(condition: Callable[[], bool]) -> Pause:
    """Waits for a condition before the last answer."""
    return lambda number: until(condition, "asked ahead") if number == LAST else None


def costs(artifact: Artifact[GradeMetrics]) -> tuple[int, int, float, float]:
    m = artifact.metrics
    return m.judgements, m.judgements_asked_here, m.judge_usd, m.judge_usd_paid_here


def records(root: Path) -> list[dict[str, object]]:
    """What the judgements of a root say, without the times."""
    lines = [line for file in (root / "judgements").glob("*.jsonl") for line in file.read_text().splitlines()]
    rows = [{k: v for k, v in json.loads(line).items() if k not in ("asked_at", "seconds", "sha256")} for line in lines]
    return sorted(rows, key=lambda row: str(row["key"]))


def test_the_judge_is_asked_before_the_last_answer_and_the_results_are_the_same(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(grades)
    ahead = built(tmp_path / "ahead", judge(url), before_last(lambda: len(server.bodies) >= LAST))
    assert asked(server) == [1] * 6
    other, url = serve(grades)
    alone = built(tmp_path / "alone", judge(url), overlap=False)
    assert asked(other) == [1] * 6
    assert ahead.build == alone.build
    for file in ("rows.jsonl", "scores.json"):
        assert ahead.file(file).read_bytes() == alone.file(file).read_bytes()
    assert records(tmp_path / "ahead") == records(tmp_path / "alone")
    assert costs(ahead) == pytest.approx(costs(alone)) == (6, 6, pytest.approx(0.0222), pytest.approx(0.0222))


def test_without_overlap_no_question_comes_before_all_answers_are_there(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(grades)
    seen: list[int] = []

    def pause(number: int) -> None:
        time.sleep(0.02)
        seen.append(len(server.bodies))

    built(tmp_path, judge(url), pause, overlap=False)
    assert seen == [0] * 7


def test_a_reply_that_is_no_answer_is_not_asked_for_again_by_the_stage(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(says('{"score": ', finish="length"), grades)
    artifact = built(tmp_path, judge(url), before_last(lambda: len(server.bodies) >= LAST))
    assert asked(server) == [1] * 6
    assert artifact.metrics.unscored == {"unfinished": 1}
    assert costs(artifact)[:2] == (6, 6)


def test_a_judge_that_fails_ahead_changes_nothing(tmp_path: Path, serve: Serve) -> None:
    """The stage asks for what is missing, and what was answered counts."""
    expected = built(tmp_path / "alone", judge(serve(grades)[1]), overlap=False)
    healthy = threading.Event()
    numbers = count()

    def sometimes(handler: Handler) -> None:
        works = next(numbers) < 2 or healthy.is_set()
        (grades if works else respond(503, {"error": "down"}))(handler)

    server, url = serve(sometimes)

    def pause(number: int) -> None:
        if number == LAST:
            until(lambda: len(server.bodies) > 2, "refused")
        if number == LAST + 1:
            healthy.set()

    by = judge(url, attempts=1, outage_pause_seconds=0.01, outage_seconds=0.05)
    artifact = built(tmp_path / "ahead", by, pause)
    assert artifact.build == expected.build
    assert costs(artifact) == pytest.approx(costs(expected))


def test_a_budget_binds_over_what_is_asked_ahead_and_by_the_stage(tmp_path: Path, serve: Serve) -> None:
    """Each reply costs 0.1 $, and the budget is for four at most."""
    choice = {"message": {"role": "assistant", "content": '{"score": 7}'}, "finish_reason": "stop"}
    server, url = serve(respond(200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 100}}))
    ahead = before_last(lambda: len(server.bodies) > 0)
    with pytest.raises(Incomplete, match=r"budget\.usd=0\.45 is spent"):
        built(tmp_path, judge(url), ahead, budget_usd=0.45)
    assert 0 < len(server.bodies) <= 4
    assert Judgements(tmp_path / "judgements").usd <= 0.45
    paid = built(tmp_path, judge(url), budget_usd=1.0)
    assert asked(server) == [1] * 6
    assert paid.metrics.judge_usd == pytest.approx(0.6006)


def test_a_run_that_fails_ends_the_calls_in_flight_and_records_their_cost(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(hangs(30.0))

    def pause(number: int) -> None:
        if number == LAST:
            until(lambda: len(server.bodies) > 0, "asked ahead")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, judge(url), pause, grace_seconds=0.05)
    assert not working_ahead()
    rows = records(tmp_path)
    assert [row["stopped"] for row in rows] == ["unanswered"] * len(server.bodies)
    assert all(row["usd"] for row in rows)


def test_two_benchmarks_share_the_limits_of_their_judge(tmp_path: Path, serve: Serve) -> None:
    """Work for a second step waits for that of the first: never more calls are in flight than the judge allows."""
    lock, at_once, most = threading.Lock(), 0, 0

    def slowly(handler: Handler) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with lock:
            at_once -= 1
        grades(handler)

    server, url = serve(slowly)
    by, five = judge(url, concurrency=1), replace(SIX, items_limit=5)
    steps = [graded(answers(no_pause, bench), by, bench) for bench in (SIX, five)]
    with opened(tmp_path, *steps) as store:
        for step in steps:
            store.build(step.inputs["answers"])
        until(lambda: len(server.bodies) > 0, "asked ahead")
        for step in steps:
            store.build(step)
    assert (most, set(asked(server))) == (1, {1})


@stage(StageKey("after", GradeMetrics), version=1)
def after(ws: Workspace, *, grades: Artifact[GradeMetrics]) -> GradeMetrics:
    """A stage that may ask the judge, too."""
    assert not working_ahead()
    return grades.metrics


def test_work_ahead_ends_before_a_step_that_depends_on_such_a_step(tmp_path: Path, serve: Serve) -> None:
    """One benchmark was judged before; the other is being judged ahead when a check of the first begins."""
    server, url = serve(grades, *[says('{"score": 7}', after=0.1)] * 6)
    one, five = replace(SIX, items_limit=1), replace(SIX, items_limit=5)
    first = graded(answers(no_pause, one), judge(url), one)
    second = graded(answers(no_pause, five), judge(url), five)
    with opened(tmp_path, first) as store:
        store.build(first)
    with opened(tmp_path, first, second, after(grades=first)) as store:
        store.build(second.inputs["answers"])
        until(lambda: len(server.bodies) > 1, "asked ahead")
        assert working_ahead()
        store.build(after(grades=first))


def test_a_step_that_has_its_result_is_not_worked_for(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(grades)
    first = built(tmp_path, judge(url))
    first_answers = next((tmp_path / "answers").glob("*/record.json")).parent
    first_answers.rename(tmp_path / "moved")
    again = built(tmp_path, judge(url), lambda number: time.sleep(0.01))
    assert (again.build, again.path, len(server.bodies)) == (first.build, first.path, 6)


def test_only_a_judge_with_hardware_of_its_own_is_asked_ahead(tmp_path: Path) -> None:
    ws = Workspace(
        folder=tmp_path,
        runtime=small_runtime(),
        replay=tmp_path,
        judgements=tmp_path,
        budget_usd=None,
        first_scores=tmp_path,
        progress=StageProgress(lambda what, done, total: None),
        curve=lambda row: None,
    )
    served = judge("http://127.0.0.1:9/v1")
    asked_ahead = {
        "served": served,
        "in batches": replace(served, batch=True),
        "scripted": replace(served, model=ScriptedModel()),
        "in process": replace(served, model=LocalModel(TinyModel())),
        "managed": replace(served, model=LocalModel(TinyModel(), engine="vllm")),
    }
    found = {name for name, by in asked_ahead.items() if evaluation.judged_ahead(ws, benchmark=SIX, judge=by)}
    assert found == {"served"}


@pytest.mark.parametrize("fails", ["when it begins", "at a row", "when it ends", "never"])
def test_work_between_rows_ends_at_its_first_error_and_costs_no_row(tmp_path: Path, fails: str) -> None:
    taken: list[int] = []
    threads: set[int] = set()

    @contextmanager
    def working(ws: Workspace) -> Generator[Callable[[Sequence[Response]], None]]:
        def work(rows: Sequence[Response]) -> None:
            threads.add(threading.get_ident())
            if fails == "at a row" and len(taken) == 2:
                raise Incomplete("no answer")
            taken.append(len(rows))

        if fails == "when it begins":
            raise InputError("no server")
        yield work
        if fails == "when it ends":
            raise Incomplete("no answer")

    @stage(StageKey("later", GenerateMetrics), version=1, ahead=Ahead("of", working, between_rows=True))
    def later(ws: Workspace, *, of: Artifact[GenerateMetrics]) -> GenerateMetrics:
        """What it was given."""
        return of.metrics

    first = answers(no_pause)
    with opened(tmp_path, first, later(of=first), later(label="another", of=first)) as store:
        assert store.build(later(of=first)).metrics.rows == 6
    assert len(taken) == {"when it begins": 0, "at a row": 2}.get(fails, 6)
    assert threads <= {threading.get_ident()}
    assert not working_ahead()


def test_what_is_wrong_with_the_input_of_work_between_rows_is_said(tmp_path: Path) -> None:
    """A server that has another model by now would be taken for the right one by whoever opens it later."""

    @contextmanager
    def working(ws: Workspace) -> Generator[Callable[[Sequence[Response]], None]]:
        def work(rows: Sequence[Response]) -> None:
            raise InputError("serves another model")

        yield work

    @stage(StageKey("later", GenerateMetrics), version=1, ahead=Ahead("of", working, between_rows=True))
    def later(ws: Workspace, *, of: Artifact[GenerateMetrics]) -> GenerateMetrics:
        """What it was given."""
        return of.metrics

    step = later(of=answers(no_pause))
    with opened(tmp_path, step) as store, pytest.raises(InputError, match="serves another model"):
        store.build(step)
