"""The measured numbers of a run by name, resolved against the metrics of its stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import cast, get_args, get_origin, get_type_hints

from experiments.contracts.terms import Contract, MetricPath
from experiments.metrics import anchoring, controls, data, degeneration, evaluation, probes, synthesis, training
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Result
from experiments.store.step import StageKey, StepName
from reer.errors import InputError, near

MODULES = (data, synthesis, controls, anchoring, training, degeneration, probes, evaluation)
STAGES = {stage.name: stage for module in MODULES for stage in vars(module).values() if isinstance(stage, StageKey)}


def check_names(contract: Contract) -> None:
    """Raise InputError for a statement about a number that no stage measures, with the nearest name."""
    for term in contract.terms():
        _check(term.path, f"contract.{term.of}.{term.path}")


def _check(path: MetricPath, key: str) -> None:
    if path.stage not in STAGES:
        raise InputError(f"{key}: no stage is called {path.stage!r}{near(path.stage, STAGES)}")
    hints = get_type_hints(STAGES[path.stage].metrics)
    if path.field not in hints:
        raise InputError(f"{key}: stage {path.stage} measures no {path.field!r}{near(path.field, hints)}")
    kind = get_origin(hints[path.field]) or hints[path.field]
    is_mapping = isinstance(kind, type) and issubclass(kind, Mapping)
    if is_mapping is (path.key is None):
        wanted = "a key after it, since it is a mapping" if is_mapping else "no key after it, since it is one number"
        raise InputError(f"{key}: want {wanted}")
    if not is_mapping and not {kind, *get_args(hints[path.field])} & {int, float}:
        numbers = ", ".join(name for name, hint in hints.items() if {hint, *get_args(hint)} & {int, float})
        raise InputError(f"{key}: is no number; stage {path.stage} has {numbers}")


def value_of(metrics: Mapping[StepName, StageMetrics], path: MetricPath) -> float | None:
    """A measured number; None where the run has no such step, or measured nothing there. A count that a mapping does
    not hold is 0."""
    step = metrics.get(StepName(path.stage, path.label))
    if not is_dataclass(step) or path.field not in {field.name for field in fields(step)}:
        return None
    value: object = getattr(step, path.field)
    if path.key is not None:
        value = cast("Mapping[str, object]", value).get(path.key, 0)
    return float(value) if isinstance(value, int | float) else None


def metrics_in(result: Result, stages: Collection[str] = STAGES) -> dict[StepName, StageMetrics]:
    """The metrics of every step of a run, in order, or of those of some stages. Raises InputError for a record of
    another version."""
    names = (name for name in result.steps if name.stage in STAGES and name.stage in stages)
    read = {name: result.read(name, STAGES[name.stage].metrics) for name in names}
    return {name: metrics for name, metrics in read.items() if metrics is not None}
