"""What was found: the verdict in words, the differences as plots, and the table of arms, seeds aggregated first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from evals.benchmark import Measure
from evals.statistics.paired import Difference
from experiments.metrics.evaluation import bounds_text
from experiments.report import formatting
from experiments.report.compare import Arm, Cell, SeedsCell, SeedsComparison
from experiments.report.page import charts
from experiments.report.page.charts import ACCENT, GRID, ROW, SOFT, TEXT, Row
from experiments.report.page.study import Effect, Study, is_better

if TYPE_CHECKING:
    import altair as alt


Outcome = Literal["different", "equivalent", "undecided", "not tested"]
ALONE: Mapping[Outcome, str] = {
    "different": "{} differs from {}.",
    "equivalent": "{} is equivalent to {}.",
    "undecided": "Whether {} differs from {} is undecided.",
    "not tested": "{} was not tested against {}.",
}


@dataclass(frozen=True)
class Verdict:
    """What a study found in one sentence, each arm that differs in words, and the limits of what it means."""

    sentence: str
    differing: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreView:
    """One cell of the table of arms. `finding` is also the CSS class of `finding_text`."""

    measure: str
    score: str
    coverage: str
    published: str = ""
    change: str = ""
    detail: str = ""
    finding: str = ""
    finding_text: str = ""


@dataclass(frozen=True)
class ArmView:
    """One row of the table of arms. `alone` is the one seed of an arm that is not aggregated where others are."""

    name: str
    is_baseline: bool
    alone: str
    cells: tuple[ScoreView, ...]


@dataclass(frozen=True)
class SeedView:
    """The table of arms at one seed."""

    seed: int
    arms: tuple[ArmView, ...]


@dataclass(frozen=True)
class ScoresView:
    """The section. `aggregated` says over which seeds the first table is; `equal` are the measures that have one value
    in every run, which the tables leave out."""

    verdict: Verdict
    plots: tuple[Markup, ...]
    measures: tuple[str, ...]
    equal: tuple[str, ...]
    arms: tuple[ArmView, ...]
    aggregated: str
    by_seed: tuple[SeedView, ...]
    left_out: tuple[str, ...]


def scores_view(study: Study) -> ScoresView:
    """Verdict, plots and tables of one study."""
    over, equal = study.over_seeds, _equal(study)
    shown = tuple(name for name in study.measures if name not in equal)
    by_seed = (
        tuple(SeedView(c.seed, tuple(_at_seed(arm, shown) for arm in c.arms)) for c in study.comparisons)
        if len(study.seeds) > 1
        else ()
    )
    every = study.comparisons[-1].over_seeds
    return ScoresView(
        verdict=verdict(study),
        plots=tuple(_plots(study)),
        measures=shown,
        equal=tuple(f"{name} {text}" for name, text in equal.items()),
        arms=tuple(_aggregated(study, name, shown) for name in study.arms),
        aggregated=_aggregation(over) if over else f"of seed {study.comparisons[0].seed}",
        by_seed=by_seed,
        left_out=every.left_out if every else (),
    )


def _aggregation(over: SeedsComparison) -> str:
    seeds = ", ".join(map(str, over.seeds))
    return f"over seeds {seeds}: {formatting.seeds_legend(over.arms[0].label)}"


def verdict(study: Study) -> Verdict:
    """What the arms' differences from the baseline support."""
    others = [name for name in study.arms if name != study.baseline]
    effects = {name: [e for m in study.measures for e in study.effects(m) if e.arm == name] for name in others}
    found: dict[str, Outcome] = {name: _outcome(of_arm) for name, of_arm in effects.items()}
    differing = {name: [e for e in effects[name] if _finding(e) == "different"] for name in others}
    lines = [f"{name}: {'; '.join(map(_in_words, of_arm))}" for name, of_arm in differing.items() if of_arm]
    return Verdict(_sentence(study.baseline, found), tuple(lines), tuple(_limits(study)))


def _finding(effect: Effect) -> str | None:
    return effect.difference.finding if effect.difference else None


def _outcome(effects: Sequence[Effect]) -> Outcome:
    """An arm differs if one of its measures does, and is equivalent if all are that were tested."""
    findings = {finding for effect in effects if (finding := _finding(effect))} - {"exploratory"}
    if "different" in findings:
        return "different"
    return "not tested" if not findings else "equivalent" if findings == {"equivalent"} else "undecided"


