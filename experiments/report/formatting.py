"""Numbers of a comparison as text, the same in the terminal and on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from evals.benchmark import Measure, OfficialScore
from evals.statistics.agreement import Interval
from evals.statistics.equivalence import MARGIN_SHARE
from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA
from evals.statistics.seeds import SeedsDifference
from experiments.contracts.conditions import Conditions
from experiments.contracts.confounds import Flag, at_seeds
from experiments.report.compare import SeedsCell
from experiments.report.published import Published
from experiments.store.fingerprint import Json
from experiments.store.metrics import number

LONG = 40  # characters of a setting: longer ones are texts
SMALLEST_P = 0.0001  # a smaller p-value is not worth its digits
EQUIVALENCE = f"{100 * MARGIN_SHARE:g} % of the measure's range"


def difference_text(difference: Difference | None) -> str:
    """`+0.40 [-0.10, +0.90] p=0.12 (0.36) n=14 ≥0.7`: see `change_text`, `p_text` and `sample_text`."""
    if difference is None:
        return ""
    parts = (change_text(difference), p_text(difference, "p="), sample_text(difference))
    return " ".join(filter(None, parts))


def change_text(difference: Difference) -> str:
    """`+0.40 [-0.10, +0.90]`: the mean difference and its interval, where there is one; `~+0.40 [-0.10, +0.90]` where
    it is estimated together with those of the other parts of its benchmark."""
    shown = difference.shrunk or difference
    return f"{'~' if difference.shrunk else ''}{interval_text(shown.mean, shown.low, shown.high)}"


def interval_text(mean: float, low: float | None, high: float | None) -> str:
    """`+0.40 [-0.10, +0.90]`, each number in three digits."""
    first, *ends = (f"{value:+#.3g}".rstrip(".") for value in (mean, low, high) if value is not None)
    return f"{first} [{', '.join(ends)}]" if len(ends) == 2 else first


def count_text(count: int, noun: str) -> str:
    """`1 test`, `3 tests`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain_score(value: float) -> str:
    """`6.214`, `6.000`: a score in four digits, so that those of a column are equally precise."""
    return f"{value:#.4g}".rstrip(".")


def seeds_legend(baseline: str) -> str:
    """What the entries of a table over seeds mean."""
    return (
        f"mean ± standard deviation between seeds; difference from {baseline}, interval and p for new seeds and items "
        "(items alone: for these trained models); sd: of the difference between seeds; ≥ the difference that this many "
        "seeds and items can detect"
    )


def p_text(difference: Difference, prefix: str = "") -> str:
    """`0.12 (0.36)`: p, and in brackets p by Holm's correction; over seeds also p for items alone."""
    if difference.p is None:
        return ""
    holm = "" if difference.p_holm is None else f" ({difference.p_holm:.2g})"
    alone = (
        f", items alone {difference.p_items:.2g}"
        if isinstance(difference, SeedsDifference) and difference.p_items is not None
        else ""
    )
    return f"{prefix}{difference.p:.2g}{holm}{alone}"


def sample_text(difference: Difference) -> str:
    """`n=14 ≥0.7`: the number of items, and the difference that so large a sample detects in four of five cases; over
    seeds also their number and the standard deviation between them."""
    over = isinstance(difference, SeedsDifference)
    count = f"n={difference.items}×{difference.seeds} seeds" if over else f"n={difference.items}"
    spread = f" sd={difference.seed_sd:.2g}" if over and difference.seed_sd is not None else ""
    detectable = (
        f" ≥{difference.minimum_detectable:.2g}"
        if difference.p is not None and difference.minimum_detectable is not None
        else ""
    )
    return f"{count}{spread}{detectable}"


def finding_text(difference: Difference | None) -> str:
    """The conclusion from a difference. A p that is not small is `undecided`, never no effect."""
    if difference is None or difference.finding is None:
        return ""
    within = f"within ±{difference.margin:.3g}" if difference.margin is not None else ""
    if difference.finding == "different":
        small = difference.p_equivalent_holm is not None and difference.p_equivalent_holm < ALPHA
        return f"different, but {within}" if small else "different"
    if difference.finding == "equivalent":
        return f"equivalent {within}"
    return "undecided: fragile" if difference.undone_by_one else difference.finding


def brief_score(measure: Measure | None) -> str:
    """`5.929`, with its coverage where that is incomplete: `5.9 (13/14)`, `withheld (3/14)`, `unscored (0/14)`."""
    if measure is None:
        return "not run"
    cover = "" if measure.scored == measure.total else f" ({measure.scored}/{measure.total})"
    if measure.value is not None:
        return f"{plain_score(measure.value)}{cover}"
    return f"withheld{cover}" if measure.scored else f"unscored{cover}"


