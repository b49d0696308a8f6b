"""Grades by their probabilities: the expected grade of a model's own numbers, for benchmarks whose verdict is one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from evals.benchmark import Item, Response
from evals.benchmarks.longbench_write import LongBenchWrite
from evals.benchmarks.writing import WritingPrompts
from evals.judging.grade_probabilities import GradeProbabilityModel
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from evals.replies import Expected, Malformed
from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Device, Nats, Passage, Prompt, Request, Sampling
from reer.models.scripted import ScriptedModel
from reer.types import Message
from tests.conftest import pinned

GRADES = tuple(range(1, 11))
BENCH = WritingPrompts(
    judge_prompt="{{prompt}}\n{{answer}}\n{{rubric}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)
ITEM = Item(id="i", prompt="Write.", language="en", category="c", length=100, rubric=("good?",))
REQUEST = Request(Prompt((Message("user", "?"),), '{"score": '), Sampling(temperature=0.5, top_p=1.0, max_tokens=8), 0)


@dataclass
class Believes:
    """A scorer with these probabilities of grades, as the words `7,`."""

    shares: dict[int, float]
    name: str = "believer"
    asked: list[Passage] = field(default_factory=list)

    @contextmanager
    def open(self, device: Device) -> Iterator[Believes]:
        yield self

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        self.asked += passages
        yield from enumerate([(-math.log(self.shares[int(p.answer.rstrip(","))]) / 2,) * 2 for p in passages])


def judge(chat: object) -> Judge:
    return Judge(
        name="j",
        model=chat,  # type: ignore[arg-type]
        temperature=0.5,
        top_p=1.0,
        max_tokens=8,
        attempts=1,
        prefill='{"score": ',
        grades=GRADES,
    )


def test_the_score_is_the_expected_grade(tmp_path: Path) -> None:
    believer = Believes(dict.fromkeys(GRADES, 0.001) | {3: 0.2, 7: 0.6})
    with JudgeSession(judge(believer), Judgements(tmp_path), Device()) as session:
        (verdict,) = judge_all(BENCH, [ITEM], [Response.read("i", "text", False, 1)], session)
    total = 0.8 + 8 * 0.001
    assert verdict.scores == {"quality": pytest.approx((0.2 * 3 + 0.6 * 7 + 0.001 * (55 - 10)) / total)}
    assert sum(json.loads(verdict.reply)["probabilities"].values()) == pytest.approx(1)
    assert {passage.answer for passage in believer.asked} == {f"{grade}," for grade in GRADES}
    assert all(passage.context.prefill == '{"score": ' for passage in believer.asked)


def test_a_real_model_gives_each_grade_its_share() -> None:
    with LocalModel(TinyModel()).open(Device("cpu")) as model:
        ((_, reply),) = GradeProbabilityModel(model, GRADES).generate([REQUEST])
    said = json.loads(reply.text)
    assert sum(said["probabilities"].values()) == pytest.approx(1)
    assert 1 < said["score"] < 10


def test_no_share_underflows() -> None:
    believer = Believes({1: 1e-300} | dict.fromkeys(GRADES[1:], 1e-305))
    ((_, reply),) = GradeProbabilityModel(believer, GRADES).generate([REQUEST])  # type: ignore[arg-type]
    assert json.loads(reply.text)["score"] == pytest.approx(1, abs=1e-3)


def test_a_benchmark_with_other_verdicts_refuses_it(tmp_path: Path, shared: Path) -> None:
    longbench = LongBenchWrite(
        data=pinned(shared / "benchmarks" / "longbench_write"), judged=True, temperature=0.5, min_coverage=0.98
    )
    with (
        JudgeSession(judge(Believes({})), Judgements(tmp_path), Device()) as session,
        pytest.raises(InputError, match="one grade"),
    ):
        judge_all(longbench, [ITEM], [Response.read("i", "text", False, 1)], session)


def test_asking_for_probabilities_twice_is_refused() -> None:
    with pytest.raises(InputError, match="same reply again"):
        replace(judge(ScriptedModel()), attempts=2)


@pytest.mark.parametrize(("value", "why"), [("7", "number"), (True, "number"), (math.nan, "number"), (10.5, "range")])
def test_expected_grades_are_finite_and_in_range(value: object, why: str) -> None:
    assert Expected().grade(6.25, 1, 10) == 6.25
    with pytest.raises(Malformed, match=why):
        Expected().grade(value, 1, 10)
