"""Whether the contract of an arm holds: before it is trained, as far as that can be known, and beside its baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.judging.reliability import change_of_anchors
from experiments.config.choices import ComposedOf, composed_of
from experiments.contracts.confounds import at_seeds
from experiments.contracts.measured import metrics_in, value_of
from experiments.contracts.terms import Contract, Expectation, MetricPath, Side, Term, is_touched
from experiments.history.environment import Environment, moved
from experiments.metrics import evaluation, probes, training
from experiments.store.fingerprint import Json, difference
from experiments.store.metrics import StageMetrics, number
from experiments.store.records import RECORD, digest_of, read_record
from experiments.store.runs import Result, identity_of, read_plan, readable_result
from experiments.store.step import Artifact, StepName
from reer.errors import InputError
from reer.parts import build

if TYPE_CHECKING:
    from experiments.experiment import Experiment

Metrics = Mapping[StepName, StageMetrics]
AFTER_RENDERING = ("student", "train", "seed", "scale", "benchmark", "answering", "judge", "reliability", "embedding")
SCORER_MODEL = "scorer_model"  # the key by which a model is chosen for `scorer`


@dataclass(frozen=True)
class CheckedTerm:
    """One statement of a contract beside what was measured. `holds` is None where that is not known. `seeds` are those
    at which this is so, where the arm was run at others, too."""

    of: Side
    statement: str
    measured: float | None
    holds: bool | None
    seeds: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.statement} (measured: {number(self.measured)}{at_seeds(self.seeds)})"


@dataclass(frozen=True, kw_only=True)
class ContractReport:
    """What became of a contract beside the baseline.

    terms:   each statement with its measurement
    leaked:  keys of the configuration that differ from the baseline's and that nothing lets the arm touch
    no_op:   the arm should change the training rows and trained on the tokens of the baseline
    moved:   what else made the two runs differently: code, packages, models, servers, hardware, a judge that drifted;
             named, and no breach
    stated:  whether the arm states what it may touch
    expects: what must come out beside the baseline, where the arm is a control
    """

    terms: tuple[CheckedTerm, ...] = ()
    leaked: tuple[str, ...] = ()
    no_op: bool = False
    moved: tuple[str, ...] = ()
    stated: bool = False
    expects: Expectation | None = None

    @property
    def broken(self) -> tuple[str, ...]:
        """Why the arm is not comparable with the baseline, one sentence each; empty where it is."""
        lines = ["trained on the tokens of the baseline: the switch changed nothing"] if self.no_op else []
        lines += [f"also changed {key}" for key in self.leaked]
        return (*lines, *(str(term) for term in self.terms if term.holds is False))

    @property
    def word(self) -> str:
        """The outcome in a few words."""
        if self.broken:
            return f"not comparable: {'; '.join(self.broken)}"
        return "kept" if self.stated else "no contract stated"


def require_before_training(exp: Experiment, artifacts: Mapping[StepName, Artifact]) -> None:
    """Raise InputError where the contract of an arm is broken by what is measured so far, or by its baseline, if that
    has run with the same settings."""
    metrics = {name: artifact.metrics for name, artifact in artifacts.items()}
    broken = [term for term in checked(exp.contract, metrics, _metrics_of_baseline(exp)) if term.holds is False]
    if not broken:
        return
    reason = (
        "the baseline gave its switch nothing to act on" if broken[0].of == "baseline" else "its switch did not act"
    )
    raise InputError(
        f"{exp.run_name} is not trained, because its contract is broken: {'; '.join(map(str, broken))}. As it is, "
        f"{reason}; change the override that undoes it, or use a larger scale or another source"
    )


def _metrics_of_baseline(exp: Experiment) -> Metrics | None:
    """The metrics of the baseline's run; None where none has finished that differs by what the arm touches alone."""
    result = readable_result(exp.runtime.runs / exp.baseline / exp.scale.name / f"s{exp.seed}")
    if result is None or result.why_stale():
        return None
    if untouched(changed_between(result.identity, identity_of(exp)), exp.contract.touches or ()):
        return None
    try:
        return metrics_in(result)
    except InputError:  # of another version of this program; the comparison says so
        return None


def checked(contract: Contract, arm: Metrics, baseline: Metrics | None) -> tuple[CheckedTerm, ...]:
    """Each statement beside its measurement. One about a stage that the arm does not have, or has not run, is open; a
    baseline that measured nothing has nothing for the switch to act on."""
    return tuple(_checked(term, arm, baseline) for term in contract.terms())


def _checked(term: Term, arm: Metrics, baseline: Metrics | None) -> CheckedTerm:
    of_baseline = None if baseline is None else value_of(baseline, term.path)
    measured = value_of(arm, term.path) if term.of == "arm" else of_baseline
    if measured is None:
        missing = term.of == "baseline" and baseline is not None
        return CheckedTerm(term.of, str(term), None, False if missing else None)
    return CheckedTerm(term.of, str(term), measured, term.holds(measured, of_baseline))


