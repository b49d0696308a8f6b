"""What produced a number: the run, its stage results, the judge, the code, and the command that repeats it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.benchmark import Measure
from experiments.metrics import evaluation
from experiments.report.arms import named
from experiments.report.exports.tables import DIGEST
from experiments.report.measures import score_files
from experiments.report.published import judge_settings
from experiments.store.fingerprint import Json
from experiments.store.provenance import Provenance
from experiments.store.records import digest_of, read_record
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from reer.errors import InputError, near


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One stage result that a number comes from: its folder below the root, what identifies it, and what made it."""

    step: str
    folder: str
    fingerprint: str
    build: str
    seconds: float
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the numbers in a file of scores come from.

    measures: with their values, the items scored and all items.
    unscored: verdicts without a score, by reason.
    digest: sha256 of the file with the scores by item.
    judge: the judge's identity, empty where none was asked; `judge_served` are the models that servers named.
    origins: the stage results in the order of the pipeline; the last one holds the scores.
    files: what to read, below the root: scores by item, verdicts, answers, the plan.
    command: repeats the run.
    """

    run: str
    measures: tuple[Measure, ...]
    unscored: Mapping[str, int]
    digest: str
    judge: Mapping[str, Json]
    judge_served: tuple[str, ...]
    origins: tuple[Origin, ...]
    files: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class _Scores:
    """A file of scores of a run, and the measures in it that are asked about."""

    result: Result
    path: Path
    measures: tuple[Measure, ...]

    @property
    def label(self) -> str:
        """The label of the benchmark's steps."""
        return next(name.label for name, step in self.result.steps.items() if step.path == self.path.parent)


def where(results: Sequence[Result], cell: Sequence[str], root: Path) -> list[Source]:
    """Where the number of a run and a measure comes from (`full/smoke/s0`, `writing/quality`), or every number of the
    files of scores with a digest. Raises InputError for a cell that does not exist."""
    if len(cell) == 2:
        found = _of_measure(_scores(named(results, cell[0])), *cell)
    elif len(cell) == 1 and re.fullmatch(rf"[0-9a-f]{{{DIGEST},64}}", cell[0]):
        found = _of_digest(_scores(results), cell[0])
    else:
        raise InputError(
            f"where: want RUN MEASURE (full/smoke/s0 writing/quality) or a DIGEST as `reer table` prints it, got "
            f"{' '.join(cell)!r}"
        )
    return [_source(scores, root) for scores in found]


def _scores(results: Sequence[Result]) -> list[_Scores]:
    return [_Scores(result, path, taken) for result in results for path, taken in score_files(result).items()]


def _of_measure(files: Sequence[_Scores], run: str, name: str) -> list[_Scores]:
    found = [replace(file, measures=(m,)) for file in files for m in file.measures if str(m.name) == name]
    if not found:
        known = list(dict.fromkeys(str(measure.name) for file in files for measure in file.measures))
        raise InputError(f"{run}: has no measure {name!r}; want one of {', '.join(known)}{near(name, known)}")
    return found


def _of_digest(files: Sequence[_Scores], digest: str) -> list[_Scores]:
    found = [file for file in files if digest_of(file.path).sha256.startswith(digest)]
    if not found:
        raise InputError(f"no finished run here has a file of scores with the digest {digest}; `reer table` lists them")
    return found


def _source(scores: _Scores, root: Path) -> Source:
    result = scores.result
    graded = result.metrics_of(evaluation.GRADE, scores.label)
    judge = judge_settings(result.identity, scores.measures[0].benchmark) if graded else None
    return Source(
        run=result.run_name,
        measures=scores.measures,
        unscored=graded.unscored if graded else {},
        digest=digest_of(scores.path).sha256,
        judge=judge or {},
        judge_served=graded.judge_served if graded else (),
        origins=tuple(_origin(name, step, root) for name, step in _upstream(result, scores.path.parent)),
        files=tuple(_below(path, root) for path in _files(scores)),
        command=result.rerun,
    )


def _upstream(result: Result, folder: Path) -> list[tuple[StepName, StepResult]]:
    """The steps whose results went into the stage result in a folder, in the order of the pipeline."""
    steps = {step.fingerprint: step for step in result.steps.values()}
    used = set[str]()
    waiting = [step.fingerprint for step in steps.values() if step.path == folder]
    while waiting:
        fingerprint = waiting.pop()
        used.add(fingerprint)
        inputs = read_record(steps[fingerprint].path).inputs.values()
        waiting += [i.fingerprint for i in inputs if i.fingerprint in steps and i.fingerprint not in used]
    return [(name, step) for name, step in result.steps.items() if step.fingerprint in used]


def _origin(name: StepName, step: StepResult, root: Path) -> Origin:
    record = read_record(step.path)
    return Origin(
        step=str(name),
        folder=_below(step.path, root),
        fingerprint=step.fingerprint,
        build=step.build,
        seconds=record.seconds,
        provenance=record.provenance,
    )


def _files(scores: _Scores) -> list[Path]:
    """What to read about a number, as far as it exists: scores, verdicts, answers, plan."""
    answers = scores.result.folder_of(evaluation.GENERATE, scores.label)
    folders = [scores.path.parent, *([answers] if answers else [])]
    plan = [scores.result.folder / "plan.json"] if scores.result.folder else []
    return [path for path in (scores.path, *(folder / "rows.jsonl" for folder in folders), *plan) if path.exists()]


def _below(path: Path, root: Path) -> str:
    """A path relative to the root, or whole where it is outside."""
    whole, top = path.resolve(), root.resolve()
    return str(whole.relative_to(top) if whole.is_relative_to(top) else whole)
