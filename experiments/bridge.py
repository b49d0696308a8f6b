"""`reer bridge OLD NEW`: the same answers graded by two judges, and a score of the old one on the scale of the new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from evals.judging.bridge import bridge, noise_ratio
from experiments.metrics import evaluation, probes
from experiments.report import console as show
from experiments.report.arms import only
from experiments.report.formatting import placed_text
from experiments.report.measures import ScoredRun
from experiments.report.published import StoredBridge, store_bridge
from experiments.store.metrics import number
from experiments.store.runs import Result, all_results
from reer.errors import InputError


def stored_bridges(old: str, new: str, root: Path) -> list[StoredBridge]:
    """The bridge of every measure that two judges gave the same answers, kept under the root, so that comparisons place
    the paper's scores by it. Raises InputError where there is none."""
    results = all_results(root / "runs")
    found = list(bridges(only(results, old), only(results, new)))
    if not found:
        raise InputError(
            f"bridge: {old} and {new} have no measure of the same answers by two judges; grade one arm with both, e.g. "
            "reer run judge=A name=a and reer run judge=B name=b"
        )
    for one in found:
        store_bridge(root, one)
    return found


def show_bridges(title: str, found: Sequence[StoredBridge], root: Path, published: float | None) -> None:
    """Print bridges, and where each puts a published score."""
    heads = ("measure", "answers", "slope", "intercept", "correlation", "alpha", "same grade")
    show.table(f"{title}, 95 % intervals", heads, [_row(one) for one in found])
    for one in found if published is not None else ():
        placed = one.bridge.placed(published or 0.0)
        show.line(f"{one.measure}: {published:g} by the old judge is {placed_text(placed)} by the new one")
    show.paragraph(
        f"kept in {root / 'bridges'}: `reer compare --all` and `reer report` place the paper's scores by these lines"
    )


def bridges(old: Result, new: Result) -> Iterator[StoredBridge]:
    """The bridge of each measure that depends on the judge, of benchmarks whose answers are the same in both runs."""
    before, after = ScoredRun.read(old), ScoredRun.read(new)
    for label in old.labels_of(evaluation.GRADE):
        answers = evaluation.GENERATE.named(label)
        if new.steps.get(answers) is None or new.steps[answers].build != old.steps[answers].build:
            continue
        ratio = noise_ratio(_noise(old, label), _noise(new, label))
        by_old, by_new = (run.metrics_of(evaluation.GRADE, label) for run in (old, new))
        if by_old is None or by_new is None:
            continue
        for name in (str(measure.name) for measure in by_old.measures):
            columns = [{i: s for i, s in run.column(name).items() if s is not None} for run in (before, after)]
            if columns[0] != columns[1]:
                made = bridge(columns[0], columns[1], ratio)
                yield StoredBridge(measure=name, old=by_old.judge, new=by_new.judge, bridge=made)


def _noise(result: Result, label: str) -> float | None:
    """The standard deviation of one repeated verdict of a run's judge."""
    measured = result.metrics_of(probes.RELIABILITY, label)
    return measured.repeat.noise_sd if measured and measured.repeat else None


def _row(one: StoredBridge) -> tuple[str, ...]:
    made, agreed = one.bridge, one.bridge.agreement
    lines = (placed_text(made.slope), placed_text(made.intercept), f"{made.correlation:.2f}")
    return (one.measure, str(made.items), *lines, number(agreed.alpha), number(agreed.exact_agreement))