def _sentence(baseline: str | None, found: Mapping[str, Outcome]) -> str:
    if baseline is None:
        return "No baseline is among these runs, so nothing was compared."
    if not found:
        return f"Only {baseline} was run, so nothing was compared."
    if len(found) == 1:
        ((name, outcome),) = found.items()
        return ALONE[outcome].format(name, baseline)
    counted = Counter(found.values())
    differing = counted.pop("different", 0)
    verb = "differ" if differing > 1 else "differs"
    left = [f"{count} {'is' if count == 1 else 'are'} {outcome}" for outcome, count in sorted(counted.items())]
    rest = f"; {_listed(left)}" if left else ""
    return f"{differing or 'None'} of {len(found)} arms {verb} from {baseline}{rest}."


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _in_words(effect: Effect) -> str:
    """`writing/length -12.1 (-14.8 to -9.4), worse`."""
    change = effect.difference
    assert change is not None, "an effect with a finding has a difference"
    better = is_better(effect.cell.measure, change.mean)
    judged = "" if better is None else ", better" if better else ", worse"
    interval = "" if change.low is None or change.high is None else f" ({change.low:+.3g} to {change.high:+.3g})"
    return f"{effect.measure} {change.mean:+.3g}{interval}{judged}"


def _limits(study: Study) -> list[str]:
    """Why these findings mean less than they seem to, from what was measured."""
    return [*study.cautions, *filter(None, [_detectable(study), _few_seeds(study)])]


def _detectable(study: Study) -> str:
    """The true differences that so many prompts can show, from that of the arm with least noise to that with most."""
    least: list[str] = []
    for name in study.headlines:
        found = [d.minimum_detectable for e in study.effects(name) if (d := e.difference) and d.minimum_detectable]
        ends = dict.fromkeys(f"{end:.2g}" for end in (min(found), max(found))) if found else ()
        least += [f"{' to '.join(ends)} in {name}"] if ends else []
    if not least:
        return ""
    return (
        f"Undecided does not mean equal: with so few prompts, differences below {_listed(least)} (by arm, without "
        "Holm's correction) are often missed."
    )


def _few_seeds(study: Study) -> str:
    if len(study.seeds) > 1 or len(study.arms) < 2:
        return ""
    return "Every arm was trained once: another seed may order the arms differently."


def _plots(study: Study) -> list[Markup]:
    plots: list[Markup] = []
    for name in study.headlines:
        effects = [effect for effect in study.effects(name) if effect.difference]
        if any(effect.difference and effect.difference.mean for effect in effects):
            unit = _unit(next((e.cell.measure for e in effects if e.cell.measure), None))
            chart = forest([forest_row(effect) for effect in effects], unit)
            plots.append(charts.figure(chart, name, _forest_finding(study, effects)))
    return plots


def _unit(measure: Measure | None) -> str:
    if measure is None or measure.worst is None or measure.best is None:
        return "difference from the baseline"
    low, high = sorted((measure.worst, measure.best))
    return f"difference from the baseline, on {low:g} to {high:g}"


def forest_row(effect: Effect) -> Row:
    """What is plotted of one arm: its difference, the interval, the margin around zero, the paper's difference."""
    change = effect.difference
    assert change is not None, "only effects with a difference are plotted"
    decided, shown = change.finding or "not tested", change.shrunk or change
    row = {"arm": effect.arm, "mean": shown.mean, "low": shown.low, "high": shown.high, "finding": decided}
    below = None if change.margin is None else -change.margin
    return {**row, "published": effect.published, "from": below, "to": change.margin}


def _forest_finding(study: Study, effects: Sequence[Effect]) -> str:
    different = [e.arm for e in effects if _finding(e) == "different"]
    what = f"differs from {study.baseline}: {', '.join(different)}" if different else "no arm differs"
    published = "; hollow: the paper’s difference" if any(e.published is not None for e in effects) else ""
    band = "; grey: too small to matter" if any(e.difference and e.difference.margin for e in effects) else ""
    return f"Mean difference and its 95 % interval; {what}{band}{published}."


