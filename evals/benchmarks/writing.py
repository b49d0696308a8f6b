"""The project's own small benchmark: writing prompts with three criteria each, judged 1 to 10 per response.

It is here so that the main job judges something without a download; with a small judge it checks the machinery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evals.benchmark import Frame, Item, JudgeCall, Judged, Response, Verdict, identity_frame, version_of
from evals.benchmarks.length import length_score
from evals.replies import STRICT, Reader
from reer.models.protocols import Prompt, Sampling
from reer.text import fill
from reer.types import Message

FILE = Path(__file__).parents[1] / "data" / "writing.jsonl"


@dataclass(frozen=True)
class WritingPrompts:
    """Items from the bundled file; `judge_prompt` has the slots prompt, rubric, answer."""

    judge_prompt: str
    temperature: float
    top_p: float
    min_coverage: float
    items_limit: int | None = None

    @property
    def name(self) -> str:
        return "writing"

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"quality": (1.0, 10.0), "length": (0.0, 100.0)}

    @property
    def version(self) -> str:
        return version_of(self.name, {FILE.name: _digest()})

    @property
    def judge_sampling(self) -> None:
        return None

    @property
    def grades(self) -> tuple[int, ...]:
        return tuple(range(1, 11))

    def identity(self) -> dict[str, Any]:
        settings = (self.judge_prompt, self.temperature, self.top_p, self.min_coverage, self.items_limit)
        return {"data": _digest()[:16], "settings": list(settings)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(self.temperature, self.top_p, max_tokens)

    def items(self) -> list[Item]:
        rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").split("\n") if line]
        items = [
            Item(r["id"], r["prompt"], r["language"], r["category"], r["length"], tuple(r["rubric"])) for r in rows
        ]
        return items[: self.items_limit]

    def shown(self, response: Response) -> str:
        return response.answer

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        rubric = "\n".join(f"- {criterion}" for criterion in item.rubric)
        text = fill(self.judge_prompt, {"prompt": item.prompt, "rubric": rubric, "answer": frame(response.answer)})
        return [JudgeCall(item.id, "quality", Prompt((Message("user", text),)))]

    def parse(self, call: JudgeCall, reply: str, read: Reader = STRICT) -> dict[str, float]:
        return {"quality": read.grade(read.object(reply).get("score"), 1, 10)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        quality = verdicts[0].scores["quality"] if verdicts and verdicts[0].scores else None
        return {"quality": quality, "length": length_score(item.length or 1, response.answer)}

    def official(self, items: Sequence[Item], by_item: Mapping[str, Judged]) -> dict[str, float]:
        return {}


@cache
def _digest() -> str:
    return hashlib.sha256(FILE.read_bytes()).hexdigest()
