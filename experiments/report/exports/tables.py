"""Comparisons as data and as tables for a paper: JSON, CSV, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

from evals.statistics.paired import Difference, Finding, Shrunk
from experiments.contracts.conditions import Conditions
from experiments.contracts.confounds import Flag
from experiments.report import formatting
from experiments.report.compare import Comparison, SeedsComparison
from experiments.store.runs import Counts

Form = Literal["json", "csv", "markdown", "latex"]
DIGEST = 10  # hex digits of the sha256 of a file of scores, by which `reer where` finds it
MEASURES_ACROSS = 3  # measures side by side in LaTeX
IN_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"\(\pm\)",
    "≥": r"\(\ge\)",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


CARD_COLUMNS = ("arm", "score", "scored", "difference, 95 %", "p (Holm)", "finding", "paper", "digest")


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One measure of one arm, of a run or of the mean over several seeds. None is what was not measured.

    label: the arm's name without the overrides that all arms share.
    scored, total: items with a score, and all items; over seeds those of all seeds together.
    family: the number of tests whose p-values were corrected together: all arms and all headline measures.
    published: the paper's value for this arm and measure.
    digests: the first hex digits of the sha256 of the files of scores, one for each seed (`reer where DIGEST`).
    delta, delta_low, delta_high: paired difference from the baseline with its 95 % interval.
    p, p_holm: p-value of the difference, and the same corrected by Holm's method.
    finding: `different`, `equivalent` or `undecided`; a large p-value is never called equal. `exploratory` where the
        measure covers a part of another one's items.
    shrunk, shrunk_low, shrunk_high: an exploratory difference, estimated together with those of the other parts.
    fragile: whether one more item that the better side fails would take zero into the interval.
    detectable: the true difference that so many items show in four of five cases, without Holm's correction.
    """

    scale: str
    crossing: str = ""
    seeds: tuple[int, ...]
    arm: str
    label: str
    is_baseline: bool
    measure: str
    score: float | None
    score_sd: float | None = None
    scored: int | None = None
    total: int | None = None
    family: int
    published: float | None = None
    digests: tuple[str, ...] = ()
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    finding: Finding | None = None
    shrunk: float | None = None
    shrunk_low: float | None = None
    shrunk_high: float | None = None
    fragile: bool | None = None
    detectable: float | None = None


@dataclass(frozen=True, kw_only=True)
class ArmRow:
    """One arm: `label` as in `CellRow`, other names of its runs, what it changed (`key: old -> new`), its confounds,
    and those among them that are further from the baseline's than their bound allows. `contract` says in words whether
    it kept its contract, `degenerate` why its model is."""

    arm: str
    label: str
    is_baseline: bool
    aliases: tuple[str, ...]
    changed: tuple[str, ...]
    comparable: bool
    contract: str
    confounds: Counts
    flags: tuple[Flag, ...]
    degenerate: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TableData:
    """The arms of one scale and seed, or over the seeds of a scale; arms and cells are in the order of the table."""

    scale: str
    crossing: str
    seeds: tuple[int, ...]
    baseline: str | None
    baseline_note: str
    shared_overrides: tuple[str, ...]
    arms: tuple[ArmRow, ...]
    cells: tuple[CellRow, ...]
    left_out: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def title(self) -> str:
        setting = f"{self.scale}, {self.crossing}" if self.crossing else self.scale
        return f"{setting}, seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.measure for cell in self.cells))

    def column(self, measure: str) -> list[CellRow]:
        """The cells of a measure, by arm."""
        return [cell for cell in self.cells if cell.measure == measure]


def render(comparisons: Sequence[Comparison], form: Form) -> str:
    """The comparisons in a form. JSON is a list of `TableData`, CSV has a line for each `CellRow`: over seeds first,
    then of each seed. Markdown and LaTeX show repetitions with several seeds once, together."""
    return FORMS[form](tables_of(comparisons))


def tables_of(comparisons: Sequence[Comparison]) -> list[TableData]:
    """The comparisons as data: those over seeds first, then that of each seed."""
    over_seeds = [_over_seeds(c, c.over_seeds) for c in comparisons if c.over_seeds and c.over_seeds.arms]
    return [*over_seeds, *(_of_seed(comparison) for comparison in comparisons)]


def _of_seed(compared: Comparison) -> TableData:
    cells: list[CellRow] = []
    for arm in compared.arms:
        for name, cell in arm.cells.items():
            row = CellRow(
                scale=compared.scale,
                crossing=compared.crossing,
                seeds=(compared.seed,),
                arm=arm.name,
                label=arm.label,
                is_baseline=arm.is_baseline,
                measure=name,
                score=cell.value,
                scored=cell.measure.scored if cell.measure else None,
                total=cell.measure.total if cell.measure else None,
                family=compared.family(name),
                published=cell.published.value if cell.published else None,
                digests=(cell.digest[:DIGEST],) if cell.digest else (),
            )
            cells.append(_with_difference(row, cell.difference))
    return _data(compared, compared, (compared.seed,), {arm.name: arm for arm in compared.arms}, cells)


