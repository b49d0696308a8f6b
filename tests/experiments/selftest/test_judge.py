"""The simulated judge errs as it says."""

from dataclasses import replace
from statistics import fmean

from evals.benchmark import Item, Response
from evals.benchmarks.writing import WritingPrompts
from experiments.selftest.judge import STUMBLES_ON, SimulatedJudge, marked
from experiments.store.fingerprint import encode
from reer.models.protocols import Device, Request, Sampling, in_order

JUDGE = SimulatedJudge(seed=0, noise_sd=0.7, length_slope=0.5, failure_share=0.0, stumble_share=0.5)
BENCHMARK = WritingPrompts(temperature=0.7, top_p=0.9, min_coverage=1.0)
ITEM = Item(id="i", prompt="Write.", language="en", category="own", length=None, rubric=("good",))


def replies(judge: SimulatedJudge, answer: str, count: int = 1000) -> list[str]:
    (call,) = BENCHMARK.calls(ITEM, Response.of_text("i", answer))
    sampling = Sampling(temperature=0.5, top_p=1.0, max_tokens=40)
    with judge.open(Device()) as session:
        requests = [Request(call.prompt, sampling, seed) for seed in range(count)]
        return [reply.text for reply in in_order(session.generate(requests), count)]


def grades(judge: SimulatedJudge, answer: str) -> list[float]:
    (call,) = BENCHMARK.calls(ITEM, Response.of_text("i", answer))
    return [BENCHMARK.parse(call, reply)["quality"] for reply in replies(judge, answer)]


def test_grades_have_the_stated_expectation_also_at_the_end_of_the_scale() -> None:
    for quality in (1.2, 5.5, 9.6):
        found = fmean(grades(JUDGE, marked(quality, "word " * 80)))
        assert abs(found - JUDGE.expected_grade(quality, 0.0, words=80)) < 0.1


def test_a_longer_answer_gets_the_stated_bonus() -> None:
    short, long = (fmean(grades(JUDGE, marked(5.5, "word " * words))) for words in (20, 80))
    assert abs(long - short - 1.0) < 0.1


def test_it_fails_more_on_answers_with_its_stumbling_block() -> None:
    assert "no grade" not in replies(JUDGE, marked(5.5, "word"))
    failures = replies(JUDGE, marked(5.5, f"word\n{STUMBLES_ON}")).count("no grade")
    assert 430 < failures < 570


def test_drift_is_no_part_of_its_identity() -> None:
    drifted = replace(JUDGE, shift=-2.0)
    assert encode(drifted) == encode(JUDGE)
    assert drifted.name == JUDGE.name
    assert fmean(grades(drifted, marked(7.5, "word"))) < fmean(grades(JUDGE, marked(7.5, "word"))) - 1.8
