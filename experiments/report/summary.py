"""The end of a run in the terminal: what ran, what it found, how much that means, and what to type next."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence

from experiments.contracts.measured import metrics_in
from experiments.metrics import data, evaluation, probes, synthesis, training
from experiments.metrics.evaluation import GenerateMetrics, score_text
from experiments.metrics.synthesis import RefineMetrics
from experiments.report.console import NAME_WIDTH, folded, line, table
from experiments.report.formatting import duration
from experiments.report.measures import measures_of
from experiments.store.metrics import FilteredRowMetrics, RowMetrics, counts
from experiments.store.records import read_record
from experiments.store.runs import Result

WIDTH = 80
LINES = 21  # a terminal has 24; the caller adds the report's path, up to two lines, and the shell its prompt
LABEL = 10  # characters of a label at the beginning of a line
SYNTHESIS = (data.PAIRS, synthesis.DRAFT, synthesis.REFINE, synthesis.FILTER, synthesis.CURATE)


def summary(result: Result) -> None:
    """Print the end of a run on one screen (see `screen`)."""
    for text in screen(result):
        line(text)


def screen(result: Result) -> list[str]:
    """Texts that take at most 21 lines of a terminal of 80 columns. Commands and paths are never broken. Scores for
    which no line is left are counted."""
    above = [f"{result.run_name}: finished; its stages took {duration(_seconds(result))}", *_what_ran(result)]
    below = [*_caution(result), "", *_next(result), f"{'W&B run':{LABEL}}{result.tracked or 'none'}"]
    return [*above, *_scores(result, LINES - height([*above, *below])), *below]


def height(texts: Sequence[str]) -> int:
    """How many lines of a terminal these texts take."""
    return sum(max(1, math.ceil(len(text) / WIDTH)) for text in texts)


def _seconds(result: Result) -> float:
    """The seconds of all stages of a run, in whichever run they were spent."""
    return math.fsum(read_record(step.path).seconds for step in result.steps.values())


def _what_ran(result: Result) -> list[str]:
    """The search, the training, the answers and the judge, each in a line or two."""
    texts = {
        "search": _search(result),
        "training": _training(result),
        "answers": answered(list(result.all_metrics_of(evaluation.GENERATE).values())),
        "judge": _judged(result),
    }
    return [one for label, text in texts.items() if text for one in _labelled(label, text)]


def _search(result: Result) -> str:
    """How many pairs became thinking, why the others did not, and what the search gained; empty without a search."""
    pairs, kept = result.metrics_of(data.PAIRS), result.metrics_of(synthesis.CURATE)
    if pairs is None or kept is None:
        return ""
    dropped = Counter[str]()
    for metrics in map(result.metrics_of, SYNTHESIS):
        dropped.update(metrics.dropped if isinstance(metrics, FilteredRowMetrics) else {})
    lost = f" (dropped: {counts(dropped)})" if dropped else ""
    return f"{pairs.rows} pairs, {kept.rows} with thinking{lost}; {_gain(result.metrics_of(synthesis.REFINE))}"


def _gain(refined: RefineMetrics | None) -> str:
    if refined is None:
        return "no search was made"
    if refined.score_draft is None or refined.score_refined is None:
        return "no row was refined"
    change = f"score {refined.score_draft:.4f} → {refined.score_refined:.4f}"
    return f"{change}, {refined.edits_accepted} of {refined.edits} edits accepted"


def _training(result: Result) -> str:
    train, mixed = result.metrics_of(training.TRAIN), result.metrics_of(training.MIX)
    if train is None or mixed is None:
        return ""
    return f"{mixed.rows} rows ({counts(mixed.by_source)}), {mixed.with_thinking} with thinking; {train.headline()}"


def answered(benchmarks: Sequence[GenerateMetrics]) -> str:
    """How many answers of all benchmarks hold a text after their thinking, and how many the model, not the token limit,
    ended."""
    if not benchmarks:
        return ""
    rows, empty = sum(m.rows for m in benchmarks), sum(m.empty_answers for m in benchmarks)
    cut = sum(m.truncated for m in benchmarks)
    worst = f" ({empty} empty: worst score)" if empty else ""
    return f"{rows - empty} of {rows} hold a text{worst}; {rows - cut} ended by the model, {cut} by the token limit"


def _judged(result: Result) -> str:
    """How the judge did in the checks: in full for one benchmark, for several where it was fooled."""
    measured = result.all_metrics_of(probes.RELIABILITY)
    if len(measured) <= 1:
        return "".join(metrics.headline() for metrics in measured.values())
    fooled = ", ".join(name for name, metrics in measured.items() if metrics.fooled_by)
    return f"fooled by null answers to {fooled}" if fooled else "not fooled by null answers"


def _scores(result: Result, room: int) -> list[str]:
    """The measures in at most `room` lines, the blank one before them included."""
    rows = [
        (name, score_text(measure), "" if measure.best is None else f"of {measure.worst:g} to {measure.best:g}")
        for name, measure in measures_of(result).items()
    ]
    fit = len(rows) if len(rows) + 2 <= room else max(0, room - 3)
    left = max((len(name) for name, *_ in rows), default=0)
    texts = [f"{name:{left}}  {score} {ends}".rstrip()[:WIDTH] for name, score, ends in rows[:fit]]
    more = [f"and {len(rows) - fit} more measures: reer compare"] if fit < len(rows) else []
    return ["", "score (scored/all items)", *texts, *more] if rows else []


def _caution(result: Result) -> list[str]:
    return ["", *textwrap.wrap(result.caution, WIDTH)] if result.caution else []


def _next(result: Result) -> list[str]:
    """The commands that a reader may want next, with this run's folder and scale where they are not the defaults."""
    elsewhere = result.elsewhere
    scale = "" if result.scale == "laptop" else f" scale={result.scale}"
    sweep = f"reer run sweep=ablations{scale}" + (f" runtime.root={elsewhere}" if elsewhere else "")
    compare = "reer compare" + (f" --root {elsewhere}" if elsewhere else "")
    return ["next, to run the ablations and to see the arms side by side:", f"  {sweep}", f"  {compare}"]


def _labelled(label: str, text: str) -> list[str]:
    first, later = f"{label:{LABEL}}", " " * LABEL
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def stage_table(result: Result) -> None:
    """Every stage of a run with its rows, its drops and its metrics; longer than a screen."""
    rows: list[Sequence[str]] = []
    for name, metrics in metrics_in(result).items():
        kept = str(metrics.rows) if isinstance(metrics, RowMetrics) else ""
        dropped = metrics.dropped if isinstance(metrics, FilteredRowMetrics) else {}
        reasons = "\n".join(folded(f"{reason} {count}", NAME_WIDTH) for reason, count in dropped.items())
        rows.append((str(name), kept, reasons, "\n".join(metrics.summary())))
    table(result.run_name, ("stage", "rows", "dropped", "result"), rows)
