"""LongBench-Write (LongWriter 3fcfdff): 120 prompts, length score by rule, quality in six dimensions by a judge.

Items and the judge's prompt are read from the benchmark's own files at run time; none of it is kept here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import Frame, Item, JudgeCall, Judged, Response, Verdict, View, identity_frame, version_of
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.length import length_score
from evals.replies import STRICT, Malformed, Reader
from reer.models.protocols import Prompt, Sampling
from reer.text import language_of
from reer.types import Message

DIMENSIONS = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")


@dataclass(frozen=True)
class LongBenchWrite:
    """`data` names `longbench_write.jsonl` and `judge.txt` of the upstream repository. `judged` False scores the length
    alone and asks no judge. `judge_sees` `official` judges and measures thinking too, as upstream would."""

    data: DataFiles
    judged: bool
    temperature: float
    min_coverage: float
    items_limit: int | None = None
    judge_sees: View = "answer"

    @property
    def name(self) -> str:
        return "longbench_write"

    @property
    def version(self) -> str:
        return version_of(self.name, self.data.sha256)

    @property
    def judge_sampling(self) -> Sampling:
        """Of evaluation/eval_quality.py at 3fcfdff."""
        return Sampling(0.5, 1.0, 1024)

    @property
    def grades(self) -> None:
        return None

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

    def shown(self, response: Response) -> str:
        return response.shown(self.judge_sees)

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        if not self.judged:
            return []
        template = self.data.text("judge.txt")
        head, tail = template.split("$INST$", 1)
        text = (head + item.prompt + tail.replace("$RESPONSE$", frame(self.shown(response)), 1)).strip()
        return [JudgeCall(item.id, "quality", Prompt((Message("user", text),)))]

    def parse(self, call: JudgeCall, reply: str, read: Reader = STRICT) -> dict[str, float]:
        verdict = read.object(reply)
        missing = [name for name in DIMENSIONS if name not in verdict]
        if missing:
            raise Malformed("missing_dimension")
        return {name: read.grade(verdict[name], 1, 5) for name in DIMENSIONS}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        s_l = length_score(item.length or 1, self.shown(response))
        if not self.judged:
            return {"S_l": s_l}
        grades = verdicts[0].scores if verdicts else None
        s_q = math.fsum((grade - 1) * 25 for grade in grades.values()) / len(DIMENSIONS) if grades else None
        return {"S_l": s_l, "S_q": s_q, "mean_S_q_S_l": None if s_q is None else (s_q + s_l) / 2}

    def official(self, items: Sequence[Item], by_item: Mapping[str, Judged]) -> dict[str, float]:
        """S_l over all rows; S_q and its dimensions over the rows of which a reply could be read as eval_quality.py
        reads it. Their mean is the paper's overall, which no script computes."""
        s_l = [length_score(item.length or 1, self.shown(by_item[item.id].response)) for item in items]
        found = {"S_l": math.fsum(s_l) / len(s_l)} if s_l else {}
        read = [official_grades(v.replies) for item in items for v in by_item[item.id].verdicts]
        grades = [grade for grade in read if grade]
        if not grades:
            return found
        means = {name: (math.fsum(g[name] for g in grades) / len(grades) - 1) * 25 for name in DIMENSIONS}
        s_q = math.fsum(means.values()) / len(means)
        return {**found, "S_q": s_q, "mean_S_q_S_l": (s_q + found["S_l"]) / 2, **means}


def official_grades(replies: Sequence[str]) -> dict[str, float] | None:
    """The grades in the first reply that eval_quality.py could read: between a json fence's marks if there is one, with
    every line break deleted; any value counts that is a number, 9 and "4" too. None if there is no such reply."""
    for reply in replies:
        text = reply.split("```json\n")[1].split("\n```")[0] if "```json\n" in reply else reply
        try:
            found = json.loads(text.replace("\n", ""))
            return {name: float(found[name]) for name in DIMENSIONS}
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None