def _over_seeds(compared: Comparison, over: SeedsComparison) -> TableData:
    """The table over seeds."""
    cells: list[CellRow] = []
    for arm in over.arms:
        for name, cell in arm.cells.items():
            row = CellRow(
                scale=over.scale,
                crossing=compared.crossing,
                seeds=arm.seeds,
                arm=arm.name,
                label=arm.label,
                is_baseline=arm.is_baseline,
                measure=name,
                score=cell.value,
                score_sd=cell.deviation,
                scored=cell.scored,
                total=cell.total,
                family=over.family(name),
                published=cell.published.value if cell.published else None,
                digests=tuple(digest[:DIGEST] for digest in cell.digests),
            )
            cells.append(_with_difference(row, cell.difference))
    return _data(compared, over, over.seeds, {arm.name: arm for arm in over.arms}, cells)


def _with_difference(row: CellRow, difference: Difference | None) -> CellRow:
    if difference is None:
        return row
    return replace(
        row,
        delta=difference.mean,
        delta_low=difference.low,
        delta_high=difference.high,
        p=difference.p,
        p_holm=difference.p_holm,
        finding=difference.finding,
        **_shrunk(difference.shrunk),
        fragile=difference.fragile,
        detectable=difference.minimum_detectable,
    )


def _shrunk(estimate: Shrunk | None) -> dict[str, float]:
    if estimate is None:
        return {}
    return {"shrunk": estimate.mean, "shrunk_low": estimate.low, "shrunk_high": estimate.high}


def _data(
    compared: Comparison,
    said: Comparison | SeedsComparison,
    seeds: tuple[int, ...],
    arms: Mapping[str, Conditions],
    cells: Sequence[CellRow],
) -> TableData:
    """A table of these arms by name, with what is said of them together."""
    over = compared.over_seeds
    rows = (
        ArmRow(
            arm=name,
            label=arm.label,
            is_baseline=arm.is_baseline,
            aliases=arm.aliases,
            changed=arm.changed,
            comparable=not arm.contract.broken,
            contract=arm.contract_word,
            confounds=arm.confounds,
            flags=arm.flags,
            degenerate=arm.degenerate,
        )
        for name, arm in arms.items()
    )
    return TableData(
        scale=compared.scale,
        crossing=compared.crossing,
        seeds=seeds,
        baseline=next((name for name, arm in arms.items() if arm.is_baseline), None),
        baseline_note=said.baseline_note,
        shared_overrides=compared.shared_overrides,
        arms=tuple(rows),
        cells=tuple(cells),
        left_out=over.left_out if over and (len(seeds) > 1 or not over.arms) else (),
        cautions=said.cautions,
    )


def _json(tables: Sequence[TableData]) -> str:
    return json.dumps([asdict(table) for table in tables], indent=2, ensure_ascii=False) + "\n"


def _csv(tables: Sequence[TableData]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(CellRow)]
    writer.writerow(names)
    for row in (cell for table in tables for cell in table.cells):
        writer.writerow([_csv_value(getattr(row, name)) for name in names])
    return out.getvalue()