def changed_between(baseline: Mapping[str, Json], identity: Mapping[str, Json]) -> tuple[str, ...]:
    """The differences of an identity from the baseline's, without that of the name: `path: old -> new`. Equal parts
    are left out first, because comparing them field by field takes most of the time."""
    both = baseline.keys() & identity.keys()
    equal = {part for part in both if repr(baseline[part]) == repr(identity[part])} | {"name"}
    old, new = ({part: side[part] for part in side.keys() - equal} for side in (baseline, identity))
    return tuple(difference(old, new))


def untouched(changed: Iterable[str], touches: Sequence[str]) -> tuple[str, ...]:
    """The keys of these differences that may not be touched."""
    keys = (line.partition(": ")[0] for line in changed)
    return tuple(key for key in keys if not is_touched(key, touches))


def report_of(result: Result, baseline: Result, changed: Sequence[str]) -> ContractReport:
    """The contract of a finished run beside its baseline. `changed` are the differences of their configuration."""
    contract, other = contract_in(result), contract_in(baseline)
    allowed = [*(contract.touches or ()), *(other.touches or ()), *_overridden(result), *_overridden(baseline)]
    return ContractReport(
        terms=checked(contract, _readable(result, contract), _readable(baseline, contract)),
        leaked=() if contract.touches is None else untouched(changed, allowed),
        no_op=_is_no_op(result, baseline),
        moved=_moved(result, baseline),
        stated=contract.touches is not None,
        expects=contract.expects,
    )


def contract_in(result: Result) -> Contract:
    """The contract in the frozen plan of a run; an empty one where the run has none."""
    content = _plan(result).get("contract")
    return build(content, {}, "contract", Contract) if isinstance(content, Mapping) else Contract()


def _plan(result: Result) -> Mapping[str, Json]:
    path = result.folder / "plan.json" if result.folder else None
    return read_plan(path) if path and path.is_file() else {}


def _overridden(result: Result) -> list[str]:
    """The groups and keys that the command set: its name names them."""
    composed: ComposedOf = composed_of(_plan(result))
    keys = (override.lstrip("+~").partition("=")[0] for override in composed.overrides)
    packages = (key.rpartition("@")[2].replace("/", ".") for key in keys)
    return ["scorer" if package == SCORER_MODEL else package for package in packages]


def _readable(result: Result, contract: Contract) -> Metrics:
    """The metrics of the stages that a contract names."""
    named: set[MetricPath] = {term.path for term in contract.terms()}
    return metrics_in(result, {path.stage for path in named})


def _is_no_op(result: Result, baseline: Result) -> bool:
    changed_later = any(result.identity.get(part) != baseline.identity.get(part) for part in AFTER_RENDERING)
    rows = _training_data(result)
    return rows is not None and not changed_later and rows == _training_data(baseline)


def _training_data(result: Result) -> str | None:
    """sha256 of the rows a run trained on; None where it trained nothing."""
    folder = result.folder_of(training.MATCH) or result.folder_of(training.RENDER)
    return digest_of(folder / "rows.jsonl").sha256 if folder else None


def _moved(result: Result, baseline: Result) -> tuple[str, ...]:
    """What made two runs differently, beside their configuration: of every step that each made for itself."""
    shared = [name for name in result.steps if name in baseline.steps]
    own = [n for n in shared if result.steps[n].fingerprint != baseline.steps[n].fingerprint]
    folders = {name: (baseline.steps[name].path, result.steps[name].path) for name in own}
    made = {
        str(name): (Environment.of(read_record(before)), Environment.of(read_record(now)))
        for name, (before, now) in folders.items()
        if (before / RECORD).is_file() and (now / RECORD).is_file()
    }
    named = (f"{m.what}: {m.before} -> {m.now}" for m in moved(made))
    return (*named, *_judges(result, baseline), *_drifted_judges(result, baseline))


def _judges(result: Result, baseline: Result) -> list[str]:
    """The judges that answered, by benchmark, where they called themselves by other names."""
    here, there = (run.all_metrics_of(evaluation.GRADE) for run in (result, baseline))
    served = {label: (there[label].judge_served, here[label].judge_served) for label in here if label in there}
    return [
        f"judge of {label}: {', '.join(before)} -> {', '.join(now)}"
        for label, (before, now) in served.items()
        if before and now and set(before) != set(now)
    ]


def _drifted_judges(result: Result, baseline: Result) -> list[str]:
    """The judges that graded the same fixed answers otherwise for one run than for the other, by benchmark."""
    here, there = (run.all_metrics_of(probes.RELIABILITY) for run in (result, baseline))
    anchors = {label: (here[label].anchors, there[label].anchors) for label in here if label in there}
    changes = {label: change_of_anchors(now, then) for label, (now, then) in anchors.items() if now and then}
    return [
        f"judge of {label}: its grades of the anchors changed by {change.drift:+.2g}"
        for label, change in changes.items()
        if change.flagged and change.drift is not None
    ]
