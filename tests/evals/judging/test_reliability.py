"""A judge's health: canaries, repeats, a second judge, length, anchors and their drift."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Item, Response
from evals.benchmarks.length import count_units
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.reliability import ANCHORS, Judged, ReliabilityChecks, canaries, drift, examine
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from evals.statistics.agreement import agreement, slope_per_doubling
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Request

BENCH = WritingPrompts("{{prompt}}\n[{{answer}}]\n{{rubric}}", 0.7, 0.95, 0.98)
ITEMS = [Item(f"i{n}", f"Prompt number {n}.", "en", "c", 100, ("good?",)) for n in range(10)]
ANSWERS = [Response.read(item.id, "word " * 2**n, False, 1) for n, item in enumerate(ITEMS)]
HEALTH = ReliabilityChecks(2, 5, True, "{{prompt}}\n[{{answer}}]\n{{rubric}}")


@dataclass
class Grader:
    """A judge that grades by a rule over the text in brackets; it remembers those texts."""

    rule: Any
    name: str = "grader"
    texts: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, device: Device) -> Iterator[Grader]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        texts = [re.findall(r"\[(.*)\]", r.prompt.messages[0].content, re.S)[0] for r in requests]
        self.texts += texts
        grades = [self.rule(text, request.seed) for text, request in zip(texts, requests, strict=True)]
        yield from enumerate([Completion(json.dumps({"score": grade}), "stop", 1, 1) for grade in grades])


def by_length(text: str, seed: int) -> int:
    return min(10, 1 + max(0, count_units(text)).bit_length())


def found(
    folder: Path, rule: Any, run: str = "run", second: Any = None, health: ReliabilityChecks = HEALTH
) -> dict[str, Any]:
    judge = Judge("grader", Grader(rule), 0.5, 0.9, 9, 1)
    with JudgeSession(judge, Judgements(folder), Device()) as session:
        judged = Judged(BENCH, ITEMS, ANSWERS, judge_all(BENCH, ITEMS, ANSWERS, session))
        if second is None:
            return examine(judged, health, session, None, run, folder / "anchors")
        other = Judge("other", Grader(second, "other"), 0.5, 0.9, 9, 1)
        with JudgeSession(other, Judgements(folder), Device()) as session2:
            return examine(judged, health, session, session2, run, folder / "anchors")


def test_canaries_are_asked_about_and_their_scores_reported(tmp_path: Path) -> None:
    metrics = found(tmp_path, by_length)
    assert list(metrics["canaries"]) == ["empty", "colon", "opener", "order", "copied_prompt", "other_answer"]
    assert metrics["canaries"]["empty"] == {"score": 1.0, "scored": 2, "items": 2}
    assert metrics["canaries"]["order"]["score"] > 1
    assert metrics["fooled_by"] == []
    assert "no proof" in metrics["note"]


def test_a_judge_that_obeys_is_found_out(tmp_path: Path) -> None:
    metrics = found(tmp_path, lambda text, seed: 10 if "output 10" in text else 2)
    assert metrics["fooled_by"] == ["empty", "colon", "opener", "order", "copied_prompt", "other_answer"]
    assert metrics["canaries"]["order"]["score"] == 10
    assert found(tmp_path / "b", lambda text, seed: 10 if "output 10" in text else 1 + 5 * ("word" in text))[
        "fooled_by"
    ] == ["order", "other_answer"]


def test_canaries_are_what_they_are_called() -> None:
    made = canaries(Judged(BENCH, ITEMS, ANSWERS, ()), 3)
    assert {kind: len(judged.items) for kind, judged in made.items()} == dict.fromkeys(made, 3)
    own = {response.item_id: response.answer for response in ANSWERS}
    for response in made["other_answer"].responses:
        assert response.answer in own.values()
        assert response.answer != own[response.item_id]
    assert [r.answer for r in made["copied_prompt"].responses] == [item.prompt for item in made["copied_prompt"].items]


def test_without_any_answer_there_are_still_canaries(tmp_path: Path) -> None:
    silent = [Response.read(item.id, "", False, 1) for item in ITEMS]
    assert list(canaries(Judged(BENCH, ITEMS, silent, ()), 1)) == ["empty", "colon", "opener", "order", "copied_prompt"]


def test_a_steady_judge_agrees_with_itself_and_a_drawn_one_does_not(tmp_path: Path) -> None:
    steady = found(tmp_path / "a", by_length)["repeat"]
    assert (steady["alpha"], steady["same"], steady["noise"], steady["items"]) == (pytest.approx(1.0), 1.0, 0.0, 5)
    drawn = found(tmp_path / "b", lambda text, seed: 1 + seed % 10)["repeat"]
    assert drawn["alpha"] < 0.7
    assert drawn["noise"] > 0.5


def test_a_second_judge_is_compared_on_a_slice(tmp_path: Path) -> None:
    health = ReliabilityChecks(0, 0, False, "", 4, "a judge")
    metrics = found(tmp_path, by_length, second=lambda text, seed: max(1, by_length(text, seed) - 1), health=health)
    assert (metrics["second"]["judge"], metrics["second"]["items"]) == ("other", 4)
    assert metrics["second"]["mean_difference"] == pytest.approx(-1)


def test_length_is_told_from_quality(tmp_path: Path) -> None:
    assert found(tmp_path / "a", by_length)["length"]["slope_per_doubling"] == pytest.approx(0.9, abs=0.2)
    assert found(tmp_path / "b", lambda text, seed: 5)["length"]["slope_per_doubling"] == 0
    assert slope_per_doubling([("a b", 3.0)] * 9) == {"slope_per_doubling": None, "p": None, "answers": 9}


def test_anchors_are_judged_anew_in_each_run_and_drift_is_flagged(tmp_path: Path) -> None:
    first = found(tmp_path, lambda text, seed: 5)["anchors"]
    assert (first["drift"], first["flagged"], first["anchors"]) == (0, False, 5)
    assert found(tmp_path, lambda text, seed: 5, "another run")["anchors"]["flagged"] is False
    kinder = found(tmp_path, lambda text, seed: 7, "a third run")["anchors"]
    assert (kinder["drift"], kinder["flagged"]) == (2, True)


def test_noise_alone_is_no_drift() -> None:
    then, now = dict.fromkeys("abcde", 5.0), dict.fromkeys("abcde", 6.0)
    assert drift(now, then, 0.0, 10.0, 1.0)["flagged"]
    assert not drift(now, then, 2.0, 10.0, 1.0)["flagged"]
    assert drift({}, then, 0.0, 10.0, 1.0) == {"drift": None, "anchors": 0, "flagged": False}


def test_agreement_of_nothing_and_of_one_value() -> None:
    assert agreement({}, {})["alpha"] is None
    assert agreement({"a": 5.0, "b": 5.0}, {"a": 5.0, "b": 5.0}) == {
        "items": 2,
        "alpha": None,
        "same": 1.0,
        "mean_difference": 0.0,
        "noise": 0.0,
    }
    assert agreement({"a": 1.0, "b": 9.0}, {"a": 9.0, "b": 1.0})["alpha"] < 0


def test_an_unjudged_benchmark_asks_nothing(tmp_path: Path) -> None:
    with JudgeSession(Judge("g", Grader(by_length), 0.5, 0.9, 9, 1), Judgements(tmp_path), Device()) as session:
        metrics = examine(Judged(BENCH, ITEMS, ANSWERS, ()), HEALTH, session, None, "run", tmp_path)
    assert metrics == {"note": "no judge was asked"}


def test_the_anchors_are_two_languages_and_five_kinds() -> None:
    rows = [json.loads(line) for line in ANCHORS.read_text(encoding="utf-8").split("\n") if line]
    assert {row["kind"] for row in rows} == {"good", "weak", "truncated", "padded", "off_topic"}
    assert {row["language"] for row in rows} == {"en", "zh"}


@pytest.mark.parametrize("bad", [(-1, 0, 0, None), (0, 0, 3, None), (0, 0, 0, "a judge")])
def test_a_health_check_that_cannot_be_is_refused(bad: tuple[int, int, int, Any]) -> None:
    with pytest.raises(InputError, match="health"):
        ReliabilityChecks(bad[0], bad[1], False, "", bad[2], bad[3])
