"""A verdict without a reply: how probable a model finds each grade, and their mean."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from reer.models.protocols import Completion, LoadedModel, Nats, Passage, Request

END = ","  # what ends a number in the object that is asked for: without it, 1 would hold what 10 has


class GradeProbabilityModel:
    """A Generator whose reply to a question is the object it asks for, with the expected grade for a score. It asks the
    model how probable each grade is as the next words, and takes these for all there is."""

    def __init__(self, model: LoadedModel, grades: Sequence[int]) -> None:
        self.model, self.grades, self.name = model, grades, f"{model.name}/probabilities"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`; a reply is ready when all of its grades are scored."""
        passages = [Passage(r.prompt, f"{grade}{END}", str(i)) for i, r in enumerate(requests) for grade in self.grades]
        scored: dict[int, dict[int, Nats | None]] = {}
        for at, nats in self.model.score(passages):
            i, grade = divmod(at, len(self.grades))
            of_request = scored.setdefault(i, {})
            of_request[grade] = nats
            if len(of_request) == len(self.grades):
                yield i, self._reply([nats for _, nats in sorted(scored.pop(i).items())])

    def _reply(self, nats: Sequence[Nats | None]) -> Completion:
        if any(found is None for found in nats):
            return Completion("", "prompt_too_long", 0, 0)
        surprise = [math.fsum(found or ()) for found in nats]
        weights = [math.exp(min(surprise) - nll) for nll in surprise]
        shares = {str(g): weight / math.fsum(weights) for g, weight in zip(self.grades, weights, strict=True)}
        said: dict[str, Any] = {"score": expected(shares), "reason": "expected grade", "probabilities": shares}
        return Completion(json.dumps(said), "stop", 0, sum(len(found or ()) for found in nats))


def expected(shares: dict[str, float]) -> float:
    """The mean of grades weighted by their probabilities, which sum to 1."""
    return math.fsum(float(grade) * share for grade, share in shares.items())
