"""A verdict without a generated reply: the probability that a model gives each grade, and the expected grade."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from reer.models.protocols import Completion, LoadedModel, Nats, Passage, Request

END = ","  # ends a number in the requested object: without it, the probability of 1 would include that of 10


class GradeProbabilityModel:
    """A Generator whose reply is the object that the prompt asks for, with the expected grade as its score. The model
    scores each grade as a continuation of the prompt, and the probabilities are normalised over the grades."""

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
        if any(of_grade is None for of_grade in nats):
            return Completion(text="", stopped="prompt_too_long", prompt_tokens=0, tokens=0)
        nlls = [math.fsum(of_grade or ()) for of_grade in nats]
        weights = [math.exp(min(nlls) - nll) for nll in nlls]
        shares = {str(g): weight / math.fsum(weights) for g, weight in zip(self.grades, weights, strict=True)}
        content = {"score": expected(shares), "reason": "expected grade", "probabilities": shares}
        return Completion(
            text=json.dumps(content),
            stopped="stop",
            prompt_tokens=0,
            tokens=sum(len(of_grade or ()) for of_grade in nats),
        )


def expected(shares: dict[str, float]) -> float:
    """The mean of the grades, weighted by their probabilities, which sum to 1."""
    return math.fsum(float(grade) * share for grade, share in shares.items())
