"""A score that is not a likelihood: a model grades the thinking itself, and does not see the solution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reer.errors import InputError
from reer.models.protocols import Nats, Passage, Prompt, Scorer
from reer.text import fill, slots, split_thinking
from reer.types import Message, content_id

END = ","  # ends a number in the requested object: without it, the probability of 1 would include that of 10


@dataclass(frozen=True, kw_only=True)
class ThinkingGrades:
    """How a model is asked for a grade of a thinking."""

    prompt: str
    """The user's turn, with the slots query and thinking."""
    prefill: str
    """The beginning of the reply, up to the grade."""
    grades: tuple[int, ...]
    """All possible grades, the best one last."""

    def __post_init__(self) -> None:
        if slots(self.prompt) != {"query", "thinking"}:
            raise InputError(
                f"scorer.grades.prompt: want the slots query and thinking, got {', '.join(sorted(slots(self.prompt)))}"
            )
        if len(self.grades) < 2 or list(self.grades) != sorted(set(self.grades)):
            raise InputError(f"scorer.grades.grades: want two or more, ascending, got {list(self.grades)}")

    def passages(self, query: str, thinking: str) -> list[Passage]:
        """Each grade as a continuation of the question for it."""
        asked = Message("user", fill(self.prompt, {"query": query, "thinking": thinking}).strip())
        return [Passage(Prompt((asked,), self.prefill), f"{grade}{END}") for grade in self.grades]

    def lacking(self, nats: Sequence[Nats]) -> float:
        """By how much the expected grade is below the best one, from the nats of each grade."""
        sums = [math.fsum(of_grade) for of_grade in nats]
        weights = [math.exp(min(sums) - nll) for nll in sums]
        expected = math.fsum(grade * weight for grade, weight in zip(self.grades, weights, strict=True))
        return self.grades[-1] - expected / math.fsum(weights)


class GradingScorer:
    """A Scorer of passages whose context holds a query and a thinking: one number for each, by how much the grade of
    the thinking is below the best one."""

    def __init__(self, model: Scorer, grades: ThinkingGrades) -> None:
        self.model, self.grades = model, grades
        asked = content_id(grades.prompt, grades.prefill, *map(str, grades.grades))
        self.name = f"{model.name}/grades-{asked}"

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`; a passage is ready when all of its grades are scored."""
        size = len(self.grades.grades)
        asked = [grade for passage in passages for grade in self._grades_of(passage)]
        waiting: dict[int, dict[int, Nats | None]] = {}
        for at, nats in self.model.score(asked):
            index, grade = divmod(at, size)
            of_passage = waiting.setdefault(index, {})
            of_passage[grade] = nats
            if len(of_passage) == size:
                scored = [nats for _, nats in sorted(waiting.pop(index).items()) if nats is not None]
                yield index, (self.grades.lacking(scored),) if len(scored) == size else None

    def _grades_of(self, passage: Passage) -> list[Passage]:
        thinking, _, _ = split_thinking(passage.context.prefill)
        return self.grades.passages(passage.context.messages[-1].content, thinking or "")
