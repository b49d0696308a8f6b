"""Arms side by side in the terminal."""

from __future__ import annotations

from evals.statistics.paired import Difference
from experiments.report import formatting
from experiments.report.compare import Comparison, SeedsComparison
from experiments.report.console import line, table, table_by_arms
from experiments.report.tables import ProbeTable, confound_table, probe_tables
from experiments.stages.evaluation import score_text


def comparison(compared: Comparison) -> None:
    """Arms side by side: scores with paired differences, confounds, probes, changed configuration, cautions, and the
    comparison over seeds."""
    base = compared.arms[0].name
    for name in compared.measures:
        _measure(compared, name)
    line(
        f"score: value (scored/all items, and its bounds where some are missing); difference: paired with {base}, 95 % "
        "interval; p (corrected by Holm for all arms); n: items, ≥ the difference they can detect; equivalent: within "
        f"{formatting.EQUIVALENCE}"
    )
    confounds = confound_table(compared)
    table_by_arms(f"confounds, scale {compared.scale}, seed {compared.seed}", confounds.columns[1:], confounds.rows)
    for probe in probe_tables(compared):
        _probe(probe)
    for arm in compared.arms:
        for changed in arm.changed:
            line(f"{arm.name}: {changed}")
    for arm in compared.arms:
        if arm.no_op:
            line(f"{arm.name}: trained on the same tokens as {base}: this ablation changed nothing")
    for caution in compared.cautions:
        line(caution)
    if compared.over_seeds:
        _over_seeds(compared.over_seeds)


def _measure(compared: Comparison, name: str) -> None:
    """One measure: a row for each arm."""
    rows: list[tuple[str, ...]] = []
    for arm in compared.arms:
        cell = arm.cells[name]
        score = score_text(cell.measure).replace(" (", "\n(") if cell.measure else "not run"
        texts = [score, formatting.published_text(cell.published)]
        rows.append((arm.name, "\n".join(filter(None, texts)), *_difference_cells(cell.difference)))
    table(
        f"{name}, scale {compared.scale}, seed {compared.seed}",
        ("arm", "score", "difference", "p", "n", "conclusion"),
        rows,
    )


def _difference_cells(difference: Difference | None) -> tuple[str, str, str, str]:
    if difference is None:
        return "", "", "", ""
    change = formatting.change_text(difference).replace(" [", "\n[").replace(", ", ",")  # the interval stays whole
    p, sample = formatting.p_text(difference), formatting.sample_text(difference)
    return change, p.replace(" (", "\n("), sample.replace(" ", "\n"), formatting.finding_text(difference)


def _over_seeds(compared: SeedsComparison) -> None:
    seeds = ", ".join(map(str, compared.seeds))
    for name in compared.measures if compared.arms else ():
        rows = [
            (arm.name, formatting.seeds_text(cell), *_difference_cells(cell.difference))
            for arm in compared.arms
            if (cell := arm.cells[name])
        ]
        head = ("arm", "mean ± sd", "difference", "p", "n", "conclusion")
        table(f"{name}, scale {compared.scale}, over seeds {seeds}", head, rows)
    if compared.arms:
        line(
            f"mean ± standard deviation between seeds; difference from {compared.arms[0].name}, interval and p for new "
            "seeds and items (items alone: for these trained models); sd: of the difference between seeds; ≥ the "
            "difference that this many seeds and items can detect"
        )
    for reason in compared.left_out:
        line(reason)


def _probe(probe: ProbeTable) -> None:
    differing, same = probe.compact()
    if differing:
        table_by_arms(probe.title, probe.arms, [(label, *cells) for label, cells in differing])
    if same:
        line(f"{probe.title}, the same in all arms: {'; '.join(same)}")
    for note in probe.notes:
        line(note)
