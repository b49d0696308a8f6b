"""The sealed arms of a world: experiments of which it is known what is true, and what the harness must say of them.

What is right is decided here, beforehand, by kind:

- large and medium effect: *different*, with the true sign;
- small effect: not *different* with the wrong sign, and not *equivalent* where the truth exceeds the margin;
- no effect: not *different*;
- redundant switch: not *different* alone, because another part does the same; *different*, with the true sign, where
  both are left out;
- dead, leaking and mislabelled: the contract says that the arm is not what it claims to be, before it is trained or
  beside the baseline;
- judge drifts (after all other arms of the sweep were judged): the drift is named beside the arm;
- judge fails: verdicts without a grade are counted, and nothing is concluded from a score of too few items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

from experiments.contracts.terms import Contract
from experiments.experiment import Experiment

OVERRIDES = ("sweep=ablations", "scale=smoke", "tracking=silent")  # of the real arms that the sealed ones are made of
BASELINE = "full"
SIZED = ("no_synthetic_data", "no_iterative_search", "short_trajectories")
REDUNDANT, RESERVE = "no_reflection_tokens", "no_literature_arts"
BOTH = f"{REDUNDANT}+{RESERVE}"
NO_EFFECT, DEAD, LEAKING, MISLABELLED = "another_order", "dead_switch", "leaking_switch", "mislabelled_arm"
DRIFTING, FAILING = "judge_drifts", "judge_fails"
STUMBLING_EPOCHS = 3.0


class Kind(StrEnum):
    """What is true of a sealed arm."""

    LARGE = "large effect"
    MEDIUM = "medium effect"
    SMALL = "small effect"
    NONE = "no effect"
    REDUNDANT = "redundant switch"
    DEAD = "dead switch"
    LEAKING = "leaking switch"
    MISLABELLED = "mislabelled arm"
    DRIFTS = "judge drifts"
    FAILS = "judge fails"


SIZES = {Kind.LARGE: 2.0, Kind.MEDIUM: 1.5, Kind.SMALL: 0.3}
"""Grades, of which there are ten."""

KIND_OF = {
    NO_EFFECT: Kind.NONE,
    REDUNDANT: Kind.REDUNDANT,
    DEAD: Kind.DEAD,
    LEAKING: Kind.LEAKING,
    MISLABELLED: Kind.MISLABELLED,
    FAILING: Kind.FAILS,
    DRIFTING: Kind.DRIFTS,
}
"""The arms whose kind is the same in every world; the others have the sizes in an order that is drawn."""

MEASURED = (*SIZED, NO_EFFECT, REDUNDANT, RESERVE, BOTH)
"""The arms whose true difference from the baseline is known."""


def all_arms(real: Mapping[str, Experiment]) -> dict[str, Experiment]:
    """Every arm of a world by name, the baseline first and the one that is judged last, after the drift, last."""
    baseline = real[BASELINE]
    made: dict[str, Callable[[], Experiment]] = {
        NO_EFFECT: lambda: _touching("data.seed", baseline, data=replace(baseline.data, seed=1)),
        BOTH: lambda: replace(
            real[REDUNDANT],
            categories=real[RESERVE].categories,
            contract=real[REDUNDANT].contract.joined(real[RESERVE].contract),
        ),
        DEAD: lambda: _touching("trajectory", baseline, trajectory=replace(baseline.trajectory, drop_above=0.999)),
        LEAKING: lambda: replace(real["no_iterative_search"], reflection=real[REDUNDANT].reflection),
        MISLABELLED: lambda: replace(real[RESERVE], contract=real["no_iterative_search"].contract),
        FAILING: lambda: _touching("train.epochs", baseline, train=replace(baseline.train, epochs=STUMBLING_EPOCHS)),
        DRIFTING: lambda: _touching("train.epochs", baseline, train=replace(baseline.train, epochs=2.0)),
    }
    names = (BASELINE, *SIZED, REDUNDANT, RESERVE)
    return {name: real[name] for name in names} | {name: replace(make(), name=name) for name, make in made.items()}


def _touching(key: str, baseline: Experiment, **parts: object) -> Experiment:
    return replace(baseline, **parts, contract=Contract(touches=(key,)))  # pyright: ignore[reportArgumentType]
