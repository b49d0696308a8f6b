"""A simulated student: what it learns depends on stated properties of the rows that it is trained on, and nothing else.

Its answers state their quality in words (`experiments.selftest.judge.marked`); the rest of an answer is drawn words.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import fmean

from evals.benchmark import Item
from experiments.selftest.judge import STUMBLES_ON, WORST, SimulatedJudge, marked
from reer.curation.markers import Markers
from reer.text import words
from reer.types import Sample

REASONING = "reasoning"  # the category of public rows
LENGTHS = (20, 28, 40, 57, 80)  # words of an answer, each as likely
VOCABULARY = tuple(map("".join, product("bcdfghlmnprstw", ("all", "een", "ird", "one", "unt", "ack"))))


@dataclass(frozen=True, kw_only=True)
class Properties:
    """What a simulated student sees of its training rows; all are means over all rows.

    synthetic:  the share of rows that the method wrote
    fit:        the share of an answer's words that its thinking holds
    markers:    reflection markers in the thinking
    words:      words of the thinking, in hundreds
    literature: the share of rows of literature and arts
    """

    synthetic: float
    fit: float
    markers: float
    words: float
    literature: float

    @property
    def has_reserve(self) -> bool:
        """Whether one of two properties is there, either of which does for the other."""
        return self.markers > 0 or self.literature > 0


def properties(rows: Sequence[Sample], markers: Markers, literature: Collection[str]) -> Properties:
    """The properties of training rows; those of the thinking are of the rows that the method wrote."""
    own = [row if row.category != REASONING and not row.without_thinking else None for row in rows]
    return Properties(
        synthetic=fmean(row.category != REASONING for row in rows),
        fit=fmean(_fit(row) if row else 0.0 for row in own),
        markers=fmean(markers.count(row.thinking) if row else 0 for row in own),
        words=fmean(len(words(row.thinking)) / 100 if row else 0.0 for row in own),
        literature=fmean(row is not None and row.category in literature for row in own),
    )


def _fit(row: Sample) -> float:
    answer, thinking = words(row.answer), set(words(row.thinking))
    return sum(word in thinking for word in answer) / max(1, len(answer))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A trained simulated student: its mean quality, what makes its answers its own, and whether it has learnt the
    sentence that the judge stumbles on."""

    quality: float
    digest: str
    stumbles: bool


@dataclass(frozen=True, kw_only=True)
class SimulatedStudent:
    """How training rows make quality, in grades, and how answers vary around it.

    seed:        that of its world: of its trainings and its answers
    base:        the quality without anything
    per_unit:    property -> grades that a unit of it adds
    reserve:     grades that are lost where neither markers nor literature are in the rows: two parts of the method of
                 which one is enough
    training_sd: between trainings on the same rows
    item_sd:     between the items of a benchmark, the same for all students of a world
    answer_sd:   between answers to one item
    empty_share: of the answers
    stumbles_from_epochs: with as many passes or more it learns the sentence that the judge stumbles on
    """

    seed: int
    base: float
    per_unit: Mapping[str, float]
    reserve: float
    training_sd: float
    item_sd: float
    answer_sd: float
    empty_share: float
    stumbles_from_epochs: float

    def quality(self, learnt: Properties) -> float:
        """The quality that rows with these properties make, on the average of trainings."""
        measured = asdict(learnt)
        return (
            self.base
            + sum(grades * measured[name] for name, grades in self.per_unit.items())
            - (0.0 if learnt.has_reserve else self.reserve)
        )

    def trained(self, learnt: Properties, digest: str, epochs: float) -> Weights:
        """A training: on the rows of this digest, which holds the seed and the recipe too."""
        drawn = random.Random(f"{self.seed}|training|{digest}").gauss(0.0, self.training_sd)
        return Weights(
            quality=self.quality(learnt) + drawn, digest=digest, stumbles=epochs >= self.stumbles_from_epochs
        )

    def answer(self, weights: Weights, item: Item, seed: int) -> str:
        """The answer to an item."""
        of_item = random.Random(f"{self.seed}|item|{item.id}").gauss(0.0, self.item_sd)
        draw = random.Random(f"{self.seed}|{weights.digest}|{item.id}|{seed}")
        quality = weights.quality + of_item + draw.gauss(0.0, self.answer_sd)
        text = " ".join(draw.choices(VOCABULARY, k=draw.choice(LENGTHS)))
        if draw.random() < self.empty_share:
            return ""
        return marked(quality, f"{text}\n{STUMBLES_ON}" if weights.stumbles else text)

    def expected_grade(self, quality: float, judge: SimulatedJudge, of_trainings: bool) -> float:
        """The expectation of a grade that this judge gives to answers to new items: of a student of this quality, or
        `of_trainings` over all trainings with it as their mean."""
        spread = (self.item_sd**2 + self.answer_sd**2 + (self.training_sd**2 if of_trainings else 0.0)) ** 0.5
        graded = fmean(judge.expected_grade(quality, spread, length) for length in LENGTHS)
        return self.empty_share * WORST + (1 - self.empty_share) * graded
