"""Numbers of a comparison as text, the same in the terminal and on the page."""

from __future__ import annotations

from evals.statistics.equivalence import MARGIN_SHARE
from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA
from evals.statistics.seeds import SeedsDifference
from experiments.report.compare import SeedsCell
from experiments.report.published import Published

EQUIVALENCE = f"{100 * MARGIN_SHARE:g} % of the measure's range"


def difference_text(difference: Difference | None) -> str:
    """`+0.40 [-0.10, +0.90] p=0.12 (0.36) n=14 ≥0.7`: see `change_text`, `p_text` and `sample_text`."""
    if difference is None:
        return ""
    parts = (change_text(difference), p_text(difference, "p="), sample_text(difference))
    return " ".join(filter(None, parts))


def change_text(difference: Difference) -> str:
    """`+0.40 [-0.10, +0.90]`: the mean difference and its interval, where there is one."""
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.3g}"
    return f"{difference.mean:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]"


def p_text(difference: Difference, prefix: str = "") -> str:
    """`0.12 (0.36)`: p, and in brackets p by Holm's correction for all arms; over seeds also p for items alone."""
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
    return f"equivalent {within}" if difference.finding == "equivalent" else "undecided"


def seeds_text(cell: SeedsCell) -> str:
    """`5.4 ± 0.2 (3 seeds)`: mean and standard deviation of the scores of the seeds."""
    if cell.mean is None:
        return "withheld"
    spread = f" ± {cell.deviation:.2g}" if cell.deviation is not None else ""
    return f"{cell.mean:.4g}{spread} ({len(cell.values)} seed{'s' if len(cell.values) > 1 else ''})"


def published_text(published: Published | None) -> str:
    """`paper 7.22 (WB-A, judge Claude 3.7; here NAME)`."""
    if published is None:
        return ""
    note = f"; {published.note}" if published.note else ""
    return (
        f"paper {published.value:.4g} ({published.column}, judge {published.judge}; here {published.judge_here}{note})"
    )
