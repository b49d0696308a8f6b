"""A world: a student and a judge with drawn errors, and effects of known size planted on drawn arms."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from experiments.selftest.arms import (
    BASELINE,
    DRIFTING,
    KIND_OF,
    REDUNDANT,
    RESERVE,
    SIZED,
    SIZES,
    STUMBLING_EPOCHS,
    Kind,
)
from experiments.selftest.judge import MIDDLE, SimulatedJudge
from experiments.selftest.student import Properties, SimulatedStudent

RESERVE_GRADES = 2.0  # that an arm loses which leaves out both of two parts that do for one another
DRIFT_GRADES = 2.5
NAMES = tuple(field.name for field in fields(Properties))


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true: how the student learns, how the judge errs, and which kind each sealed arm is."""

    seed: int
    student: SimulatedStudent
    judge: SimulatedJudge
    kinds: Mapping[str, Kind]

    def judge_of(self, arm: str) -> SimulatedJudge:
        """The judge at the time when an arm is judged."""
        return replace(self.judge, shift=-DRIFT_GRADES) if arm == DRIFTING else self.judge

    def expected_grade(self, quality: float, of_trainings: bool) -> float:
        """The expected grade of a student of this quality on new items (see `SimulatedStudent.expected_grade`)."""
        return self.student.expected_grade(quality, self.judge, of_trainings)


def drawn_world(seed: int, learnt: Mapping[str, Properties]) -> World:
    """The world of a seed, given the properties of the training rows of each arm."""
    draw = random.Random(f"world|{seed}")
    sizes = dict(zip(draw.sample(SIZED, len(SIZED)), SIZES, strict=True))
    effects = {arm: draw.choice((-1.0, 1.0)) * SIZES[kind] for arm, kind in sizes.items()}
    student = SimulatedStudent(
        seed=seed,
        base=0.0,
        per_unit=dict.fromkeys(NAMES, 0.0),
        reserve=RESERVE_GRADES,
        training_sd=draw.choice((0.0, 0.0, 0.15)),
        item_sd=draw.uniform(0.5, 1.2),
        answer_sd=draw.uniform(0.4, 0.9),
        empty_share=draw.choice((0.0, 0.005)),
        stumbles_from_epochs=STUMBLING_EPOCHS,
    )
    judge = SimulatedJudge(
        seed=seed,
        noise_sd=draw.uniform(0.4, 0.9),
        length_slope=draw.choice((0.0, 0.3)),
        failure_share=draw.choice((0.0, 0.02)),
        stumble_share=0.7,
    )
    return World(seed=seed, student=planted(student, effects, learnt), judge=judge, kinds={**KIND_OF, **sizes})


def planted(
    student: SimulatedStudent, effects: Mapping[str, float], learnt: Mapping[str, Properties]
) -> SimulatedStudent:
    """The student to which each of these arms makes its difference in quality, and to which the switches that do for
    one another make none; the quality of the baseline is in the middle of the grades."""
    import numpy as np

    wanted = {**effects, REDUNDANT: 0.0, RESERVE: 0.0}
    before, reserve = learnt[BASELINE], {arm: student.quality(learnt[arm]) for arm in wanted}
    changes = [[asdict(learnt[arm])[name] - asdict(before)[name] for name in NAMES] for arm in wanted]
    linear = [wanted[arm] - reserve[arm] + student.quality(before) for arm in wanted]
    units = np.linalg.solve(np.asarray(changes), np.asarray(linear))
    taught = replace(student, per_unit=dict(zip(NAMES, map(float, units), strict=True)))
    return replace(taught, base=MIDDLE - taught.quality(before))
