"""What the verbs about runs found, in the terminal or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from experiments.report.console import console, data, escape, folded, line, paragraph, table
from experiments.store.metrics import number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from experiments.history.diff import Diff, NumberPair
    from experiments.history.explain import Explanation
    from experiments.history.gc import Survey
    from experiments.history.status import RunState
    from experiments.history.verdict import ScoreCheck, Verdict

MARKS = {"done": "●", "running": "▶", "waiting": "○", "failed": "✗", "stale": "~"}
NONE = "·"  # for a stage that a run has not
RUN_WIDTH = 46  # characters of the name of a run


def as_json(found: DataclassInstance | Sequence[DataclassInstance]) -> None:
    """Print records as JSON: an object for a record, a list for several. A verdict also holds its conclusions."""
    data([_plain(item) for item in found] if isinstance(found, Sequence) else _plain(found))


def _plain(record: DataclassInstance) -> dict[str, object]:
    computed = [name for name, value in vars(type(record)).items() if isinstance(value, property)]
    return {**asdict(record), **{name: getattr(record, name) for name in computed}}


def verdict(found: Verdict) -> None:
    """The verdict on a repetition or a verification: its three levels, what differs, and what moved."""
    same_plan = {"same": "yes", "different": "no: nothing was run", "not checked": "not checked"}
    rows = [
        ("same plan", same_plan[found.plan.state]),
        *(("", difference) for difference in found.plan.differences),
        ("same bytes", _bytes(found)),
        *(("", f"{step.step}: {step.why}") for step in found.steps if not step.same),
        ("same scores", _scores(found)),
        *(("", _score(score)) for score in found.scores if score.rule != "same bytes"),
        *_moved_rows(found),
    ]
    if found.stale:
        rows.append(("now stale", f"{', '.join(found.stale)}; bring up to date with: reer rerun NAME"))
    table(found.run, ("verdict", ""), rows)
    if found.plan.state == "different":
        paragraph(
            "This program makes other stages of the frozen plan. To compute them under this name, run the experiment "
            "again with replace=true; to keep both, give it another name=."
        )


def _bytes(found: Verdict) -> str:
    if not found.compared:
        return _not_compared(found)
    same = sum(step.same for step in found.steps)
    answer = "yes" if found.same_bytes else "no"
    return f"{answer}: {same} of {len(found.steps)} stages ({_origins(found)})"


def _not_compared(found: Verdict) -> str:
    return "not compared" if found.plan.state == "different" else "no earlier result to compare with"


def _origins(found: Verdict) -> str:
    """How the bytes came to be: `recomputed` is said of nothing that was only found in the store."""
    made = {origin: [s.step for s in found.steps if s.origin == origin] for origin in ("fresh", "recomputed")}
    made["store"] = [step.step for step in found.steps if step.origin == "store" and step.same]
    texts = {
        "fresh": f"recomputed, model calls too: {', '.join(made['fresh'])}",
        "recomputed": f"recomputed with the model calls that are stored: {', '.join(made['recomputed'])}",
        "store": f"{len(made['store'])} from the store, digests verified",
    }
    return "; ".join(text for origin, text in texts.items() if made[origin])


def _scores(found: Verdict) -> str:
    if not found.compared:
        return _not_compared(found)
    if found.mode == "verify":
        return "yes: they are those of the verified stages" if found.same_scores else "not checked: stages are damaged"
    rules = ", ".join(dict.fromkeys(score.rule for score in found.scores))
    same = sum(score.same for score in found.scores)
    return f"{'yes' if found.same_scores else 'no'}: {same} of {len(found.scores)} measures (by {rules})"


def _score(score: ScoreCheck) -> str:
    change = f"{score.measure}: {number(score.before)} -> {number(score.now)}"
    if score.rule == "equality":
        return f"{change}, {'equal' if score.same else 'not equal, and no noise of a judge was measured for it'}"
    return f"{change}, {'within' if score.same else 'beyond'} ±{score.bound:.2g}, the noise of the judge"


def _moved_rows(found: Verdict) -> list[tuple[str, str]]:
    """What moved, a row each. Where no earlier result was compared, nothing is known of it."""
    if not found.compared:
        return []
    count = len(found.steps)
    texts = [f"{move.what}: {move.before} -> {move.now} ({_some(move.steps, count)})" for move in found.moved]
    return [("" if at else "moved since", text) for at, text in enumerate(texts or ["nothing"])]


def _some(steps: Sequence[str], all_steps: int) -> str:
    """Which stages, in a few words."""
    if len(steps) == all_steps:
        return "all stages"
    more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
    return ", ".join(steps[:3]) + more


def explanation(run: str, steps: Sequence[Explanation]) -> None:
    """Which stages are in the store, and why each of the others is not."""
    rows = [(step.step, "miss", step.why) for step in steps if not step.hit]
    hits = ", ".join(step.step for step in steps if step.hit)
    table(run, ("stage", "", "why"), rows or [("every stage", "hit", "nothing would be computed")])
    if rows and hits:
        paragraph(f"hit: {hits}")


def differences(found: Diff) -> None:
    """Two runs, and only what differs."""
    steps = [(pair.step, pair.a or "–", pair.b or "–") for pair in found.steps]
    _section("configuration", found.configuration)
    for title, rows in (
        ("bytes of stages, by build", steps),
        ("environment", [(move.what, move.before, move.now) for move in found.moved]),
        ("confounds", [] if found.without_result else _numbers(found.confounds)),
        ("scores", [] if found.without_result else _numbers(found.scores)),
    ):
        if rows:
            table(title, ("", found.a, found.b), rows)
    for name in found.without_result:
        paragraph(f"{name} has not finished: its stages are compared as far as they go, confounds and scores are not")
    if found.same:
        paragraph(f"the same bytes: {', '.join(found.same)}")
    if not (found.configuration or steps or found.moved):
        line(f"{found.a} and {found.b} do not differ")


def _numbers(pairs: Sequence[NumberPair]) -> list[tuple[str, str, str]]:
    return [(pair.name, number(pair.a), number(pair.b)) for pair in pairs]


def _section(title: str, lines: Sequence[str]) -> None:
    if lines:
        console.print(f"\n[bold]{escape(title)}[/]")
    for text in lines:
        paragraph(text)


def status(runs: Sequence[RunState], root: Path) -> None:
    """One line for each run: a mark for each of its stages, in columns that all runs share, and its state."""
    if not runs:
        line(f"no runs in {root / 'runs'}; start one with: reer run")
        return
    stages = dict.fromkeys(step.step for run in sorted(runs, key=lambda run: -len(run.steps)) for step in run.steps)
    table(
        "runs",
        ("stages", "run", "state"),
        [(_marks(run, stages), folded(run.run, RUN_WIDTH), run.state) for run in runs],
    )
    used = {step.mark for run in runs for step in run.steps}
    signs = [f"{sign} {mark}" for mark, sign in MARKS.items() if mark in used]
    lacking = any(len(run.steps) < len(stages) for run in runs)
    paragraph("  ".join([*signs, *([f"{NONE} not in this run"] if lacking else [])]))
    paragraph(f"stages: {', '.join(stages)}")
    for run in runs:
        if details := _details(run):
            paragraph(f"{run.run}: {run.state}: {details}")


def _marks(run: RunState, stages: Iterable[str]) -> str:
    """A mark for each of these stages."""
    marks = {step.step: MARKS[step.mark] for step in run.steps}
    return "".join(marks.get(stage, NONE) for stage in stages)


def _details(run: RunState) -> str:
    """What a run is at work on, and where; why it failed; what is wrong with its files."""
    working = [f"{step.step} by {step.where}" for step in run.steps if step.where]
    return run.why or "; ".join(working if run.at_work else ()) or run.at_work or ""


def unused(found: Survey, root: Path) -> None:
    """What no run needs, the largest first, and what of it was deleted."""
    largest = sorted(found.unused, key=lambda item: -item.size)
    rows = [(item.kind, decimal(item.size), _in_store(item.path, root)) for item in largest]
    if rows:
        table("no run refers to", ("kind", "size", "folder of the store"), rows)
    folders = f"{len(rows)} folder{'' if len(rows) == 1 else 's'}"
    line(f"{folders} that no run refers to, {decimal(found.size)}; a process uses {len(found.in_use)} more")
    if found.deleted:
        line(f"deleted {len(found.deleted)} of them")
    elif rows:
        line(f"nothing was deleted; to delete them: reer gc --delete --root {root}")


def _in_store(path: Path, root: Path) -> str:
    return path.relative_to(root / "store").as_posix()