def forest(rows: Sequence[Row], unit: str) -> alt.LayerChart:
    """Differences by arm with their intervals around zero; the paper's differences as hollow diamonds."""
    import altair as alt

    base = alt.Chart(charts.data(rows)).encode(y=charts.in_order(rows, "arm"))
    colour = alt.Color(
        "finding:N",
        legend=None,
        scale=alt.Scale(
            domain=["different", "equivalent", "undecided", "exploratory", "not tested"],
            range=[ACCENT.light, TEXT.light, SOFT.light, SOFT.light, SOFT.light],
        ),
    )
    x = alt.X("mean:Q", title=unit, axis=charts.change_axis())
    band = base.mark_rect(color=GRID.light, opacity=0.6).encode(x=alt.X("from:Q", title=unit), x2="to:Q")
    zero = alt.Chart(charts.data([{"zero": 0}])).mark_rule(color=TEXT.light, strokeWidth=1).encode(x="zero:Q")
    interval = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=unit), x2="high:Q", color=colour)
    mean = base.mark_point(size=70).encode(x=x, color=colour)
    published = base.mark_point(shape="diamond", size=90, filled=False, stroke=TEXT.light, strokeWidth=1.4)
    label = base.mark_text(dy=-9, fontSize=10, color=TEXT.light).encode(x=x, text=alt.Text("mean:Q", format="+.3~r"))
    layers = [band, zero, interval, mean, label, published.encode(x="published:Q")]
    return charts.layered(layers, height=alt.Step(ROW + 6))


def _equal(study: Study) -> dict[str, str]:
    """The measures that have one value in all of several arms, and untested differences, with that value: they say
    nothing about the arms. None where no other measure would be left."""
    values: dict[str, str] = {}
    for name in study.measures if len(study.arms) > 1 else ():
        cells = [arm.cells.get(name, Cell(None, None)) for _, arm in study.runs()]
        texts = {" ".join(_texts(cell)) for cell in cells}
        if len(texts) == 1 and all(cell.difference is None or cell.difference.p is None for cell in cells):
            values[name] = texts.pop()
    return values if len(values) < len(study.measures) else {}


def _aggregated(study: Study, name: str, shown: Sequence[str]) -> ArmView:
    effects = [next(e for e in study.effects(measure) if e.arm == name) for measure in shown]
    single = {seed for effect in effects for seed in effect.seeds if len(effect.seeds) == 1}
    alone = f"seed {min(single)} alone" if study.over_seeds and single else ""
    return ArmView(name, name == study.baseline, alone, tuple(map(_cell, effects)))


def _cell(effect: Effect) -> ScoreView:
    published = formatting.published_text(effect.cell.published)
    return _view(effect.measure, *_texts(effect.cell), published, effect.difference)


def _view(measure: str, score: str, coverage: str, published: str, change: Difference | None) -> ScoreView:
    return ScoreView(
        measure=measure,
        score=score,
        coverage=coverage,
        published=published,
        change=formatting.change_text(change) if change else "",
        detail=" ".join(filter(None, [formatting.p_text(change, "p="), formatting.sample_text(change)]))
        if change
        else "",
        finding=(change.finding if change else None) or "",
        finding_text=formatting.finding_text(change),
    )


def _at_seed(arm: Arm, shown: Sequence[str]) -> ArmView:
    cells: list[ScoreView] = []
    for name in shown:
        cell = arm.cells.get(name, Cell(None, None))
        published = formatting.published_text(cell.published)
        cells.append(_view(name, *_texts(cell), published, cell.difference))
    return ArmView(arm.label, arm.is_baseline, "", tuple(cells))


def _texts(cell: Cell | SeedsCell) -> tuple[str, str]:
    """The score and its coverage, with the number of the benchmark's own scripts where there is one; over seeds the
    mean and the items of all."""
    if isinstance(cell, SeedsCell) and cell.measure:
        score, coverage = formatting.mean_text(cell), f"{cell.scored}/{cell.total}"
    else:
        score, coverage = score_texts(cell.measure)
    official = formatting.official_text(cell.official)
    return score, f"{coverage}; official {official}" if official else coverage


def score_texts(measure: Measure | None) -> tuple[str, str]:
    """The score, empty where there is none, and how much of the benchmark it covers."""
    if measure is None:
        return "", "not run"
    cover = f"{measure.scored}/{measure.total}{bounds_text(measure)}"
    if measure.value is not None:
        return f"{measure.value:.4g}", cover
    if measure.mean_of_scored is not None:
        return "", f"withheld: {measure.mean_of_scored:.4g} of {cover} scored"
    return "", f"unscored 0/{measure.total}"
