"""Numbers of a comparison as text, the same in the terminal and on the page."""

from __future__ import annotations

from evals.statistics.equivalence import MARGIN_SHARE
from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA
from evals.statistics.seeds import SeedsDifference
from experiments.report.compare import SeedsCell
from experiments.report.published import Published

EQUIVALENCE = f"{100 * MARGIN_SHARE:g} % of the measure's range"


def difference_text(d: Difference | None) -> str:
    """`+0.40 [-0.10, +0.90] p=0.12 (0.36) n=14 ≥0.7`: see `change_text`, `p_text` and `sample_text`."""
    return "" if d is None else " ".join(filter(None, [change_text(d), p_text(d, "p="), sample_text(d)]))


def change_text(d: Difference) -> str:
    """`+0.40 [-0.10, +0.90]`: the mean difference and its interval, where there is one."""
    return f"{d.mean:+.3g}" if d.low is None or d.high is None else f"{d.mean:+.3g} [{d.low:+.3g}, {d.high:+.3g}]"


def p_text(d: Difference, prefix: str = "") -> str:
    """`0.12 (0.36)`: p, and in brackets p by Holm's correction for all arms; over seeds also p for items alone."""
    if d.p is None:
        return ""
    holm = "" if d.p_holm is None else f" ({d.p_holm:.2g})"
    alone = f", items alone {d.p_items:.2g}" if isinstance(d, SeedsDifference) and d.p_items is not None else ""
    return f"{prefix}{d.p:.2g}{holm}{alone}"


def sample_text(d: Difference) -> str:
    """`n=14 ≥0.7`: the number of items, and the difference that so large a sample detects in four of five cases; over
    seeds also their number and the standard deviation between them."""
    over = isinstance(d, SeedsDifference)
    count = f"n={d.items}×{d.seeds} seeds" if over else f"n={d.items}"
    spread = f" sd={d.seed_sd:.2g}" if over and d.seed_sd is not None else ""
    detectable = f" ≥{d.minimum_detectable:.2g}" if d.p is not None and d.minimum_detectable is not None else ""
    return f"{count}{spread}{detectable}"


def finding_text(d: Difference | None) -> str:
    """The conclusion from a difference. A p that is not small is `undecided`, never no effect."""
    if d is None or d.finding is None:
        return ""
    within = f"within ±{d.margin:.3g}" if d.margin is not None else ""
    if d.finding == "different":
        small = d.p_equivalent_holm is not None and d.p_equivalent_holm < ALPHA
        return f"different, but {within}" if small else "different"
    return f"equivalent {within}" if d.finding == "equivalent" else "undecided"


def seeds_text(cell: SeedsCell) -> str:
    """`5.4 ± 0.2 (3 seeds)`: mean and standard deviation of the scores of the seeds."""
    if cell.mean is None:
        return "withheld"
    spread = f" ± {cell.deviation:.2g}" if cell.deviation is not None else ""
    return f"{cell.mean:.4g}{spread} ({len(cell.values)} seed{'s' if len(cell.values) > 1 else ''})"


def published_text(p: Published | None) -> str:
    """`paper 7.22 (WB-A, judge Claude 3.7; here NAME)`."""
    if p is None:
        return ""
    note = f"; {p.note}" if p.note else ""
    return f"paper {p.value:.4g} ({p.column}, judge {p.judge}; here {p.judge_here}{note})"
