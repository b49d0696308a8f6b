"""What a plan says it could detect, from the noise of finished runs or an assumption, and what to buy."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evals.benchmark import ItemScores, MeasureName
from evals.held_out import text_measures
from evals.statistics.agreement import agreement
from evals.statistics.power import minimum_detectable_effect
from evals.statistics.variance import Design, detectable
from experiments.metrics.evaluation import HeldOutScoreMetrics
from experiments.metrics.probes import PerplexityMetrics, ReliabilityMetrics
from experiments.plan import make_plan
from experiments.planning.costs import Costs
from experiments.planning.detection import Detection, PlannedMeasure, Wanted, detections, prices
from experiments.planning.spread import ASSUMED_SD, NLL, Spread, assumed, measured
from experiments.report.plan_tables import show_plan
from experiments.store.runs import Result
from experiments.store.step import StepName
from reer.errors import InputError
from reer.files import write_rows
from tests.fakes.commands import finished, reer
from tests.fakes.plans import compose
from tests.fakes.reports import scored_run
from tests.fakes.results import step
from tests.fakes.stages import recorded

QUALITY = MeasureName("writing", "quality")
JUDGES = {QUALITY: "a-judge"}


def scores(seed: int, by: float = 0.0, items: int = 60) -> dict[str, float]:
    """Grades of items: a quality of their own, which all runs share, and noise of standard deviation 1."""
    quality = np.random.default_rng(7).normal(5.5, 1.0, items)
    values = quality + by + np.random.default_rng(seed).normal(0, 1.0, items)
    return {f"i{n:02d}": float(value) for n, value in enumerate(values)}


def runs(root: Path, seeds: int = 1) -> list[Result]:
    """A baseline and two arms, one of them half a grade worse."""
    arms = {"full": 0.0, "no_search": -0.5, "short": 0.0}
    return [
        scored_run(root, arm, {"writing/quality": scores(10 * n + seed, by)}, seed=seed)
        for n, (arm, by) in enumerate(arms.items())
        for seed in range(seeds)
    ]


def repeated(run: Result, noise: float) -> Result:
    """A run whose judge was asked twice, with verdicts that differ by `noise` standard deviations."""
    first = dict.fromkeys("abcdefgh", 5.0)
    second = dict.fromkeys(first, 5.0 + noise * 2**0.5)
    metrics = ReliabilityMetrics(repeat=agreement(first, second), note="")
    folder = run.steps[StepName("grade", "writing")].path
    return replace(run, steps={**run.steps, StepName("reliability", "writing"): step(metrics, folder)})


def with_texts(root: Path, run: Result, nll: list[float | None]) -> Result:
    folder = root / run.name / "perplexity"
    folder.mkdir(parents=True)
    write_rows(folder / "rows.jsonl", [{"id": str(n), "tokens": 9, "nll": value} for n, value in enumerate(nll)])
    recorded(folder)
    metrics = PerplexityMetrics(texts=3, tokens=9, nll=1.0, perplexity=2.7, nll_mean_of_texts=1.0, too_long=0, why=None)
    return replace(run, steps={**run.steps, StepName("perplexity"): step(metrics, folder)})


def with_thoughts(root: Path, run: Result, table: ItemScores) -> Result:
    folder = root / run.name / "held_out_scores"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(table))
    recorded(folder)
    metrics = HeldOutScoreMetrics(rows=3, measures=text_measures(table), closed=0, looping=0, mean_tokens=8.0)
    return replace(run, steps={**run.steps, StepName("held_out_scores"): step(metrics, folder)})


def test_the_noise_of_one_seed_is_the_spread_of_the_arms_differences(tmp_path: Path) -> None:
    full, *arms = runs(tmp_path)
    spread = measured([full, *arms], "smoke", JUDGES)[QUALITY]
    columns = [scores(0), scores(10, -0.5), scores(20)]
    base, *others = (np.asarray(list(column.values())) for column in columns)
    assert spread.sd**2 == pytest.approx(np.mean([np.var(other - base, ddof=1) for other in others]))
    assert spread.above_worst == pytest.approx(base.mean() - 1)
    assert spread.source == "measured: 2 arms at smoke, 60 items, one seed: its split is assumed"
    assert spread.variances.answers == pytest.approx(2 * spread.variances.items), "as assumed"
    assert spread.variances.judgements == 0, "no verdict was repeated"


def test_the_judges_repetitions_say_what_of_it_is_the_judges(tmp_path: Path) -> None:
    noisy = [repeated(run, 0.6) for run in runs(tmp_path)]
    spread = measured(noisy, "smoke", JUDGES)[QUALITY]
    assert spread.variances.judgements == pytest.approx(2 * 0.36), "of both sides of a difference"
    assert spread.sd == pytest.approx(measured(runs(tmp_path / "same"), "smoke", JUDGES)[QUALITY].sd)


def test_seeds_tell_items_and_trainings_apart(tmp_path: Path) -> None:
    spread = measured([repeated(run, 0.5) for run in runs(tmp_path, seeds=3)], "smoke", JUDGES)[QUALITY]
    assert spread.source == "measured: 2 arms at smoke, 60 items, 3 seeds"
    assert spread.variances.items < 0.4, "arms and baseline answer the same items, whose quality cancels"
    assert spread.variances.answers == pytest.approx(2 - 0.5, abs=0.4)
    assert spread.variances.judgements == pytest.approx(0.5)


def test_arms_with_most_seeds_are_measured_and_other_judges_and_scales_are_not(tmp_path: Path) -> None:
    *more, single = [*runs(tmp_path, seeds=2), scored_run(tmp_path, "other", {"writing/quality": scores(99)})]
    assert measured([*more, single], "smoke", JUDGES) == measured(more, "smoke", JUDGES)
    assert not measured(more, "smoke", {QUALITY: "another-judge"})
    assert not measured(more, "laptop", JUDGES)
    assert not measured([run for run in more if run.name == "full"], "smoke", JUDGES), "nothing to compare"


def test_a_run_with_damaged_scores_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full, arm, other = runs(tmp_path)
    path = other.steps[StepName("grade", "writing")].path / "scores.json"
    path.write_text(path.read_text().replace("5", "6", 1))
    with caplog.at_level(logging.WARNING):
        assert measured([full, arm, other], "smoke", JUDGES) == measured([full, arm], "smoke", JUDGES)
    assert "scores.json: damaged" in caplog.text
    (other.steps[StepName("grade", "writing")].path / "record.json").unlink()
    assert measured([full, arm, other], "smoke", JUDGES) == measured([full, arm], "smoke", JUDGES)


def test_held_out_texts_are_measured_without_a_judge(tmp_path: Path) -> None:
    full, arm, _ = runs(tmp_path)
    both = [with_texts(tmp_path, full, [1.0, 2.0, 3.0, 9.0]), with_texts(tmp_path, arm, [1.5, 2.0, 3.9, None])]
    spread = measured(both, "smoke", JUDGES)[NLL]
    assert spread.sd == pytest.approx(np.std([0.5, 0.0, 0.9], ddof=1)), "a text over the context is in neither"
    assert spread.above_worst == 0
    exp = compose("scale=smoke")
    (found,) = (one for one in detections(Costs.of(exp), 1, both) if one.measure == NLL)
    assert found.least == pytest.approx(spread.sd * minimum_detectable_effect(exp.scale.held_out_texts))
    assert found.margin is None


def test_held_out_texts_after_a_thinking_are_measured_without_a_judge_too(tmp_path: Path) -> None:
    tables: dict[str, ItemScores] = {
        "full": {"fit": {"a": 0.1, "b": 0.2, "c": 0.4}},
        "no_search": {"fit": {"a": 0.2, "b": 0.2, "c": 0.1}},
    }
    both = [with_thoughts(tmp_path, run, tables[run.name]) for run in runs(tmp_path)[:2]]
    exp = compose("scale=smoke", "scale.held_out_thinking_tokens=8")
    (found,) = (one for one in detections(Costs.of(exp), 1, both) if one.measure == MeasureName("held_out", "fit"))
    assert found.spread.sd == pytest.approx(np.std([0.1, 0.0, -0.3], ddof=1))
    assert found.design.items == exp.scale.held_out_texts
    without = detections(Costs.of(compose("scale=smoke")), 1, both)
    assert not [one for one in without if one.measure.benchmark == "held_out"], "smoke has no such measure"


def test_scores_that_do_not_vary_are_no_measurement(tmp_path: Path) -> None:
    same = [scored_run(tmp_path, name, {"writing/quality": scores(1)}) for name in ("full", "arm")]
    assert not measured(same, "smoke", JUDGES)
    few = [
        scored_run(tmp_path / "few", name, {"writing/quality": scores(n, items=2)})
        for n, name in enumerate(("full", "a"))
    ]
    assert not measured(few, "smoke", JUDGES)


def of(found: tuple[Detection, ...], measure: str) -> Detection:
    return next(one for one in found if str(one.measure) == measure)


def test_without_runs_the_noise_is_assumed_and_said_to_be() -> None:
    found = detections(Costs.of(compose("scale=laptop")), 1, [])
    quality, length = of(found, "writing/quality"), of(found, "writing/length")
    assert quality.spread.sd == pytest.approx(ASSUMED_SD * 9)
    assert length.spread.sd == pytest.approx(ASSUMED_SD * 100)
    assert length.spread.variances.judgements == 0 < quality.spread.variances.judgements
    assert quality.spread.source.startswith("assumed:")
    assert (quality.design, quality.margin) == (Design(seeds=1, items=14), pytest.approx(0.225))
    assert quality.least == pytest.approx((0.99 * minimum_detectable_effect(14) + 4.5 / 15) * 15 / 14)


def test_each_task_is_a_headline_and_a_domain_is_not(shared: Path) -> None:
    folder = shared / "benchmarks"
    overrides = [f"benchmark.{name}.data.folder={folder / name}" for name in ("writingbench", "hellobench")]
    overrides.append("benchmark.hellobench.tokenize=false")
    exp = compose("scale=single_gpu", "benchmark=[writingbench,hellobench]", *overrides)
    found = detections(Costs.of(exp), 2, [])
    assert {str(one.measure): one.design.items for one in found} == {
        "writingbench/overall": 1000,
        "hellobench/open_ended_qa": 200,
        "hellobench/summarization": 100,
        "hellobench/chat": 147,
        "hellobench/text_completion": 77,
        "hellobench/heuristic_text_generation": 123,
    }


def test_a_benchmark_without_its_files_is_left_out() -> None:
    assert detections(Costs.of(compose("scale=single_gpu", "benchmark=[writingbench]")), 1, []) == ()


def test_what_is_bought_is_just_enough_and_the_possible_comes_first() -> None:
    costs = Costs.of(compose("scale=laptop", "benchmark.writing.items_limit=7"))
    quality = of(detections(costs, 1, [], Wanted({"writing/quality": 1.2})), "writing/quality")
    items, *others = quality.offers
    assert items.respect == "items"
    assert {offer.respect for offer in others} <= {"answers", "judgements"}
    spread, wanted = quality.spread, quality.wanted
    assert wanted is not None
    at = [detectable(spread.variances, Design(items=n), spread.above_worst) for n in (items.needed, items.needed - 1)]
    assert at[0] <= wanted < at[1]
    assert (items.held, items.how, items.possible) == (7, f"benchmark.writing.items_limit={items.needed}", True)
    assert not any(offer.possible for offer in others), "no setting repeats answers or judgements"
    (more,) = (
        o for o in of(detections(costs, 1, [], Wanted({}, 0.5)), "writing/quality").offers if o.respect == "items"
    )
    assert (more.how, more.possible) == ("there are 14", False)


def test_an_offer_costs_what_both_arms_cost_more() -> None:
    costs = Costs.of(compose("scale=single_gpu", "benchmark=[writing]"))
    estimates = costs.all()
    answered, judged = StepName("generate", "writing"), StepName("grade", "writing")
    planned = PlannedMeasure(
        name=QUALITY,
        items=14,
        available=14,
        range=(1, 10),
        respects=("items", "seeds"),
        setting="",
        answered=answered,
        judged=judged,
    )
    usd, hours = prices(planned, costs)
    answer, judgement = (cost for name in (answered, judged) if (cost := estimates[name].cost))
    assert usd.answer == pytest.approx(2 * answer.usd / 14)
    assert (usd.judgement, hours.judgement) == pytest.approx((2 * judgement.usd / 14, 2 * judgement.hours / 14))
    train = estimates[StepName("train")].cost
    assert train is not None
    assert hours.training >= 2 * train.hours, "with the probes and the other benchmarks"
    everything = sum(e.cost.usd for n, e in estimates.items() if e.cost and n not in costs.synthesis())
    assert usd.training + 14 * (usd.answer + usd.judgement) == pytest.approx(2 * everything)


def test_seeds_are_counted_and_bought() -> None:
    plan = make_plan([compose("scale=laptop", f"seed={n}") for n in (0, 1)], wanted=Wanted({"writing/quality": 1.0}))
    quality = of(plan.detections, "writing/quality")
    assert quality.design.seeds == 2
    assert next((offer.respect, offer.how) for offer in quality.offers) == ("seeds", "-m 'seed=range(5)'")
    assert quality.offers[0].hours > 0
    assert of(make_plan([compose("scale=laptop")]).detections, "writing/quality").least < quality.least


def test_what_two_seeds_detect_is_not_limited_by_the_assumed_shares() -> None:
    spread: Spread = assumed(1, 10, judged=True)
    assert spread.variances.seeds == pytest.approx(0.01 * spread.sd**2)
    assert assumed(10, 1, judged=True).above_worst == spread.above_worst == 4.5


@pytest.mark.parametrize("text", ["", "writing/quality=", "0", "-1", "inf", "nan", "much", "writing/quality=0"])
def test_a_wanted_difference_is_a_positive_number(text: str) -> None:
    with pytest.raises(InputError, match="--detect: want a positive difference"):
        Wanted.parse([text])


def test_a_wanted_difference_without_a_measure_is_refused() -> None:
    costs = Costs.of(compose("scale=smoke", "benchmark=[everyday]"))
    assert detections(costs, 1, []) == ()
    with pytest.raises(InputError, match="no measure of this plan"):
        detections(costs, 1, [], Wanted({}, 0.3))


def test_a_wanted_difference_is_of_one_measure_or_of_all_others() -> None:
    wanted = Wanted.parse(["0.3", "writing/length=5"])
    assert wanted.of(QUALITY) == 0.3
    assert wanted.of(MeasureName("writing", "length")) == 5
    assert Wanted.parse(["writing/length=5"]).of(QUALITY) is None


def test_the_plan_says_what_it_could_detect_and_what_to_buy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = Wanted.parse(["writing/quality=9", "writing/length=3"])
    plan = make_plan([compose("scale=smoke", f"runtime.root={tmp_path}")], wanted=wanted)
    show_plan(plan)
    text = capfd.readouterr().out
    assert max(map(len, text.split("\n"))) <= 80
    rows = {cells[0]: cells[1:] for line in text.split("\n") if (cells := line.split())}
    assert rows["writing/quality"] == ["14", "1", "0.99", "1.18", "0.225", "assumed"]
    assert "writing/quality: a difference of 9 is detected already" in text
    assert "to detect 3 in writing/length, one of" in text
    assert rows["items"][:2] == ["14", "140"]
    assert "there are 14" in text
    assert "one seed shows differences between these trainings only" in " ".join(text.split())


def test_the_verb_takes_wanted_differences_and_prints_json(tmp_path: Path) -> None:
    found = json.loads(finished(tmp_path, "plan", "scale=smoke", "--detect", "0.3", "--json").out)
    quality = found["detections"][0]
    assert (quality["measure"], quality["wanted"]) == (["writing", "quality"], 0.3)
    assert {"respect", "held", "needed", "hours", "usd", "how", "possible"} == set(quality["offers"][0])
    assert {stage["status"] for stage in found["arms"][0]["stages"]} == {"to run"}
    assert found["total"] == found["remaining"]
    wrong = reer(tmp_path, "plan", "scale=smoke", "--detect", "writing/qualty=0.3")
    assert wrong.code == 2
    assert "got 'writing/qualty'; did you mean writing/quality" in wrong.text
