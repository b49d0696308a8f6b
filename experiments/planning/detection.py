"""What the planned runs could detect, and what to buy where that is not enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from evals.benchmark import Item, JudgedBenchmark, MeasureName, Response
from evals.held_out import HELD_OUT
from evals.judging.per_benchmark import judge_of
from evals.lm_eval.harness import AnyBenchmark, LmEval
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.variance import Design, Prices, Purchase, detectable, purchases
from experiments.experiment import Experiment
from experiments.metrics import evaluation, probes
from experiments.planning.costs import Costs, StageCost, total
from experiments.planning.spread import NLL, Spread, assumed, measured
from experiments.store.runs import Result
from experiments.store.step import StepName
from reer.errors import InputError, near

Respect = Literal["items", "answers", "judgements", "seeds"]


@dataclass(frozen=True, kw_only=True)
class PlannedMeasure:
    """A measure that the planned runs take of `items` items; `available` is the number there are, None where that is
    not known. `range` is None where it is unknown. More of them are bought in the `respects`, items by `setting`."""

    name: MeasureName
    items: int
    available: int | None
    range: tuple[float, float] | None
    respects: tuple[Respect, ...]
    setting: str
    answered: StepName
    """The stage that answers."""
    judged: StepName | None = None
    """The stage that judges."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What one comparison of two planned arms could detect on a measure: `least` is the smallest true difference that
    is found different with 80 % probability. `margin` is the equivalence margin, None where the range is unknown."""

    measure: MeasureName
    design: Design
    least: float
    margin: float | None
    spread: Spread
    offers: tuple[Offer, ...] = ()
    """What would be enough for a wanted difference; empty where none was given."""
    wanted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An enlargement of the design in one respect that is enough by itself, with its cost for both arms. `how` names
    the override, or why there is none."""

    respect: str
    held: int
    needed: int
    hours: float
    usd: float
    how: str
    possible: bool
    """False where there is no more of it."""


@dataclass(frozen=True)
class Wanted:
    """The differences to be detected: by measure, and of all others."""

    by_measure: Mapping[str, float]
    of_others: float | None = None

    def of(self, measure: MeasureName) -> float | None:
        return self.by_measure.get(str(measure), self.of_others)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Wanted:
        """From `0.3` and `writing/quality=0.3`. Raises InputError for what is no positive number."""
        sizes: dict[str, float] = {}
        for text in texts:
            measure, _, size = text.rpartition("=")
            sizes[measure] = _positive(text, size)
        of_others = sizes.pop("", None)
        return cls(sizes, of_others)


NOTHING_WANTED = Wanted({})


def _positive(text: str, size: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(size)) < float("inf"):
            return number
    raise InputError(
        f"--detect: want a positive difference in the measure's unit (0.3, or writing/quality=0.3), got {text!r}"
    )


def detections(
    costs: Costs, seeds: int, results: Sequence[Result], wanted: Wanted = NOTHING_WANTED
) -> tuple[Detection, ...]:
    """What two arms like the experiment of these costs could show, trained with a number of seeds each, on every
    headline measure whose noise is known from finished runs or can be assumed. Raises InputError where a difference is
    wanted in a measure that is none of these."""
    exp = costs.exp
    judged = [measure for name, benchmark in exp.benchmarks.items() for measure in _judged(name, benchmark)]
    judges = {one.name: judge_of(exp.judge, one.name.benchmark).name for one in judged if one.judged}
    spreads = measured(results, exp.scale.name, judges)
    planned = [*judged, *_without_judge(exp, spreads)]
    _check_wanted(wanted, [str(one.name) for one in planned])
    return tuple(_detection(one, costs, seeds, _spread_of(one, spreads), wanted.of(one.name)) for one in planned)


def _check_wanted(wanted: Wanted, known: Sequence[str]) -> None:
    if not known and wanted != NOTHING_WANTED:
        raise InputError("--detect: no measure of this plan has a noise that finished runs show or that can be assumed")
    for name in wanted.by_measure:
        if name not in known:
            raise InputError(
                f"--detect: want a measure whose noise is known ({', '.join(known)}), got {name!r}{near(name, known)}"
            )


def _judged(label: str, benchmark: AnyBenchmark) -> list[PlannedMeasure]:
    """The headline measures of a benchmark that is judged; none where its files are missing."""
    if not isinstance(benchmark, JudgedBenchmark):
        return []
    try:
        held, every = _items_by_metric(benchmark, benchmark.items()), _items_by_metric(benchmark, benchmark.all_items())
    except InputError:
        return []
    return [
        PlannedMeasure(
            name=MeasureName(benchmark.name, metric),
            items=len(items),
            available=len(every[metric, judged]),
            range=benchmark.ranges[metric],
            respects=("items", "answers", "judgements", "seeds") if judged else ("items", "answers", "seeds"),
            setting=f"benchmark.{label}.items_limit",
            answered=evaluation.GENERATE.named(label),
            judged=evaluation.GRADE.named(label) if judged else None,
        )
        for (metric, judged), items in held.items()
        if not any(items < others for others in held.values())
    ]


