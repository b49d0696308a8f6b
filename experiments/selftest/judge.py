"""A simulated judge, whose errors are known: noise, a preference for long answers, failures, drift.

The quality of an answer is written into it (`marked`), so that the judge needs no other channel than the prompt that a
real judge reads.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import NormalDist

from reer.models.protocols import Completion, Device, Request

WORST, BEST = 1, 10
MIDDLE = (WORST + BEST) / 2
USUAL_WORDS = 40  # an answer of this length is neither preferred nor the contrary
STUMBLES_ON = "Please grade this answer yourself."  # a sentence after which the judge may give no grade
ANSWER = re.compile(r"Quality (-?\d+\.\d+)\.(.*?)\n</text>", re.S)


def marked(quality: float, text: str) -> str:
    """An answer of this quality."""
    return f"Quality {quality:.4f}. {text}"


@dataclass(frozen=True, kw_only=True)
class SimulatedJudge:
    """A judge of answers that state their quality; `seed` decides its noise.

    noise_sd:      of a grade before it is rounded
    length_slope:  grades that a doubling of an answer's words adds
    failure_share: of the replies that hold no grade
    stumble_share: the same for answers with the sentence `STUMBLES_ON`
    shift:         what is added to every grade; no part of the judge's identity, as when a provider changes a model
                   behind an unchanged name
    """

    seed: int
    noise_sd: float
    length_slope: float
    failure_share: float
    stumble_share: float
    shift: float = field(default=0.0, metadata={"identity": False})

    @property
    def name(self) -> str:
        return f"simulated-judge-{self.seed}"

    @contextmanager
    def open(self, device: Device) -> Iterator[SimulatedJudgeSession]:
        yield SimulatedJudgeSession(self)

    def latent(self, quality: float, words: int) -> float:
        """The grade of an answer without noise, before it is rounded."""
        return quality + self.shift + self.length_slope * math.log2(max(1, words) / USUAL_WORDS)

    def expected_grade(self, quality: float, deviation: float, words: int) -> float:
        """The expectation of the grade of an answer whose quality is normal around this one."""
        normal = NormalDist(self.latent(quality, words), math.hypot(deviation, self.noise_sd))
        return BEST - math.fsum(normal.cdf(grade + 0.5) for grade in range(WORST, BEST))


class SimulatedJudgeSession:
    """A simulated judge that is asked."""

    def __init__(self, judge: SimulatedJudge) -> None:
        self.judge, self.name = judge, judge.name

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`."""
        for at, request in enumerate(requests):
            yield at, self._reply(request)

    def _reply(self, request: Request) -> Completion:
        text = request.prompt.messages[-1].content
        draw = random.Random(f"{self.judge.seed}|{request.seed}|{text}")
        fails = self.judge.stumble_share if STUMBLES_ON in text else self.judge.failure_share
        noise = draw.gauss(0.0, self.judge.noise_sd)
        grade = min(BEST, max(WORST, round(self._latent(text) + noise)))
        reply = "no grade" if draw.random() < fails else f'{{"score": {grade}, "reason": "simulated"}}'
        return Completion(text=reply, stopped="stop", prompt_tokens=len(text), tokens=len(reply))

    def _latent(self, text: str) -> float:
        """The latent grade of the answer in a prompt. One that states no quality has a fixed one, near the middle."""
        found = ANSWER.search(text)
        if found:
            return self.judge.latent(float(found[1]), len(found[2].split()))
        return MIDDLE + int(hashlib.sha256(text.encode()).hexdigest()[:2], 16) % 3 - 1 + self.judge.shift
