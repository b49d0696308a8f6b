"""What the controls of a sweep say about it: the baseline repeated must not differ, and what is known to be worse must
be found worse. An arm is a control if its contract states what to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import Measure
from evals.statistics.paired import Difference
from experiments.contracts.terms import Expectation


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control beside the baseline: what is expected of it, and by name its headline measures that were tested."""

    name: str
    expects: Expectation
    tested: Mapping[str, tuple[Measure, Difference]]

    @property
    def different(self) -> list[str]:
        """The measures on which it is called different."""
        return [name for name, (_, difference) in self.tested.items() if difference.finding == "different"]

    @property
    def worse(self) -> list[str]:
        """The measures on which it is called different, for the worse."""
        return [name for name in self.different if _is_worse(*self.tested[name])]


def _is_worse(measure: Measure, difference: Difference) -> bool:
    return (
        measure.best is not None and measure.worst is not None and difference.mean * (measure.best - measure.worst) < 0
    )


def calibration(controls: Sequence[Control]) -> tuple[str, ...]:
    """One line on all controls, none without one that was tested."""
    texts = [_said(control) for control in controls if control.tested]
    return (f"Calibration: {'; '.join(texts)}.",) if texts else ()


def _said(control: Control) -> str:
    of = f"{len(control.tested)} measure{'' if len(control.tested) == 1 else 's'}"
    if control.expects == "same":
        if not control.different:
            return f"{control.name} repeats the baseline and shows no difference on {of}"
        measures = ", ".join(control.different)
        return f"{control.name} repeats the baseline and yet differs on {measures}: chance makes differences like it"
    if control.worse:
        return f"{control.name} is known to be worse and is found worse on {', '.join(control.worse)}"
    return f"{control.name} is known to be worse and is not found worse on {of}: a loss like it cannot be seen here"
