"""A panel of judges as one score: when it has one, what is kept of its members, and how well they agree."""

from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import Benchmark, Response, Verdict
from evals.judging.judge import Judge
from evals.judging.panel import JudgePanel, Line, between_members, session_of
from evals.judging.verdicts import EMPTY_ANSWER, judge_all
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics
from experiments.metrics.probes import ReliabilityMetrics
from experiments.pipeline import pipeline
from experiments.report.published import judge_settings
from experiments.stages import evaluation, probes
from experiments.store.runs import identity_of
from experiments.store.step import StageKey, StepName, stage
from experiments.store.workspace import Workspace
from reer.errors import InputError
from reer.files import write_rows
from reer.models.protocols import Device
from reer.models.scripted import ScriptedModel
from tests.fakes.commands import finished
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

ONE = Judge(name="one", model=ScriptedModel(), temperature=0.5, top_p=1.0, max_tokens=40, attempts=1)
PANEL = JudgePanel(
    name="two", members={n: replace(ONE, name=n, model=ScriptedModel(seed)) for seed, n in enumerate(("ann", "ben"))}
)


def verdict(score: float | None, why: str | None = None) -> Verdict:
    scores = None if score is None else {"quality": score}
    return Verdict(item_id="i", criterion="c", scores=scores, reply=f"<{score}>", why=why, attempts=1, records=("k",))


def combined(panel: JudgePanel, *verdicts: Verdict) -> Verdict:
    (one,) = panel.combined({name: [verdict] for name, verdict in zip(panel.members, verdicts, strict=True)})
    return one


def test_the_score_is_the_mean_and_every_grade_is_kept() -> None:
    one = combined(PANEL, verdict(4.0), verdict(7.0))
    assert (one.scores, one.why, one.attempts, one.records) == ({"quality": 5.5}, None, 2, ("k", "k"))
    assert one.members == {"ann": {"quality": 4.0}, "ben": {"quality": 7.0}}
    assert one.reply == "ann: <4.0>\n\nben: <7.0>"


def test_a_line_puts_a_member_on_the_scale_of_the_panel() -> None:
    panel = replace(PANEL, lines={"ben": Line(intercept=1.0, slope=0.5)})
    one = combined(panel, verdict(4.0), verdict(6.0))
    assert one.scores == {"quality": 4.0}
    assert one.members["ben"] == {"quality": 6.0}, "what the judge said is kept as it was"


@pytest.mark.parametrize(
    ("of_ann", "of_ben", "why"),
    [
        (verdict(4.0), verdict(None, "no_json_object"), "ben: no_json_object"),
        (verdict(None, "refused"), verdict(None, "unfinished"), "ann: refused"),
        (verdict(None, EMPTY_ANSWER), verdict(None, EMPTY_ANSWER), EMPTY_ANSWER),
    ],
)
def test_without_a_verdict_of_each_member_there_is_none(of_ann: Verdict, of_ben: Verdict, why: str) -> None:
    one = combined(PANEL, of_ann, of_ben)
    assert (one.scores, one.why) == (None, why)


def test_each_pair_of_members_is_compared_on_the_grades_that_both_gave() -> None:
    panel = replace(PANEL, members={**PANEL.members, "cai": ONE})
    grades = [(1.0, 1.0, 9.0), (5.0, 5.0, 1.0), (9.0, 9.0, None)]
    verdicts = [combined(panel, *(verdict(g, None if g else "refused") for g in row)) for row in grades]
    found = {(pair.first, pair.second): pair for pair in between_members(verdicts)}
    assert list(found) == [("ann", "ben"), ("ann", "cai"), ("ben", "cai")]
    assert (found["ann", "ben"].alpha, found["ann", "ben"].items) == (1.0, 3)
    assert (found["ann", "cai"].items, found["ann", "cai"].mean_difference) == (2, 2.0)
    assert not between_members([verdict(3.0)])


def test_a_member_is_not_asked_again_for_what_it_has_judged_alone(tmp_path: Path) -> None:
    with session_of(PANEL.members["ann"], tmp_path, Device(), None) as session:
        alone = judge_all(BENCHMARK, ITEMS, ANSWERS, session)
    progress: list[int] = []
    with session_of(PANEL, tmp_path, Device(), None) as session:
        verdicts = judge_all(BENCHMARK, ITEMS, ANSWERS, session, lambda settled, _: progress.append(settled))
        assert session.asked == len(ITEMS), "only the other one is asked"
        assert all(session.find(key) for v in verdicts for key in v.records)
    assert [v.members["ann"] for v in verdicts] == [v.scores for v in alone]
    assert (progress[-1], sorted(progress)) == (len(ITEMS), progress)


@stage(StageKey("given", GenerateMetrics), version=1)
def given(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
    responses = [Response.of_text(item.id, f"text {n}" if n else "") for n, item in enumerate(benchmark.items())]
    write_rows(ws.folder / "rows.jsonl", responses)
    return GenerateMetrics(
        rows=3, empty_answers=1, truncated=0, unclosed_thinking=0, with_thinking=0, mean_tokens=1.0, given_thinking=0
    )


def test_a_panel_grades_and_is_checked_as_one_judge(tmp_path: Path) -> None:
    exp = compose("scale=smoke", "benchmark.writing.items_limit=3")
    (benchmark,) = exp.benchmark.values()
    answers, store = given(benchmark=benchmark), a_store(tmp_path)
    graded = evaluation.grade(label="writing", answers=answers, benchmark=benchmark, judge=PANEL)
    artifact = store.build(graded)
    metrics, rows = artifact.metrics, artifact.rows(Verdict)
    assert isinstance(metrics, GradeMetrics)
    assert (metrics.judge, metrics.judgements, metrics.unscored) == ("two", 4, {})
    assert [set(row.members) for row in rows] == [{"ann", "ben"}] * 3
    (pair,) = metrics.between_members
    assert (pair.first, pair.second, pair.items) == ("ann", "ben", 2)
    assert any(line.startswith("agreement between the judges, alpha: ") for line in metrics.summary())
    checked = store.build(
        probes.reliability(
            label="writing", answers=answers, graded=graded, benchmark=benchmark, judge=PANEL, checks=exp.reliability
        )
    ).metrics
    assert isinstance(checked, ReliabilityMetrics)
    assert checked.null_answers
    assert checked.anchors is not None


def test_a_panel_is_a_choice(tmp_path: Path) -> None:
    exp = compose("scale=smoke", "judge=panel", "+judge.lines.gpt={intercept: 0.5, slope: 0.9}")
    assert list(exp.judges) == ["judge claude", "judge gpt", "judge qwen"]
    assert isinstance(exp.judge, JudgePanel)
    assert exp.judge.lines == {"gpt": Line(intercept=0.5, slope=0.9)}
    assert StepName("reliability", "writing") in pipeline(exp)
    assert judge_settings(identity_of(exp), "writing")["name"] == "panel"
    shown = finished(tmp_path, "plan", "scale=smoke", "judge=panel").text
    assert "judge gpt: gpt-5.5" in shown


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["~judge@judge.members.gpt", "~judge@judge.members.qwen"], "a panel wants two judges or more, got 1"),
        (["+judge.lines.qwem={intercept: 0, slope: 1}"], "got 'qwem', .* did you mean qwen"),
    ],
)
def test_a_panel_that_is_none_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose("scale=smoke", "judge=panel", *overrides)
