"""What else differs between the arms: what their configuration changed, and the quantities that changed with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.page.study import Study
from experiments.store.metrics import number

MATERIAL = 2.0  # a quantity that differs by this factor from the baseline's is flagged


@dataclass(frozen=True)
class ChangeView:
    """What an arm changed against the baseline. `no_op`: it trained on the tokens of the baseline."""

    name: str
    changed: tuple[str, ...]
    no_op: bool


@dataclass(frozen=True)
class Quantity:
    """One confound of one arm; `ratio` to the baseline's where it is large enough to flag, else empty."""

    text: str
    ratio: str


@dataclass(frozen=True)
class ConfoundView:
    """One confound in all arms."""

    label: str
    cells: tuple[Quantity, ...]


@dataclass(frozen=True)
class ConditionsView:
    """`confounds` are those in which arms differ, at the first seed; `equal` those that all arms share."""

    changes: tuple[ChangeView, ...]
    arms: tuple[str, ...]
    confounds: tuple[ConfoundView, ...]
    equal: tuple[str, ...]
    flagged: tuple[str, ...]


def conditions_view(study: Study) -> ConditionsView:
    """Changes and confounds of one study."""
    arms = [study.first(name) for name in study.arms]
    labels = dict.fromkeys(label for comparison in study.comparisons for label in comparison.reported_confounds())
    values = {label: [arm.confounds.get(label) for arm in arms] for label in labels}
    baseline = study.first(study.baseline).confounds if study.baseline else {}
    rows = {
        label: tuple(_quantity(value, baseline.get(label)) for value in of_arms)
        for label, of_arms in values.items()
        if len(set(of_arms)) > 1
    }
    return ConditionsView(
        changes=tuple(ChangeView(arm.name, arm.changed, arm.no_op) for arm in arms if not arm.is_baseline),
        arms=study.arms,
        confounds=tuple(ConfoundView(label, cells) for label, cells in rows.items()),
        equal=tuple(f"{label} {number(of_arms[0])}" for label, of_arms in values.items() if label not in rows),
        flagged=tuple(_flagged(study.arms, rows)),
    )


def _flagged(arms: Sequence[str], rows: Mapping[str, Sequence[Quantity]]) -> Iterator[str]:
    """One line for each arm with a flag: `no_search: rows 0.4 ×, trained tokens 0.2 ×`."""
    for place, arm in enumerate(arms):
        flags = [f"{label} {cells[place].ratio}" for label, cells in rows.items() if cells[place].ratio]
        if flags:
            yield f"{arm}: {', '.join(flags)}"


def _quantity(value: float | None, baseline: float | None) -> Quantity:
    return Quantity(number(value), material_ratio(value, baseline))


def material_ratio(value: float | None, baseline: float | None) -> str:
    """`0.43 ×` where a quantity is at most half or at least twice the baseline's, `from 0` where that is zero; else
    empty."""
    if value is None or baseline is None or value == baseline:
        return ""
    low, high = sorted((abs(value), abs(baseline)))
    if low * MATERIAL > high:
        return ""
    return f"{value / baseline:.2g} ×" if baseline else "from 0"
