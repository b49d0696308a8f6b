"""What a finished run was planned to take, and what it took: from its frozen plan and the records of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from experiments.experiment import Experiment
from experiments.metrics import evaluation, synthesis, training
from experiments.planning.costs import Costs
from experiments.store.records import read_record
from experiments.store.runs import Result
from experiments.store.step import StepName
from reer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PlannedActual:
    """One stage: seconds on the clock and tokens (generated, or trained on) as they were planned and as they were.

    `tokens` is None where the stage records none; `replayed` says that model calls were answered from records of
    earlier runs, which takes no time.
    """

    stage: str
    planned_seconds: float
    seconds: float
    planned_tokens: int
    tokens: int | None
    replayed: bool

    @property
    def ratio(self) -> float | None:
        """Actual over planned seconds; None where no time was planned, or calls were replayed."""
        return None if not self.planned_seconds or self.replayed else self.seconds / self.planned_seconds


class _Recorded(NamedTuple):
    tokens: int | None
    replayed: bool = False


def planned_and_actual(exp: Experiment, result: Result) -> list[PlannedActual]:
    """The stages of a run that have an estimate, from the lengths that its plan assumes. Raises InputError where none
    of them is in the store."""
    rows: list[PlannedActual] = []
    for name, estimate in Costs.of(exp).all().items():
        step = result.steps.get(name)
        if step is None or estimate.cost is None or not (step.path / "record.json").exists():
            continue
        recorded = _recorded(name, result, exp)
        rows.append(
            PlannedActual(
                stage=str(name),
                planned_seconds=estimate.cost.hours * 3600,
                seconds=read_record(step.path).seconds,
                planned_tokens=estimate.cost.written,
                tokens=recorded.tokens,
                replayed=recorded.replayed,
            )
        )
    if not rows:
        raise InputError(
            f"run {result.run_name}: none of its stages that have an estimate is in the store; run it again"
        )
    return rows


def _recorded(name: StepName, result: Result, exp: Experiment) -> _Recorded:
    """The tokens that a stage generated or trained on, as its metrics have them."""
    if name == synthesis.DRAFT.named() and (draft := result.read(name, synthesis.DraftMetrics)) is not None:
        return _Recorded(draft.tokens, draft.calls_replayed > 0)
    if name == synthesis.REFINE.named() and (search := result.read(name, synthesis.RefineMetrics)) is not None:
        return _Recorded(search.generated_tokens, not search.calls)
    if name.stage == evaluation.GENERATE.name and (answers := result.read(name, evaluation.GenerateMetrics)):
        return _Recorded(round(answers.rows * answers.mean_tokens))
    if name.stage == evaluation.GRADE.name and (grades := result.read(name, evaluation.GradeMetrics)):
        return _Recorded(grades.judge_tokens_written, grades.judgements_asked_here < grades.judgements)
    if name == training.TRAIN.named() and (rows := result.metrics_of(training.RENDER)) is not None:
        return _Recorded(round(exp.train.epochs * (rows.trained_tokens + rows.masked_tokens)))
    return _Recorded(None)
