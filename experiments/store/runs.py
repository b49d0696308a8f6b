"""A run's own files: the frozen plan, the lock that ties its name to its stages, and its result.

`runs/<name>/<scale>/s<seed>/{plan,lock,result}.json`. The result is all that a table or a report needs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ValidationError
from typing_extensions import TypeForm

from experiments.store import OUTPUTS
from experiments.store.disk import disk_errors
from experiments.store.fingerprint import Json, difference, encode, fingerprint
from experiments.store.metrics import StageMetrics, read_metrics
from experiments.store.records import REPAIR, build_of, read_document, read_object, verified, write_document
from experiments.store.step import Artifact, StageKey, StepName, Steps
from reer.errors import InputError, near
from reer.files import Row, adapter, read_rows, write_json

if TYPE_CHECKING:
    from experiments.experiment import Experiment

log = logging.getLogger(__name__)
OUTSIDE_IDENTITY = {
    "runtime",
    "tracking",
    "estimate",
    "budget",
    "pairwise",
    "replace",
    "baseline",
    "matched_to",
    "contract",
}
M = TypeVar("M", bound=StageMetrics)
Clock = Callable[[], str]
Counts = Mapping[str, float | None]  # confound -> value, None where the run has no such stage


@dataclass(frozen=True)
class Lock:
    """What a run name is tied to: its experiment's identity, and the fingerprints of its steps by name. `started` is
    when a run of these steps first began."""

    identity: Mapping[str, object]
    steps: Mapping[str, str]
    started: str = ""


def identity_of(exp: Experiment) -> dict[str, Json]:
    """Every part of an experiment that decides its result."""
    return {f.name: encode(getattr(exp, f.name)) for f in fields(exp) if f.name not in OUTSIDE_IDENTITY}


def check_name(exp: Experiment, steps: Steps) -> None:
    """Raise InputError if this name is used by a different experiment, with the differences and two ways on, or if its
    lock is torn."""
    path = exp.folder / "lock.json"
    if exp.replace or not path.exists():
        return
    lock = read_lock(path)
    now, then = fingerprints(steps), lock.steps
    if then == now:
        return
    moved = [f"stage {name}: {then.get(name)} -> {now.get(name)}" for name in sorted(now.keys() | then.keys())]
    lines = difference(cast("dict[str, Json]", lock.identity), identity_of(exp)) or moved
    raise InputError(
        f"the run name {exp.run_name!r} is already used by a different experiment:\n  " + "\n  ".join(lines[:20]) + "\n"
        "Give this one a name of its own (name=...), or let it take over the name (replace=true; the stage results of "
        "the other experiment stay in the store)."
    )


def read_lock(path: Path) -> Lock:
    """The lock of a run. Raises InputError for a torn file and for one of another version."""
    try:
        return adapter(Lock).validate_python(read_document(path))
    except ValidationError:
        raise InputError(f"{path}: is no lock of a run; {REPAIR}") from None


def utc_now() -> str:
    """`2026-01-31T09:30:00.000+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_lock(exp: Experiment, steps: Steps, plan: Mapping[str, object], clock: Clock = utc_now) -> None:
    """Freeze the plan and tie the name to its stages, before any work. A result of other stages is renamed to
    `result.superseded-….json`. Raises Incomplete, or InputError, for an error of the disk."""
    with disk_errors(Path(exp.runtime.root)):
        exp.folder.mkdir(parents=True, exist_ok=True)
        before = read_result(exp.folder)
        if before is not None and not is_current(before, steps):
            digest = fingerprint(encode({str(name): step.fingerprint for name, step in before.steps.items()}))
            (exp.folder / "result.json").rename(exp.folder / f"result.superseded-{digest}.json")
        write_json(exp.folder / "plan.json", {**plan, "replace": False})
        lock = exp.folder / "lock.json"
        started = _started(lock, steps)
        started = clock() if started is None else started
        write_document(lock, asdict(Lock(identity_of(exp), fingerprints(steps), started)))


def _started(path: Path, steps: Steps) -> str | None:
    """When a run of these steps began before; None if none did, or if its lock is torn."""
    try:
        lock = read_lock(path) if path.exists() else None
    except InputError:
        return None
    return lock.started if lock and lock.steps == fingerprints(steps) else None


def read_plan(path: Path) -> dict[str, Json]:
    """A frozen plan. Raises InputError for a torn file."""
    return read_object(path)


def fingerprints(steps: Steps) -> dict[str, str]:
    """Step name, as text -> fingerprint."""
    return {str(name): step.fingerprint for name, step in steps.items()}


@dataclass(frozen=True)
class StepResult:
    """One step of a finished run: which build of which stage result, where it is, and its metrics as plain values.

    path: the folder of the stage result. The file holds it relative to the folder of the run, so that a root can be
          moved or copied as a whole.
    """

    fingerprint: str
    build: str
    path: Path
    metrics: Mapping[str, object]


@dataclass(frozen=True)
class Confound:
    """A quantity that differs between arms without being the ablated part, for a run and for its baseline at the same
    scale and seed; None where that run has no such stage or has not finished."""

    here: float | None
    baseline: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run, as recorded in its result file. `started` and `finished` are times in ISO 8601, UTC; empty where
    they are not known."""

    name: str
    scale: str
    seed: int
    baseline: str
    caution: str
    identity: Mapping[str, Json]
    steps: Mapping[StepName, StepResult]
    tracked: str | None
    confounds: Mapping[str, Confound] = field(default_factory=dict[str, Confound])
    started: str = ""
    finished: str = ""
    folder: Path | None = None  # where this was read from or written to

    @property
    def run_name(self) -> str:
        return f"{self.name}/{self.scale}/s{self.seed}"

    @property
    def root(self) -> Path | None:
        """The root of the runs that it was read from or written to."""
        return self.folder.parents[3] if self.folder else None

    @property
    def elsewhere(self) -> Path | None:
        """The root, where it is not the one that commands look in by themselves."""
        return None if self.root == OUTPUTS else self.root

    @property
    def rerun(self) -> str:
        """The command that repeats this run."""
        return f"reer rerun {self.run_name}" + (f" --root {self.elsewhere}" if self.elsewhere else "")

    def read(self, name: StepName, kind: type[M]) -> M | None:
        """The metrics of a step as a `kind`; None where this run has no such step."""
        step = self.steps.get(name)
        return None if step is None else read_metrics(kind, step.metrics, f"{self.run_name}: step {name}")

    def metrics_of(self, stage: StageKey[M], label: str = "") -> M | None:
        """The metrics of the step of a stage; None where this run has no such step."""
        return self.read(stage.named(label), stage.metrics)

    def all_metrics_of(self, stage: StageKey[M]) -> dict[str, M]:
        """The metrics of all steps of a stage by label."""
        read = {label: self.metrics_of(stage, label) for label in self.labels_of(stage)}
        return {label: metrics for label, metrics in read.items() if metrics is not None}

    def labels_of(self, stage: StageKey) -> list[str]:
        """The labels of all steps of a stage, in the order of the pipeline."""
        return [name.label for name in self.steps if name.stage == stage.name]

    def folder_of(self, stage: StageKey, label: str = "") -> Path | None:
        """The folder of a stage result; None where this run has no such step."""
        step = self.steps.get(stage.named(label))
        return step.path if step else None

    def rows(self, stage: StageKey, kind: TypeForm[Row], label: str = "") -> list[Row]:
        """The records in the rows of a stage result, none where this run has no such step. Raises InputError for a
        damaged file."""
        folder = self.folder_of(stage, label)
        return read_rows(verified(folder, "rows.jsonl"), kind) if folder else []

    def stale_steps(self) -> list[StepName]:
        """Steps whose stage result was removed, damaged or rebuilt since this result was written."""
        return [name for name, step in self.steps.items() if build_of(step.path) != step.build]

    def why_stale(self) -> str:
        """Why this result no longer counts; empty where it does."""
        rebuilt = ", ".join(map(str, self.stale_steps()))
        return rebuilt and f"stale: {rebuilt} removed, damaged or rebuilt since; rerun"


def write_result(
    exp: Experiment,
    artifacts: Mapping[StepName, Artifact],
    tracked: str | None,
    count_confounds: Callable[[Result], Counts],
    clock: Clock = utc_now,
) -> Result:
    """Write the result file of a run, once everything it names is complete. A result of the same builds keeps the time
    at which it first finished."""
    judges = dict.fromkeys(judge.caution for judge in exp.judges.values())
    cautions = (exp.answers.caution, *judges, exp.thinking.caution(exp.source.name))
    result = Result(
        name=exp.name,
        scale=exp.scale.name,
        seed=exp.seed,
        baseline=exp.baseline,
        caution=" ".join(filter(None, cautions)),
        identity=identity_of(exp),
        steps={name: _step_result(artifact) for name, artifact in artifacts.items()},
        tracked=tracked,
    )
    before, lock = readable_result(exp.folder), exp.folder / "lock.json"
    result = replace(
        result,
        confounds=beside_baseline(exp, result, count_confounds),
        started=read_lock(lock).started if lock.exists() else "",
        finished=before.finished if before and _builds(before) == _builds(result) else clock(),
    )
    content = asdict(replace(result, steps={}))
    del content["folder"]
    steps = {
        str(name): asdict(step) | {"path": os.path.relpath(step.path, exp.folder.resolve())}
        for name, step in result.steps.items()
    }
    with disk_errors(Path(exp.runtime.root)):
        write_document(exp.folder / "result.json", {**content, "steps": steps})
    return replace(result, folder=exp.folder)


def _builds(result: Result) -> dict[StepName, str]:
    return {name: step.build for name, step in result.steps.items()}


def beside_baseline(
    exp: Experiment, result: Result, count_confounds: Callable[[Result], Counts]
) -> dict[str, Confound]:
    """The confounds of a run beside those of its baseline, as far as that has finished; the baseline's are its own."""
    at_baseline = exp.runtime.runs / exp.baseline / exp.scale.name / f"s{exp.seed}"
    baseline = result if exp.name == exp.baseline else readable_result(at_baseline)
    of_baseline: Counts = count_confounds(baseline) if baseline else {}
    return {label: Confound(value, of_baseline.get(label)) for label, value in count_confounds(result).items()}


def _step_result(artifact: Artifact) -> StepResult:
    metrics = asdict(cast(Any, artifact.metrics))
    return StepResult(artifact.fingerprint, artifact.build, artifact.path.resolve(), metrics)


def read_result(folder: Path, name: str = "result.json") -> Result | None:
    """The result in a run's folder, or None if the run has not finished; by its `name` one that was superseded. Raises
    InputError for a torn file and for one of another format."""
    path = folder / name
    if not path.exists():
        return None
    content = cast("dict[str, Any]", read_document(path))
    try:
        steps = {
            StepName.parse(name): StepResult(**step | {"path": (folder / step["path"]).resolve()})
            for name, step in content.pop("steps").items()
        }
        confounds = {label: Confound(**pair) for label, pair in content.pop("confounds").items()}
        return Result(**content, steps=steps, confounds=confounds, folder=folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no result of a run ({error}); {REPAIR}") from None


def readable_result(folder: Path) -> Result | None:
    """The result in a run's folder; None, with a line, where its file is torn or of another version."""
    try:
        return read_result(folder)
    except InputError as error:
        log.warning("left out: %s", error)
        return None


def is_current(result: Result | None, steps: Steps) -> bool:
    """True if a result is that of exactly these steps."""
    have = {name: step.fingerprint for name, step in result.steps.items()} if result else {}
    return have == {name: step.fingerprint for name, step in steps.items()}


def all_results(runs: Path) -> list[Result]:
    """Every finished run, by name. One whose file is torn or of another version is left out with a line."""
    return [r for path in sorted(runs.glob("*/*/s*/result.json")) if (r := readable_result(path.parent)) is not None]


def run_name(folder: Path) -> str:
    """The name of the run in a folder, such as `full/smoke/s0`."""
    return "/".join(folder.parts[-3:])


def near_run(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown run: the name that goes on with overrides, else the nearest one."""
    longer = next((whole for whole in known if whole.startswith(f"{name}+")), None)
    return f"; did you mean {longer}?" if longer else near(name, known)


def find_run(runs: Path, name: str, scale: str | None = None, seed: int = 0) -> Path:
    """The folder of one run, by its name (`full/smoke/s1`) or by that of its arm, with this seed. Raises InputError
    listing all runs when it is absent, or exists at several scales and none is given."""
    have = {run_name(path.parent): path.parent for path in sorted(runs.glob("*/*/s*/plan.json"))}
    if name in have:
        return have[name]
    named = [f for f in have.values() if (f.parts[-3], f.parts[-1]) == (name, f"s{seed}")]
    folders = [folder for folder in named if scale in (None, folder.parts[-2])]
    if len(folders) == 1:
        return folders[0]
    known = list(have) if "/" in name else [folder.parts[-3] for folder in have.values()]
    hint = "" if name in known else near_run(name, known)
    problem = "exists at several scales, add --scale" if folders else f"does not exist{hint}"
    with_seed = "" if "/" in name else f" with seed {seed}{f' at scale {scale}' if scale else ''}"
    listed = "\n  ".join(have) or "none"
    raise InputError(f"run {name!r}{with_seed} {problem}; runs in {runs}:\n  {listed}")