def official_text(score: OfficialScore | None) -> str:
    """`50.78 (16/20)`: a number of the benchmark's own scripts, with how many of its items they count."""
    return "" if score is None else f"{plain_score(score.value)} ({score.counted}/{score.total})"


def brief_finding(difference: Difference) -> str:
    """`different`, `undecided`, `not tested`: the conclusion, also where there is none."""
    return "undecided" if difference.finding == "undecided" else finding_text(difference) or "not tested"


def brief_reason(difference: Difference) -> str:
    """`p 0.004`, `p 0.58, detects ≥ 1.8`, `2 items`: the corrected p-value that the conclusion rests on, and where it
    is open the difference that this many items would show. `p 0.004, fragile, detects ≥ 1.8`: see
    `Difference.fragile`."""
    if difference.finding is None:
        return f"{difference.items} items"
    p = difference.p_equivalent_holm if difference.finding == "equivalent" else difference.p_holm
    least = difference.minimum_detectable if difference.finding == "undecided" else None
    texts = (
        "" if p is None else brief_p(p),
        "fragile" if difference.undone_by_one else "",
        "" if least is None else f"detects ≥ {least:.2g}",
    )
    return ", ".join(filter(None, texts))


def brief_p(p: float) -> str:
    """`p 0.004`, `p < 0.0001`."""
    return f"p {p:.2g}" if p >= SMALLEST_P else f"p < {SMALLEST_P:.4f}"


def brief_changes(changed: Sequence[str]) -> str:
    """`search.max_edits 10 → 0`: what an arm changed, without the names of choices whose content is listed."""
    lines = [re.sub(r": (.*) -> ", r" \1 → ", text, count=1) for text in changed]
    content = [text for text in lines if not text.split(" ")[0].endswith(".name")]
    return "; ".join(content or lines)


def settings(identity: Mapping[str, Json], path: str = "") -> Iterator[str]:
    """`temperature 0.5`, `model.kind ScriptedModel`: the settings of a part, without long texts."""
    for name, value in identity.items():
        if isinstance(value, dict):
            yield from settings(value, f"{path}{name}.")
        elif len(str(value)) <= LONG and (path or name != "kind"):
            yield f"{path}{name} {value}"


def shared_text(overrides: Sequence[str]) -> str:
    """What the labels of the arms leave out."""
    return f"Overrides of all arms, left out of their names: {', '.join(overrides)}"


def flag_text(flag: Flag) -> str:
    """`rows 4 vs 10 (0.4 ×)`: a flagged confound of an arm beside the baseline's."""
    ratio = "" if flag.ratio is None else f" ({ratio_text(flag)})"
    return f"{flag.label} {number(flag.here)} vs {number(flag.baseline)}{ratio}{at_seeds(flag.seeds)}"


def ratio_text(flag: Flag) -> str:
    """`0.4 ×`: a flagged confound as a multiple of the baseline's; `from 0` where that is zero."""
    return "from 0" if flag.ratio is None else f"{flag.ratio:.2g} ×"


def controls_text(arm: Conditions) -> str:
    """The matched arm that would tell a finding from its confounds, and what the baseline took from its training on."""
    controls = list(dict.fromkeys(flag.control for flag in arm.flags if flag.control))
    took = "" if arm.control_seconds is None else f", about {duration(arm.control_seconds)}"
    return f"the same arm with {' or '.join(controls)}{took}" if controls else ""


def duration(seconds: float) -> str:
    """`4 min 8 s`, or hours and minutes from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def seeds_text(cell: SeedsCell) -> str:
    """`5.4 ± 0.2 (3 seeds)`: see `mean_text`, with the number of seeds that have a score."""
    count = len(cell.values)
    return mean_text(cell) if cell.value is None else f"{mean_text(cell)} ({count} seed{'s' if count > 1 else ''})"


def mean_text(cell: SeedsCell) -> str:
    """`5.4 ± 0.2`: mean and standard deviation of the scores of the seeds."""
    if cell.value is None:
        return "withheld"
    return plain_score(cell.value) + (f" ± {cell.deviation:.2g}" if cell.deviation is not None else "")


def published_text(published: Published | None) -> str:
    """`paper 7.22 (WB-A, judge Claude 3.7; here NAME)`, with `; by the judge here 6.9 [6.7, 7.1]` where a bridge is
    stored."""
    if published is None:
        return ""
    judges = f"judge {published.judge}; here {published.judge_here}"
    note = f"; {published.note}" if published.note else ""
    placed = f"; by the judge here {placed_text(published.placed)}" if published.placed else ""
    return f"paper {published.value:.4g} ({published.column}, {judges}{note}){placed}"


def placed_text(interval: Interval) -> str:
    """`6.9 [6.7, 7.1]`."""
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
