"""What else differs between the arms: what their configuration changed, and the quantities that changed with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.contracts.check import CheckedTerm
from experiments.contracts.conditions import Conditions
from experiments.contracts.confounds import at_seeds
from experiments.report import formatting
from experiments.report.page.study import Study
from experiments.store.metrics import number


@dataclass(frozen=True)
class ChangeView:
    """What an arm changed against the baseline, each statement of its contract beside what was measured, why it is not
    comparable, why its model is degenerate, and what else made it differently."""

    name: str
    changed: tuple[str, ...]
    contract: str
    terms: tuple[CheckedTerm, ...]
    broken: tuple[str, ...]
    degenerate: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True)
class Quantity:
    """One confound of one arm; `ratio` to the baseline's where it is flagged, else empty."""

    text: str
    ratio: str


@dataclass(frozen=True)
class ConfoundView:
    """One confound in all arms."""

    label: str
    cells: tuple[Quantity, ...]


@dataclass(frozen=True)
class ConditionsView:
    """`confounds` are those in which arms differ, means over the seeds where these were compared; `equal` those that
    all arms share."""

    changes: tuple[ChangeView, ...]
    arms: tuple[str, ...]
    confounds: tuple[ConfoundView, ...]
    equal: tuple[str, ...]
    flagged: tuple[str, ...]


def conditions_view(study: Study) -> ConditionsView:
    """Changes and confounds of one study."""
    arms = [study.conditions(name) for name in study.arms]
    labels = [label for label in arms[0].confounds if any(arm.confounds.get(label) is not None for arm in arms)]
    values = {label: [arm.confounds.get(label) for arm in arms] for label in labels}
    rows = {
        label: tuple(_quantity(arm, label) for arm in arms)
        for label, of_arms in values.items()
        if len(set(of_arms)) > 1
    }
    return ConditionsView(
        changes=tuple(_change(arm) for arm in arms if not arm.is_baseline),
        arms=study.arms,
        confounds=tuple(ConfoundView(label, cells) for label, cells in rows.items()),
        equal=tuple(f"{label} {number(of_arms[0])}" for label, of_arms in values.items() if label not in rows),
        flagged=tuple(_flagged(arms)),
    )


def _change(arm: Conditions) -> ChangeView:
    report = arm.contract
    return ChangeView(
        name=arm.label,
        changed=arm.changed,
        contract=report.word,
        terms=report.terms,
        broken=report.broken,
        degenerate=arm.degenerate,
        moved=report.moved,
    )


def _flagged(arms: Sequence[Conditions]) -> Iterator[str]:
    """One line for each arm with a flag: `no_search: rows 4 vs 10 (0.4 ×); control: …`."""
    for arm in arms:
        if arm.flags:
            control = formatting.controls_text(arm)
            texts = ", ".join(map(formatting.flag_text, arm.flags))
            yield f"{arm.label}: {texts}" + (f"; control: {control}" if control else "")


def _quantity(arm: Conditions, label: str) -> Quantity:
    flag = next((flag for flag in arm.flags if flag.label == label), None)
    ratio = formatting.ratio_text(flag) + at_seeds(flag.seeds) if flag else ""
    return Quantity(number(arm.confounds.get(label)), ratio)