def _items_by_metric(benchmark: JudgedBenchmark, items: Sequence[Item]) -> dict[tuple[str, bool], set[str]]:
    """The items of each metric, by its name and whether it depends on the judge."""
    members: dict[tuple[str, bool], set[str]] = {}
    for item in items:
        for metric, score in benchmark.scores(item, Response.of_text(item.id, "-"), ()).items():
            members.setdefault((metric, score is None), set()).add(item.id)
    return members


def _without_judge(exp: Experiment, spreads: Mapping[MeasureName, Spread]) -> Iterator[PlannedMeasure]:
    """The held-out texts, and lm-eval's tasks, as far as finished runs have them."""
    for name in spreads if exp.scale.held_out_texts else ():
        if name == NLL:
            yield _free(name, exp.scale.held_out_texts, "scale.held_out_texts", probes.PERPLEXITY.named())
        elif name.benchmark == HELD_OUT and exp.scale.held_out_thinking_tokens is not None:
            answered = evaluation.HELD_OUT_SCORES.named()
            yield _free(name, exp.scale.held_out_texts, "scale.held_out_texts", answered)
    tasks = {name: benchmark for name, benchmark in exp.benchmarks.items() if isinstance(benchmark, LmEval)}
    for label, benchmark in tasks.items():
        for name, spread in spreads.items():
            if name.benchmark == benchmark.name and spread.items is not None:
                yield _free(name, spread.items, f"benchmark.{label}.limit", evaluation.HARNESS.named(label))


def _free(name: MeasureName, items: int, setting: str, answered: StepName) -> PlannedMeasure:
    """A measure that one training determines: neither answers nor judgements can be repeated."""
    return PlannedMeasure(
        name=name,
        items=items,
        available=None,
        range=None,
        respects=("items", "seeds"),
        setting=setting,
        answered=answered,
    )


def _spread_of(planned: PlannedMeasure, spreads: Mapping[MeasureName, Spread]) -> Spread:
    if planned.range is None:
        return spreads[planned.name]
    return spreads.get(planned.name) or assumed(*planned.range, judged=planned.judged is not None)


def _detection(planned: PlannedMeasure, costs: Costs, seeds: int, spread: Spread, wanted: float | None) -> Detection:
    design = Design(seeds=seeds, items=planned.items)
    least = detectable(spread.variances, design, spread.above_worst)
    return Detection(
        measure=planned.name,
        design=design,
        least=least,
        margin=equivalence_margin(*planned.range) if planned.range else None,
        spread=spread,
        wanted=wanted,
        offers=() if wanted is None or least <= wanted else _offers(planned, costs, design, spread, wanted),
    )


def _offers(planned: PlannedMeasure, costs: Costs, design: Design, spread: Spread, wanted: float) -> tuple[Offer, ...]:
    """Each single enlargement that is enough, the cheapest first: in money, or in hours where nothing costs money.
    Those of which there is no more come last."""
    usd, hours = prices(planned, costs)
    by = usd if usd.of(design) else hours
    bought = purchases(spread.variances, design, by, wanted, spread.above_worst)
    offers = [
        Offer(
            respect=purchase.respect,
            held=getattr(design, purchase.respect),
            needed=getattr(purchase.design, purchase.respect),
            hours=hours.of(purchase.design) - hours.of(design),
            usd=usd.of(purchase.design) - usd.of(design),
            how=_how(planned, purchase),
            possible=_is_possible(planned, purchase),
        )
        for purchase in bought
        if purchase.respect in planned.respects
    ]
    return tuple(sorted(offers, key=lambda offer: not offer.possible))


def _is_possible(planned: PlannedMeasure, purchase: Purchase) -> bool:
    """Answers and judgements cannot be repeated by any setting, and items only as far as there are more."""
    enough = planned.available is None or purchase.design.items <= planned.available
    return purchase.respect == "seeds" or (purchase.respect == "items" and enough)


def _how(planned: PlannedMeasure, purchase: Purchase) -> str:
    if purchase.respect == "seeds":
        return f"-m 'seed=range({purchase.design.seeds})'"
    if purchase.respect == "items":
        possible = _is_possible(planned, purchase)
        return f"{planned.setting}={purchase.design.items}" if possible else f"there are {planned.available}"
    return "no setting: each has one"


def prices(planned: PlannedMeasure, costs: Costs) -> tuple[Prices, Prices]:
    """What more of each costs for two arms like the composed one, in USD and in hours on the clock. A further training
    is probed and judged in all that the arm is, a further answer in this measure alone."""
    estimates = costs.all()
    known = {name: estimate.cost for name, estimate in estimates.items() if estimate.cost is not None}
    own = (planned.answered, planned.judged)
    before = costs.synthesis()
    training = total([cost for name, cost in known.items() if name not in before and name not in own])
    answer, judgement = (known.get(name, StageCost()) if name else StageCost() for name in own)
    return (
        _prices(training.usd, answer.usd, judgement.usd, planned.items),
        _prices(training.hours, answer.hours, judgement.hours, planned.items),
    )


def _prices(training: float, answers: float, judgements: float, items: int) -> Prices:
    """Of both arms, from the price of one training and of the answers and judgements of all items."""
    return Prices(training=2 * training, answer=2 * answers / items, judgement=2 * judgements / items)
