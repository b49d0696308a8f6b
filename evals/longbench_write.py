"""LongBench-Write (LongWriter 3fcfdff): 120 prompts, length score by rule, quality in six dimensions by a judge.

Items and the judge's prompt are read from the benchmark's own files at run time; none of it is kept here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import Item, JudgeCall, Malformed, Response, Verdict, strict_object, whole_number
from evals.files import DataFiles
from evals.length import length_score
from reer.models.protocols import Prompt, Sampling
from reer.text import language_of
from reer.types import Message

DIMENSIONS = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")


@dataclass(frozen=True)
class LongBenchWrite:
    """`data` names `longbench_write.jsonl` and `judge.txt` of the upstream repository. `judged` False scores the length
    alone and asks no judge."""

    data: DataFiles
    judged: bool
    temperature: float
    min_coverage: float
    items_limit: int | None = None

    @property
    def name(self) -> str:
        return "longbench_write"

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"S_l": (0.0, 100.0), "S_q": (0.0, 100.0), "mean_S_q_S_l": (0.0, 100.0)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(self.temperature, 1.0, min(max_tokens, 32768))

    def items(self) -> list[Item]:
        rows = [json.loads(line) for line in self.data.lines("longbench_write.jsonl")]
        items = [
            Item(f"lbw-{i:03d}", row["prompt"], language_of(row["prompt"]), row["type"], int(row["length"]))
            for i, row in enumerate(rows)
        ]
        return items[: self.items_limit]

    def calls(self, item: Item, response: Response) -> list[JudgeCall]:
        if not self.judged:
            return []
        template = self.data.text("judge.txt")
        head, tail = template.split("$INST$", 1)
        text = (head + item.prompt + tail.replace("$RESPONSE$", response.answer, 1)).strip()
        return [JudgeCall(item.id, "quality", Prompt((Message("user", text),)))]

    def parse(self, call: JudgeCall, reply: str) -> dict[str, float]:
        verdict = strict_object(reply)
        missing = [name for name in DIMENSIONS if name not in verdict]
        if missing:
            raise Malformed("missing_dimension")
        return {name: float(whole_number(verdict[name], 1, 5)) for name in DIMENSIONS}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        s_l = length_score(item.length or 1, response.answer)
        if not self.judged:
            return {"S_l": s_l}
        grades = verdicts[0].scores if verdicts else None
        s_q = math.fsum((grade - 1) * 25 for grade in grades.values()) / len(DIMENSIONS) if grades else None
        return {"S_l": s_l, "S_q": s_q, "mean_S_q_S_l": None if s_q is None else (s_q + s_l) / 2}
