"""The verdicts on claims in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from experiments.report.claims.expressions import BASELINE, Outcome
from experiments.report.claims.verdicts import ClaimVerdict, ComparisonVerdict, Part, SpreadVerdict
from experiments.report.console import line, paragraph, table
from experiments.report.formatting import brief_p, duration, interval_text

OUTCOMES: tuple[Outcome, ...] = ("supported", "contradicted", "undecided")
SIGNS = {"less": "<", "greater": ">", "equivalent": "="}


def claims_table(title: str, verdicts: Sequence[ClaimVerdict]) -> None:
    """One row for each claim, then what each rests on."""
    table(f"{title}: {counted(verdicts)}", ("claim", "verdict"), [(v.claim, v.outcome) for v in verdicts])
    line("")
    for verdict in verdicts:
        paragraph(f"{verdict.claim}: {verdict.says} {verdict.outcome.capitalize()}.")
        for text in reasons(verdict):
            paragraph(text, "  ")
    paragraph(
        "difference: mean and simultaneous interval over the comparisons of the claim; p: corrected by Holm for them; "
        f"{BASELINE}: the arm that the others are compared with"
    )


def counted(verdicts: Sequence[ClaimVerdict]) -> str:
    """`1 of 8 claims supported, 0 contradicted, 7 undecided`."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    first, *others = (f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
    number, word = first.split(" ")
    return ", ".join([f"{number} of {len(verdicts)} claims {word}", *others])


def reasons(verdict: ClaimVerdict) -> Iterator[str]:
    """Each comparison of a claim in words, what would decide it, and what else may explain it."""
    if not verdict.parts:
        yield "no run here took any of its measures"
    for part in verdict.parts:
        yield _in_words(part)
    if verdict.confounded_by:
        yield f"confounded by: {', '.join(verdict.confounded_by)}"


def _in_words(part: Part) -> str:
    return _spread(part) if isinstance(part, SpreadVerdict) else _comparison(part)


def _comparison(part: ComparisonVerdict) -> str:
    asked = part.asked
    stated = f"{asked.arm} {SIGNS[asked.relation]} {asked.than} in {asked.measure}: {part.outcome}"
    if part.mean is None:
        return f"{stated}, {part.why}"
    p = part.p_equivalent if asked.relation == "equivalent" else part.p
    found = [interval_text(part.mean, part.low, part.high), "" if p is None else brief_p(p), part.why]
    return ", ".join(filter(None, [stated, *found, _needed(part)]))


def _needed(part: ComparisonVerdict) -> str:
    need = part.needed
    if need is None or need.items <= part.items:
        return ""
    seeds = "" if need.seeds is None else f" or {need.seeds} seeds"
    took = "" if need.seconds is None else f", {duration(need.seconds)} more"
    return f"a difference of {need.difference:.2g} wants {need.items} items{seeds} (has {part.items} items{took})"


def _spread(part: SpreadVerdict) -> str:
    asked = part.asked
    stated = f"{asked.arm} differs from {asked.than} unevenly by {asked.by} in {', '.join(asked.measures)}"
    if part.p is None:
        return f"{stated}: {part.outcome}, {part.why}"
    groups = "; ".join(f"{g.group} {100 * g.shrunk:+.2g} (n {g.items})" for g in part.groups)
    return f"{stated}: {part.outcome}, {brief_p(part.p)}; shrunk, in % of the range: {groups}"
