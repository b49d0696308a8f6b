"""LongBench-Write (LongWriter 3fcfdff): 120 prompts, a length score by rule, quality in six dimensions by a judge.

Items and the judge prompt are read from the benchmark's own files at run time; the project contains neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import (
    Frame,
    Item,
    JudgeCall,
    JudgedBenchmark,
    JudgedResponse,
    Response,
    Verdict,
    View,
    identity_frame,
)
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.length import length_score
from evals.replies import STRICT, Reader, upstream_number
from reer.models.protocols import Prompt, Sampling
from reer.text import language_of
from reer.types import Message

DIMENSIONS = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")


@dataclass(frozen=True, kw_only=True)
class LongBenchWrite(JudgedBenchmark):
    """`data` must hold `longbench_write.jsonl` and `judge.txt` of the upstream repository. With `judged` False only the
    length is scored and no judge is asked. With `judge_sees` `official`, thinking is judged and measured too, as the
    upstream scripts do."""

    data: DataFiles
    judged: bool
    judge_sees: View = "answer"

    @property
    def name(self) -> str:
        return "longbench_write"

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return self.data.sha256

    @property
    def judge_sampling(self) -> Sampling:
        """From evaluation/eval_quality.py at 3fcfdff."""
        return Sampling(temperature=0.5, top_p=1.0, max_tokens=1024)

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"S_l": (0.0, 100.0), "S_q": (0.0, 100.0), "mean_S_q_S_l": (0.0, 100.0)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=1.0, max_tokens=min(max_tokens, 32768))

    def items(self) -> list[Item]:
        rows = [json.loads(line) for line in self.data.lines("longbench_write.jsonl")]
        items = [
            Item(
                id=f"lbw-{i:03d}",
                prompt=row["prompt"],
                language=language_of(row["prompt"]),
                category=row["type"],
                length=int(row["length"]),
            )
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

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        verdict = reader.parse_object(reply, DIMENSIONS)
        return {name: reader.grade(verdict[name], 1, 5) for name in DIMENSIONS}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        s_l = length_score(item.length or 1, self.shown(response))
        if not self.judged:
            return {"S_l": s_l}
        grades = verdicts[0].scores if verdicts else None
        s_q = math.fsum((grade - 1) * 25 for grade in grades.values()) / len(DIMENSIONS) if grades else None
        return {"S_l": s_l, "S_q": s_q, "mean_S_q_S_l": None if s_q is None else (s_q + s_l) / 2}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, float]:
        """S_l over all rows; S_q and its dimensions over the rows with a reply that eval_quality.py can parse. The mean
        of S_l and S_q is the paper's overall score, which no upstream script computes."""
        s_l = [length_score(item.length or 1, self.shown(by_item[item.id].response)) for item in items]
        length = {"S_l": math.fsum(s_l) / len(s_l)} if s_l else {}
        parsed = [official_grades(verdict.replies) for item in items for verdict in by_item[item.id].verdicts]
        grades = [grade for grade in parsed if grade]
        if not grades:
            return length
        means = {name: (math.fsum(grade[name] for grade in grades) / len(grades) - 1) * 25 for name in DIMENSIONS}
        s_q = math.fsum(means.values()) / len(means)
        return {**length, "S_q": s_q, "mean_S_q_S_l": (s_q + length["S_l"]) / 2, **means}


def official_grades(replies: Sequence[str]) -> dict[str, float] | None:
    """The grades in the first reply that eval_quality.py can parse, None if there is no such reply. The script takes
    the text inside a json code fence if there is one, deletes every line break and accepts any number, 9 or "4" too."""
    for reply in replies:
        text = reply.split("```json\n")[1].split("\n```")[0] if "```json\n" in reply else reply
        try:
            grades = json.loads(text.replace("\n", ""))
            return {name: upstream_number(grades[name]) for name in DIMENSIONS}
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None
