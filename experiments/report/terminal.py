"""Arms side by side in the terminal: the answer on one screen, and on request everything behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evals.statistics.paired import Difference
from experiments.contracts.conditions import Conditions
from experiments.metrics.evaluation import score_text
from experiments.report import formatting
from experiments.report.compare import Arm, Cell, Comparison, SeedsCell, SeedsComparison
from experiments.report.console import (
    NAME_WIDTH,
    PADDING,
    console,
    folded,
    line,
    paragraph,
    parts,
    table,
    table_by_arms,
)
from experiments.report.tables import ProbeTable, confound_table, probe_tables
from experiments.store.metrics import counts

if TYPE_CHECKING:
    from experiments.report.exports.where import Source

MEASURE_WIDTH = 16  # characters of a measure's name at the head of a column


@dataclass(frozen=True)
class ShownArm:
    """One arm of the short form, at one seed or over several: by measure its cell, and its score as text."""

    arm: Conditions
    cells: Mapping[str, Cell] | Mapping[str, SeedsCell]
    scores: Mapping[str, str]

    def difference(self, measure: str) -> Difference | None:
        return self.cells[measure].difference


def comparison(compared: Comparison) -> None:
    """The short form: a table of scores and differences, then for each arm what was found, what was changed and which
    confounds are flagged. Seeds that are repetitions are shown once, together."""
    over = compared.over_seeds
    if over is not None and over.arms:
        seeds = ", ".join(map(str, over.seeds))
        shown = [
            ShownArm(row, row.cells, {name: formatting.mean_text(cell) for name, cell in row.cells.items()})
            for row in over.arms
        ]
        _brief(compared, over, shown, f"{compared.setting}, mean ± deviation over seeds {seeds}")
    elif not compared.is_repetition:
        shown = [
            ShownArm(arm, arm.cells, {name: formatting.brief_score(cell.measure) for name, cell in arm.cells.items()})
            for arm in compared.arms
        ]
        _brief(compared, compared, shown, f"{compared.setting}, seed {compared.seed}")


def _brief(compared: Comparison, family: Comparison | SeedsComparison, shown: Sequence[ShownArm], title: str) -> None:
    same = [name for name in family.measures if _is_the_same_everywhere(name, shown)]
    measures = [name for name in family.measures if name not in same]
    _scores(f"{title}: {len(shown)} arm{'' if len(shown) == 1 else 's'}", measures, shown)
    if compared.shared_overrides:
        paragraph(formatting.shared_text(compared.shared_overrides))
    if family.baseline_note:
        paragraph(family.baseline_note)
    if same:
        values = ", ".join(f"{name} {shown[0].scores[name]}" for name in same)
        paragraph(f"the same in every arm, not shown: {values}")
    line("")
    for arm in shown:
        _about(arm, measures)
    line("")
    if shown[0].arm.is_baseline and len(shown) > 1 and measures:
        paragraph(_legend(shown[0].arm.label, measures, family))
    for text in (*(compared.over_seeds.left_out if compared.over_seeds else ()), *family.cautions):
        paragraph(text)
    paragraph("more (coverage, all confounds, hygiene, judge, each seed): reer compare --all")


def _is_the_same_everywhere(name: str, shown: Sequence[ShownArm]) -> bool:
    """Whether a measure has one value in all arms, so that it says nothing about them."""
    untested = all((d := arm.difference(name)) is None or d.p is None for arm in shown)
    return len(shown) > 1 and untested and len({arm.scores[name] for arm in shown}) == 1


def _scores(title: str, measures: Sequence[str], shown: Sequence[ShownArm]) -> None:
    """Rows of arms; for each measure its score, the published one where there is one, and the difference. As many
    measures side by side as fit."""
    columns = {name: list(_columns(name, shown)) for name in measures}
    widths = [sum(map(_width, columns[name])) + PADDING * (len(columns[name]) - 1) for name in measures]
    names = [arm.arm.label for arm in shown]
    left = max(_width([folded(name, NAME_WIDTH)]) for name in names)
    if not measures:
        paragraph(title)
    for number, part in enumerate(parts(widths, console.width - left)):
        cells = [column for name in measures[part] for column in columns[name]]
        rows = list(zip(names, *(texts for _, *texts in cells), strict=True))
        table("" if number else title, ("arm", *(head for head, *_ in cells)), rows)


def _width(column: Sequence[str]) -> int:
    return max(len(text) for cell in column for text in cell.split("\n"))


def _columns(name: str, shown: Sequence[ShownArm]) -> Iterator[tuple[str, ...]]:
    """The columns of a measure: a head, then a text for each arm. `official` is the number of the benchmark's own
    scripts."""
    yield (folded(name, MEASURE_WIDTH), *(arm.scores[name] for arm in shown))
    official = [arm.cells[name].official for arm in shown]
    if any(official):
        yield ("official", *(formatting.official_text(score) for score in official))
    published = [arm.cells[name].published for arm in shown]
    if any(published):
        yield ("paper", *(f"{entry.value:.4g}" if entry else "" for entry in published))
    changes = [arm.difference(name) for arm in shown]
    if any(changes):
        yield ("difference", *(formatting.change_text(change) if change else "" for change in changes))


def _about(shown: ShownArm, measures: Sequence[str]) -> None:
    """What was found of an arm, what was changed, and what else differs."""
    arm = shown.arm
    found = _found(shown, measures)
    details = {
        "changed": formatting.brief_changes(arm.changed),
        "not comparable": "; ".join(arm.contract.broken),
        "degenerate": ", ".join(arm.degenerate),
        "confounded by": ", ".join(map(formatting.flag_text, arm.flags)),
        "control": formatting.controls_text(arm),
        "made differently": "; ".join(arm.contract.moved),
        "also called": ", ".join(arm.aliases),
    }
    if found or any(details.values()):
        paragraph(f"{arm.label}: {found}" if found else arm.label)
    for label, text in details.items():
        if text:
            paragraph(f"{label}: {text}", "  ")


def _found(shown: ShownArm, measures: Sequence[str]) -> str:
    """The conclusions for an arm: of one measure with its difference, of several by what was concluded."""
    found = {name: difference for name in measures if (difference := shown.difference(name))}
    if len(measures) == 1:
        return ", ".join(map(_one_finding, found.values()))
    groups: dict[str, list[str]] = {}
    for name, difference in found.items():
        text = f"{name} ({formatting.brief_reason(difference)})"
        groups.setdefault(formatting.brief_finding(difference), []).append(text)
    return "; ".join(f"{finding}: {', '.join(texts)}" for finding, texts in groups.items())


def _one_finding(difference: Difference) -> str:
    change = f"{formatting.change_text(difference)}, " if difference.finding == "different" else ""
    return f"{change}{formatting.brief_finding(difference)} ({formatting.brief_reason(difference)})"


def _legend(base: str, measures: Sequence[str], family: Comparison | SeedsComparison) -> str:
    over = "new seeds and items" if isinstance(family, SeedsComparison) else "paired items"
    differences = [d for name in measures for arm in family.arms if (d := arm.cells[name].difference)]
    notes = [
        f"difference: from {base}, mean and 95 % interval over {over}",
        f"p: corrected by Holm for {family_text(family, measures)}",
        "detects: the true difference that is found in four of five cases; it and the intervals are without Holm's "
        "correction",
        "fragile: one more item that the better side fails would undo it" * any(d.undone_by_one for d in differences),
        "~, exploratory: a part of another measure's items, estimated together with the other parts"
        * any(d.exploratory for d in differences),
    ]
    return "; ".join(filter(None, notes))


def family_text(family: Comparison | SeedsComparison, measures: Sequence[str]) -> str:
    """`10 tests (5 arms, 2 headline measures)`: which p-values are corrected together."""
    headlines = [name for name in measures if not any(_is_exploratory(arm.cells[name]) for arm in family.arms)]
    counted = {"headline": headlines, "exploratory": [name for name in measures if name not in headlines]}
    count = formatting.count_text
    return " and apart from them ".join(
        f"{count(family.family(names[0]), 'test')} ({count(len(family.arms) - 1, 'arm')}, "
        f"{count(len(names), f'{kind} measure')})"
        for kind, names in counted.items()
        if names
    )


def _is_exploratory(cell: Cell | SeedsCell) -> bool:
    return cell.difference is not None and cell.difference.exploratory


def details(compared: Comparison) -> None:
    """Everything behind the short form: scores with coverage, p-values and sample sizes, confounds, probes, changed
    configuration, and each measure over seeds."""
    base = compared.arms[0].label
    for name in compared.measures:
        _measure(compared, name)
    paragraph(
        f"score: value (scored/all items, and its bounds where some are missing); difference: paired with {base}, 95 % "
        "interval; p (corrected by Holm for all arms and measures); n: items, ≥ the difference they can detect; "
        f"equivalent: within {formatting.EQUIVALENCE}"
    )
    confounds = confound_table(compared)
    table_by_arms(f"confounds, scale {compared.setting}, seed {compared.seed}", confounds.columns[1:], confounds.rows)
    for probe in probe_tables(compared):
        _probe(probe)
    for arm in compared.arms:
        for text in (*arm.changed, *_contract(arm)):
            paragraph(f"{arm.label}: {text}")
    if compared.over_seeds:
        _over_seeds(compared.over_seeds)


def _contract(arm: Arm) -> list[str]:
    """Whether an arm kept its contract, and each statement of it beside what was measured."""
    report = arm.contract
    held = [str(term) for term in report.terms if term.holds]
    return [] if arm.is_baseline else [f"contract: {text}" for text in (report.word, *held)]


def _measure(compared: Comparison, name: str) -> None:
    """One measure: a row for each arm."""
    rows: list[tuple[str, ...]] = []
    for arm in compared.arms:
        cell = arm.cells[name]
        score = score_text(cell.measure).replace(" (", "\n(") if cell.measure else "not run"
        official = formatting.official_text(cell.official)
        texts = [score, official and f"official {official}", formatting.published_text(cell.published)]
        rows.append((arm.label, "\n".join(filter(None, texts)), *_difference_cells(cell.difference)))
    table(
        f"{name}, scale {compared.setting}, seed {compared.seed}",
        ("arm", "score", "difference", "p", "n", "conclusion"),
        rows,
    )


def _difference_cells(difference: Difference | None) -> tuple[str, str, str, str]:
    if difference is None:
        return "", "", "", ""
    change = formatting.change_text(difference).replace(" [", "\n[").replace(", ", ",\n")
    p, sample = formatting.p_text(difference), formatting.sample_text(difference)
    return change, p.replace(" (", "\n("), sample.replace(" ", "\n"), formatting.finding_text(difference)


def _over_seeds(compared: SeedsComparison) -> None:
    seeds = ", ".join(map(str, compared.seeds))
    for name in compared.measures if compared.arms else ():
        rows = [
            (arm.label, formatting.seeds_text(cell), *_difference_cells(cell.difference))
            for arm in compared.arms
            if (cell := arm.cells[name])
        ]
        head = ("arm", "mean ± sd", "difference", "p", "n", "conclusion")
        table(f"{name}, scale {compared.scale}, over seeds {seeds}", head, rows)
    if compared.arms:
        paragraph(formatting.seeds_legend(compared.arms[0].label))


def _probe(probe: ProbeTable) -> None:
    differing, same = probe.compact()
    if differing:
        table_by_arms(probe.title, probe.arms, [(label, *cells) for label, cells in differing])
    if same:
        paragraph(f"{probe.title}, the same in all arms: {'; '.join(same)}")
    for note in probe.notes:
        paragraph(note)


def source(found: Source) -> None:
    """What produced a number."""
    missing = f"; unscored: {counts(found.unscored)}" if found.unscored else ""
    for measure in found.measures:
        score = "withheld" if measure.value is None else formatting.plain_score(measure.value)
        paragraph(f"{found.run} {measure.name} {score}, {measure.scored} of {measure.total} items scored{missing}")
    rows = [(origin.step, Path(origin.folder).name, origin.build) for origin in found.origins]
    table("comes from these stage results, the last with the scores", ("stage", "folder in store/STAGE", "build"), rows)
    made = [origin.provenance for origin in found.origins]
    packages = (f"{name} {version}" for by in made for name, version in by.packages.items())
    facts = {
        "judge": ", ".join(formatting.settings(found.judge)),
        "answered as": ", ".join(found.judge_served),
        "commit": _commits(found),
        "code": ", ".join(dict.fromkeys([*(f"python {by.python}" for by in made), *packages])),
        "machine": ", ".join(dict.fromkeys(by.platform for by in made)),
        "scores": f"sha256 {found.digest}",
        "read": ", ".join(found.files),
    }
    for label, text in facts.items():
        if text:
            paragraph(f"{label}: {text}")
    line(f"repeat: {found.command}")


def _commits(found: Source) -> str:
    """The commit of the code, with the stages it made where there were several."""
    stages: dict[str, list[str]] = {}
    for origin in found.origins:
        stages.setdefault(origin.provenance.git or "unknown", []).append(origin.step)
    several = len(stages) > 1
    return ", ".join(f"{git} ({', '.join(steps)})" if several else git for git, steps in stages.items())
