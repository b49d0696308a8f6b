"""A judge's reliability: null answers, repeated verdicts, a second judge, length, anchors and their drift."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

import pytest
from pydantic import TypeAdapter, ValidationError

from evals.benchmark import Item, Response
from evals.benchmarks.length import count_units
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.reliability import (
    ANCHORS,
    NOT_JUDGED,
    AnchorScores,
    Drift,
    JudgedAnswers,
    NullAnswerScore,
    Reliability,
    ReliabilityChecks,
    drift,
    measure_reliability,
    null_answers,
)
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from evals.statistics.agreement import Agreement, agreement
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Request

BENCH = WritingPrompts(
    judge_prompt="{{prompt}}\n[{{answer}}]\n{{rubric}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)
ITEMS = [
    Item(id=f"i{n}", prompt=f"Prompt number {n}.", language="en", category="c", length=100, rubric=("good?",))
    for n in range(10)
]
ANSWERS = [Response.read(item.id, "word " * 2**n, False, 1) for n, item in enumerate(ITEMS)]
CHECKS = ReliabilityChecks(
    null_answer_items=2, repeat_items=5, anchors=True, anchor_prompt="{{prompt}}\n[{{answer}}]\n{{rubric}}"
)


Rule = Callable[[str, int], int]


@dataclass
class Grader:
    """A judge that grades by a rule over the text in brackets and the seed."""

    rule: Rule
    name: str = "grader"

    @contextmanager
    def open(self, device: Device) -> Iterator[Grader]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        texts = [re.findall(r"\[(.*)\]", r.prompt.messages[0].content, re.S)[0] for r in requests]
        grades = [self.rule(text, request.seed) for text, request in zip(texts, requests, strict=True)]
        yield from enumerate(
            [
                Completion(text=json.dumps({"score": grade}), stopped="stop", prompt_tokens=1, tokens=1)
                for grade in grades
            ]
        )


def by_length(text: str, seed: int) -> int:
    return min(10, 1 + max(0, count_units(text)).bit_length())


def judge_of(grader: Grader) -> Judge:
    return Judge(name=grader.name, model=grader, temperature=0.5, top_p=0.9, max_tokens=9, attempts=1)


def measured(
    folder: Path, rule: Rule, run: str = "run", second: Rule | None = None, checks: ReliabilityChecks = CHECKS
) -> Reliability:
    with JudgeSession(judge_of(Grader(rule)), Judgements(folder), Device()) as session:
        judged = JudgedAnswers(BENCH, ITEMS, ANSWERS, judge_all(BENCH, ITEMS, ANSWERS, session))
        if second is None:
            return measure_reliability(judged, checks, session, None, run, folder / "anchors")
        with JudgeSession(judge_of(Grader(second, "other")), Judgements(folder), Device()) as other:
            return measure_reliability(judged, checks, session, other, run, folder / "anchors")


KINDS = ("empty", "colon", "opener", "order", "copied_prompt", "other_answer")


def test_null_answers_are_judged_and_their_scores_reported(tmp_path: Path) -> None:
    reliability = measured(tmp_path, by_length)
    assert tuple(reliability.null_answers) == KINDS
    assert reliability.null_answers["empty"] == NullAnswerScore(1.0, scored=2, items=2)
    assert reliability.null_answers["order"].score is not None
    assert reliability.null_answers["order"].score > 1
    assert reliability.fooled_by == ()
    assert "do not prove" in reliability.note


def test_a_judge_that_obeys_the_answer_is_detected(tmp_path: Path) -> None:
    obeys = measured(tmp_path / "a", lambda text, seed: 10 if "output 10" in text else 2)
    assert obeys.fooled_by == KINDS
    assert obeys.null_answers["order"].score == 10
    partly = measured(tmp_path / "b", lambda text, seed: 10 if "output 10" in text else 1 + 5 * ("word" in text))
    assert partly.fooled_by == ("order", "other_answer")


def test_each_kind_of_null_answer_has_the_text_it_is_named_after() -> None:
    by_kind = null_answers(JudgedAnswers(BENCH, ITEMS, ANSWERS), 3)
    assert {kind: len(nulls.items) for kind, nulls in by_kind.items()} == dict.fromkeys(KINDS, 3)
    assert {response.answer for response in by_kind["opener"].responses} == {"Thought process:"}
    own = {response.item_id: response.answer for response in ANSWERS}
    for response in by_kind["other_answer"].responses:
        assert response.answer in own.values()
        assert response.answer != own[response.item_id]
    copied = by_kind["copied_prompt"]
    assert [response.answer for response in copied.responses] == [item.prompt for item in copied.items]


def test_without_any_answer_there_are_still_null_answers() -> None:
    silent = [Response.read(item.id, "", False, 1) for item in ITEMS]
    assert tuple(null_answers(JudgedAnswers(BENCH, ITEMS, silent), 1)) == KINDS[:-1]


def test_a_consistent_judge_agrees_with_itself_and_a_random_one_does_not(tmp_path: Path) -> None:
    consistent = measured(tmp_path / "a", by_length).repeat
    assert consistent is not None
    assert (consistent.exact_agreement, consistent.noise_sd, consistent.items) == (1.0, 0.0, 5)
    assert consistent.alpha == pytest.approx(1.0)
    random = measured(tmp_path / "b", lambda text, seed: 1 + seed % 10).repeat
    assert random is not None
    assert random.alpha is not None
    assert random.noise_sd is not None
    assert random.alpha < 0.7
    assert random.noise_sd > 0.5


def test_a_second_judge_is_compared_on_some_items(tmp_path: Path) -> None:
    checks = ReliabilityChecks(
        null_answer_items=0,
        repeat_items=0,
        anchors=False,
        anchor_prompt="",
        second_items=4,
        second=judge_of(Grader(by_length, "other")),
    )
    stricter = measured(tmp_path, by_length, second=lambda text, seed: max(1, by_length(text, seed) - 1), checks=checks)
    assert stricter.second is not None
    assert (stricter.second.judge, stricter.second.items) == ("other", 4)
    assert stricter.second.mean_difference == pytest.approx(-1)


def test_the_dependence_of_scores_on_length_is_measured(tmp_path: Path) -> None:
    dependent = measured(tmp_path / "a", by_length).length
    assert dependent is not None
    assert dependent.slope_per_doubling == pytest.approx(0.9, abs=0.2)
    independent = measured(tmp_path / "b", lambda text, seed: 5).length
    assert independent is not None
    assert independent.slope_per_doubling == 0


def anchors_of(folder: Path, grade: int, run: str) -> AnchorScores:
    anchors = measured(folder, lambda text, seed: grade, run).anchors
    assert anchors is not None
    return anchors


def test_anchors_are_judged_again_in_each_run_and_drift_is_flagged(tmp_path: Path) -> None:
    first = anchors_of(tmp_path, 5, "run")
    assert (first.drift, first.flagged, first.items) == (0, False, 5)
    assert anchors_of(tmp_path, 5, "another run").flagged is False
    kinder = anchors_of(tmp_path, 7, "a third run")
    assert (kinder.drift, kinder.flagged) == (2, True)


def repeated(noise_sd: float, items: int = 20) -> Agreement:
    return Agreement(items=items, alpha=None, exact_agreement=None, mean_difference=0.0, noise_sd=noise_sd)


def test_a_change_within_the_judges_noise_is_not_flagged_as_drift() -> None:
    then, now = dict.fromkeys("abcde", 5.0), dict.fromkeys("abcde", 6.0)
    assert drift(now, then, repeated(0.0), 10.0, 1.0).flagged
    assert drift(now, then, repeated(0.7), 10.0, 1.0).flagged
    assert not drift(now, then, repeated(0.7, items=4), 10.0, 1.0).flagged, "four repeats say little of the noise"
    assert not drift(now, then, repeated(2.0), 10.0, 1.0).flagged
    assert drift({}, then, repeated(0.0), 10.0, 1.0) == Drift(drift=None, items=0, flagged=False)


@pytest.mark.parametrize("repeats", [3, 4, 20])
def test_a_steady_judge_is_called_drifting_in_one_of_twenty_runs(repeats: int) -> None:
    random = Random(repeats)

    def grades(items: int) -> dict[str, float]:
        return {str(item): random.gauss(5.0, 1.0) for item in range(items)}

    flagged = [
        drift(grades(5), grades(5), agreement(grades(repeats), grades(repeats)), 1.1, 1.0).flagged for _ in range(4000)
    ]
    assert fmean(flagged) == pytest.approx(0.05, abs=0.012)


def test_nothing_is_measured_on_a_benchmark_that_was_not_judged(tmp_path: Path) -> None:
    grader = Grader(by_length)
    with JudgeSession(judge_of(grader), Judgements(tmp_path), Device()) as session:
        unjudged = JudgedAnswers(BENCH, ITEMS, ANSWERS)
        reliability = measure_reliability(unjudged, CHECKS, session, None, "run", tmp_path)
        assert session.asked == 0
    assert reliability == Reliability(note=NOT_JUDGED)


def test_the_anchors_are_two_languages_and_five_kinds() -> None:
    rows = [json.loads(line) for line in ANCHORS.read_text(encoding="utf-8").split("\n") if line]
    assert {row["kind"] for row in rows} == {"good", "weak", "truncated", "padded", "off_topic"}
    assert {row["language"] for row in rows} == {"en", "zh"}


@pytest.mark.parametrize("field", ["null_answer_items", "repeat_items", "second_items"])
def test_a_negative_number_of_items_is_rejected_with_the_name_of_the_field(field: str) -> None:
    settings = {"null_answer_items": 0, "repeat_items": 0, "anchors": False, "anchor_prompt": "", "second_items": 0}
    with pytest.raises(ValidationError, match="greater than or equal to 0") as error:
        TypeAdapter(ReliabilityChecks).validate_python({**settings, field: -1})
    assert error.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(("second_items", "second"), [(3, None), (0, judge_of(Grader(by_length)))])
def test_a_second_judge_and_its_number_of_items_are_set_together(second_items: int, second: Judge | None) -> None:
    with pytest.raises(InputError, match="want second and second_items together"):
        ReliabilityChecks(
            null_answer_items=0,
            repeat_items=0,
            anchors=False,
            anchor_prompt="",
            second_items=second_items,
            second=second,
        )
