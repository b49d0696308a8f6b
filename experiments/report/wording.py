"""The numbers of a comparison as words, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.statistics.equivalence import MARGIN_SHARE
from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA
from evals.statistics.seeds import SeedsDifference
from experiments.report.compare import SeedsCell
from experiments.report.published import Published

EQUIVALENCE = f"{100 * MARGIN_SHARE:g} % of the measure's range"


def score(measure: Mapping[str, Any]) -> str:
    """A measure with its coverage, and what it could be at least and at most where that is not all; a withheld headline
    shows the mean of what was scored, in brackets."""
    cover = f"{measure['scored']}/{measure['total']}{bounds(measure)}"
    if measure["value"] is not None:
        return f"{measure['value']:.4g} ({cover})"
    if measure["mean_of_scored"] is None:
        return f"unscored (0/{measure['total']})"
    return f"withheld [{measure['mean_of_scored']:.4g} of {cover}]"


def bounds(measure: Mapping[str, Any]) -> str:
    """`, 4.1–5.9`: the score if all that is missing were the worst, and the best; empty at full coverage."""
    if measure["scored"] == measure["total"] or measure["low"] is None or measure["high"] is None:
        return ""
    return f", {measure['low']:.3g}–{measure['high']:.3g}"


def difference_text(d: Difference | None) -> str:
    """`+0.40 [-0.10, +0.90] p=0.12 (0.36) n=14 ≥0.7`: in brackets Holm's, at the end what could have been detected.
    Over seeds also their number, the deviation between them, and p of the items alone."""
    if d is None:
        return ""
    over = isinstance(d, SeedsDifference)
    count = f"n={d.items}×{d.seeds} seeds" if over else f"n={d.items}"
    spread = f" sd={d.seed_sd:.2g}" if over and d.seed_sd is not None else ""
    if d.low is None or d.high is None or d.p is None or d.minimum_detectable is None:
        return f"{d.mean:+.3g} {count}{spread}"
    family = "" if d.p_holm is None else f" ({d.p_holm:.2g})"
    alone = f", items alone {d.p_items:.2g}" if over and d.p_items is not None else ""
    interval = f"[{d.low:+.3g}, {d.high:+.3g}]"
    return f"{d.mean:+.3g} {interval} p={d.p:.2g}{family}{alone} {count}{spread} ≥{d.minimum_detectable:.2g}"


def finding_text(d: Difference | None) -> str:
    """What may be said of a difference. A p that is not small is `undecided`, never no effect."""
    if d is None or d.finding is None:
        return ""
    within = f"within ±{d.margin:.3g}" if d.margin is not None else ""
    if d.finding == "different":
        small = d.p_equivalent_holm is not None and d.p_equivalent_holm < ALPHA
        return f"different, but {within}" if small else "different"
    return f"equivalent {within}" if d.finding == "equivalent" else "undecided"


def seeds_text(cell: SeedsCell) -> str:
    """`5.4 ± 0.2 (3 seeds)`: mean and standard deviation of the seeds' headlines."""
    if cell.mean is None:
        return "withheld"
    spread = f" ± {cell.deviation:.2g}" if cell.deviation is not None else ""
    return f"{cell.mean:.4g}{spread} ({len(cell.values)} seed{'s' if len(cell.values) > 1 else ''})"


def published_text(p: Published | None) -> str:
    """`paper 7.22 (WB-A, judge Claude 3.7; ours NAME)`."""
    if p is None:
        return ""
    note = f"; {p.note}" if p.note else ""
    return f"paper {p.value:.4g} ({p.column}, judge {p.judge}; ours {p.our_judge}{note})"