def _csv_value(value: object) -> object:
    """A value of a `CellRow`; several are separated by spaces."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _markdown(tables: Sequence[TableData]) -> str:
    return "\n\n".join("\n".join(_card(table)) for table in _once(tables)) + "\n"


def _card(table: TableData) -> Iterator[str]:
    """A section with a table for each measure, and what a reader has to know to trust it."""
    yield f"## {in_markdown(table.title)}"
    for measure in table.measures:
        yield f"\n### {in_markdown(measure)}\n"
        cells = [_card_texts(cell) for cell in table.column(measure)]
        shown = [at for at in range(len(CARD_COLUMNS)) if any(texts[at] for texts in cells)]
        for texts in (CARD_COLUMNS, ["---"] * len(CARD_COLUMNS), *cells):
            yield f"| {' | '.join(in_markdown(texts[at]) for at in shown)} |"
    yield ""
    for arm in table.arms:
        if about := "; ".join(filter(None, _about(arm))):
            yield f"- {in_markdown(f'{arm.label}: {about}')}"
    for text in _notes(table):
        yield f"\n{in_markdown(text)}"


def _about(arm: ArmRow) -> tuple[str, ...]:
    return (
        formatting.brief_changes(arm.changed),
        f"degenerate: {', '.join(arm.degenerate)}" if arm.degenerate else "",
        "" if arm.comparable else arm.contract,
        f"confounded by {', '.join(map(formatting.flag_text, arm.flags))}" if arm.flags else "",
        f"also called {', '.join(arm.aliases)}" if arm.aliases else "",
    )


def _card_texts(cell: CellRow) -> list[str]:
    return [
        f"{cell.label} (baseline)" if cell.is_baseline else cell.label,
        _score(cell),
        "" if cell.scored is None else f"{cell.scored}/{cell.total}",
        _change(cell),
        "" if cell.p_holm is None else f"{cell.p_holm:.2g}",
        cell.finding or "",
        "" if cell.published is None else f"{cell.published:.4g}",
        " ".join(cell.digests),
    ]


def _latex(tables: Sequence[TableData]) -> str:
    return "% \\usepackage{booktabs}\n" + "\n\n".join("\n".join(_float(table)) for table in _once(tables)) + "\n"


def _float(table: TableData) -> Iterator[str]:
    """A floating table: arms are rows, with a score and a difference for each measure."""
    yield "\\begin{table}\n\\centering"
    caption = [f"{table.title}.", *_notes(table), "* different (p < 0.05)."]
    yield f"\\caption{{{in_latex(' '.join(caption))}}}"
    for start in range(0, len(table.measures), MEASURES_ACROSS):
        yield from _tabular(table, table.measures[start : start + MEASURES_ACROSS])
    yield "\\end{table}"


def _tabular(table: TableData, measures: Sequence[str]) -> Iterator[str]:
    yield f"\\begin{{tabular}}{{l{'rl' * len(measures)}}}\n\\toprule"
    heads = [f"\\multicolumn{{2}}{{c}}{{{in_latex(measure)}}}" for measure in measures]
    yield f" & {' & '.join(heads)} \\\\\n\\midrule"
    for arm in dict.fromkeys(cell.label for cell in table.cells):
        cells = [cell for cell in table.cells if cell.label == arm and cell.measure in measures]
        texts = [text for cell in cells for text in (in_latex(_score(cell)), _latex_change(cell))]
        yield f"{' & '.join([in_latex(arm), *texts])} \\\\"
    yield "\\bottomrule\n\\end{tabular}"


def _latex_change(cell: CellRow) -> str:
    """A difference with signs as LaTeX sets them in formulas, and a star where it is one."""
    signed = re.sub(r"[+-](?=\d)", r"$\g<0>$", in_latex(_change(cell)))
    return f"{signed}*" if cell.finding == "different" else signed


def _once(tables: Sequence[TableData]) -> list[TableData]:
    """The tables without those of seeds that a table over seeds holds."""
    held = {(t.scale, t.crossing, (seed,)) for t in tables if len(t.seeds) > 1 for seed in t.seeds}
    return [table for table in tables if (table.scale, table.crossing, table.seeds) not in held]


def _score(cell: CellRow) -> str:
    if cell.score is None:
        return "–"
    return formatting.plain_score(cell.score) + (f" ± {cell.score_sd:.2g}" if cell.score_sd is not None else "")


def _change(cell: CellRow) -> str:
    if cell.delta is None:
        return ""
    if cell.shrunk is not None:
        return f"~{formatting.interval_text(cell.shrunk, cell.shrunk_low, cell.shrunk_high)}"
    return formatting.interval_text(cell.delta, cell.delta_low, cell.delta_high)


def _notes(table: TableData) -> Iterator[str]:
    """How to read a table: what is compared, by which tests, and what speaks against its numbers."""
    sizes = sorted({cell.family for cell in table.cells if cell.family})
    families = " or ".join(formatting.count_text(size, "test") for size in sizes) or "no test"
    if table.shared_overrides:
        yield f"{formatting.shared_text(table.shared_overrides)}."
    if base := next((arm.label for arm in table.arms if arm.is_baseline), None):
        yield (
            f"Differences from {base}: mean over paired items with its 95 % interval; p-values are corrected "
            f"by Holm's method for {families}."
        )
    if any(cell.finding == "exploratory" for cell in table.cells):
        yield "~ marks an exploratory difference, estimated together with those of the other parts of its benchmark."
    if len(table.seeds) > 1:
        yield "Scores: mean ± standard deviation between seeds; intervals are for new seeds and items."
    yield from filter(None, [table.baseline_note, *table.left_out, *table.cautions])


def in_latex(text: str) -> str:
    """A text with what LaTeX would interpret escaped."""
    return "".join(IN_LATEX.get(character, character) for character in " ".join(text.split()))


def in_markdown(text: str) -> str:
    """A text on one line in which nothing ends a table's cell or is taken for markup."""
    return re.sub(r"([\\|`*<])", r"\\\1", " ".join(text.split()))


FORMS: Mapping[Form, Callable[[Sequence[TableData]], str]] = {
    "json": _json,
    "csv": _csv,
    "markdown": _markdown,
    "latex": _latex,
}
