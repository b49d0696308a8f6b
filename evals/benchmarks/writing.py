"""The project's own small benchmark: writing prompts with three criteria each, one judge call per response, 1-10.

It lets the default experiment judge something without a download; with a small judge it checks the machinery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evals.benchmark import Frame, Item, JudgeCall, JudgedBenchmark, Response, Verdict, identity_frame
from evals.benchmarks.length import length_score
from evals.replies import A_TEXT, STRICT, Reader, Schema, grades_from, reply_schema
from reer.models.protocols import Prompt, Sampling
from reer.parts import TopP
from reer.text import fill
from reer.types import Message

DATA = Path(__file__).parents[1] / "data"
FILE = DATA / "writing.jsonl"
JUDGE_PROMPT = (DATA / "writing_judge_prompt.txt").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class WritingPrompts(JudgedBenchmark):
    """The bundled prompts. `judge_prompt` has the slots prompt, rubric and answer; its default is bundled too."""

    top_p: TopP
    judge_prompt: str = JUDGE_PROMPT

    @property
    def name(self) -> str:
        return "writing"

    @property
    def grades(self) -> tuple[int, ...]:
        return tuple(range(1, 11))

    @property
    def reply_schema(self) -> Schema:
        return reply_schema({"score": grades_from(1, 10), "reason": A_TEXT})

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"quality": (1.0, 10.0), "length": (0.0, 100.0)}

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return {FILE.name: _digest()}

    def identity(self) -> dict[str, object]:
        """The items' hash and all settings, the judge prompt even at its default: the bundled files may change."""
        settings = [self.judge_prompt, self.temperature, self.top_p, self.min_coverage, self.items_limit]
        settings += [self.items_seed] if self.items_seed else []
        (digest,) = self.file_sha256.values()
        return {"data": digest[:16], "settings": settings}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=max_tokens)

    def all_items(self) -> list[Item]:
        rows = [json.loads(line) for line in _content().decode("utf-8").split("\n") if line]
        return [
            Item(
                id=row["id"],
                prompt=row["prompt"],
                language=row["language"],
                category=row["category"],
                length=row["length"],
                rubric=tuple(row["rubric"]),
            )
            for row in rows
        ]

    def stratum(self, item: Item) -> str:
        return item.language

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        rubric = "\n".join(f"- {criterion}" for criterion in item.rubric)
        text = fill(self.judge_prompt, {"prompt": item.prompt, "rubric": rubric, "answer": frame(response.answer)})
        return [JudgeCall(item.id, "quality", Prompt((Message("user", text),)))]

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        return {"quality": reader.grade(reader.parse_object(reply, ("score",))["score"], 1, 10)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        quality = verdicts[0].scores["quality"] if verdicts and verdicts[0].scores else None
        return {"quality": quality, "length": length_score(item.length or 1, response.answer)}


@cache
def _content() -> bytes:
    """The file, read once, so that the items are those of the identity."""
    return FILE.read_bytes()


def _digest() -> str:
    return hashlib.sha256(_content()).hexdigest()
