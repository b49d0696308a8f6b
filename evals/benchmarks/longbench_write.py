"""LongBench-Write (LongWriter 3fcfdff): 120 prompts, a length score by rule, quality in six dimensions by a judge.

Items and the judge prompt are read from the benchmark's own files at run time; the project contains neither.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from evals.benchmark import (
    Frame,
    Item,
    JudgeCall,
    JudgedBenchmark,
    JudgedResponse,
    OfficialScore,
    Response,
    Verdict,
    View,
    identity_frame,
)
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.length import length_score
from evals.replies import A_TEXT, STRICT, Reader, Schema, grades_from, reply_schema, upstream_number
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.text import language_of
from reer.types import Message

DIMENSIONS = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")
PREFIXES = {"longbench_write.jsonl": "lbw", "longwrite_ruler.jsonl": "lwr"}  # of item ids, by file
BUCKETS = (500, 2000, 4000)
TRIES = 5  # of eval_quality.py
FENCED = re.compile(r"```json\n(.*?)\n```", re.S)  # as eval_quality.py finds a code fence


@dataclass(frozen=True, kw_only=True)
class LongBenchWrite(JudgedBenchmark):
    """`data` must hold `longbench_write.jsonl` and `judge.txt` of the upstream repository. With `judged` False only the
    length is scored and no judge is asked. With `judge_sees` `official`, thinking is judged and measured too, as the
    upstream scripts do."""

    data: DataFiles
    judged: bool
    judge_sees: View = "answer"
    rows: str = "longbench_write.jsonl"
    """The file with the prompts: the benchmark's, or its 48 prompts of 1,000 to 30,000 words, `longwrite_ruler.jsonl`,
    which upstream scores by length alone."""

    def __post_init__(self) -> None:
        if self.rows not in PREFIXES:
            raise InputError(f"benchmark.longbench_write.rows: got {self.rows!r}; want {' or '.join(PREFIXES)}")

    @property
    def name(self) -> str:
        return self.rows.removesuffix(".jsonl")

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return self.data.sha256

    @property
    def judge_sampling(self) -> Sampling:
        """From evaluation/eval_quality.py at 3fcfdff."""
        return Sampling(temperature=0.5, top_p=1.0, max_tokens=1024)

    @property
    def reply_schema(self) -> Schema:
        return reply_schema({"Analysis": A_TEXT, **dict.fromkeys(DIMENSIONS, grades_from(1, 5))})

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return {"S_l": (0.0, 100.0), "S_q": (0.0, 100.0), "mean_S_q_S_l": (0.0, 100.0)}

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=1.0, max_tokens=min(max_tokens, 32768))

    def all_items(self) -> list[Item]:
        rows = [json.loads(line) for line in self.data.lines(self.rows)]
        return [
            Item(
                id=f"{PREFIXES[self.rows]}-{i:03d}",
                prompt=row["prompt"],
                language=language_of(row["prompt"]),
                category=row["type"],
                length=int(row["length"]),
            )
            for i, row in enumerate(rows)
        ]

    def stratum(self, item: Item) -> str:
        return f"{length_bucket(item.length or 0)}/{item.language}"

    def groups(self, item: Item) -> tuple[str, ...]:
        """Length bucket as in the paper's table, language (by the script of the prompt) and type."""
        return f"length {length_bucket(item.length or 0)}", f"language {item.language}", f"type {item.category}"

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
        s_q = math.fsum(map(in_percent, grades.values())) / len(DIMENSIONS) if grades else None
        return {"S_l": s_l, "S_q": s_q, "mean_S_q_S_l": None if s_q is None else (s_q + s_l) / 2}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        """S_l over all rows; S_q and its dimensions over the rows with a reply that eval_quality.py can parse. The mean
        of S_l and S_q is the paper's overall score, which no upstream script computes."""
        s_l = OfficialScore.mean([length_score(i.length or 1, self.shown(by_item[i.id].response)) for i in items])
        if s_l is None:
            return {}
        grades = [self._official_grades(by_item[item.id]) for item in items] if self.judged else []
        columns = {name: [None if row is None else row[name] for row in grades] for name in DIMENSIONS}
        means = {name: score for name, column in columns.items() if (score := OfficialScore.mean(column, in_percent))}
        if not means:
            return {"S_l": s_l}
        s_q = replace(means[DIMENSIONS[0]], value=math.fsum(mean.value for mean in means.values()) / len(means))
        overall = replace(s_q, value=(s_q.value + s_l.value) / 2)
        return {"S_l": s_l, "S_q": s_q, "mean_S_q_S_l": overall, **means}

    def _official_grades(self, judged: JudgedResponse) -> dict[str, float] | None:
        if not self.shown(judged.response).strip():
            return dict.fromkeys(DIMENSIONS, 1.0)
        return official_grades(judged.verdicts[0].replies) if judged.verdicts else None


def length_bucket(required: int) -> str:
    """The bucket of the paper's table that a required length is in; the last one is open here, for longwrite_ruler."""
    low, high = next((bounds for bounds in pairwise((0, *BUCKETS)) if required < bounds[1]), (BUCKETS[-1], None))
    return f"{low}-{high}" if high else f"{low}+"


def in_percent(grade: float) -> float:
    """A grade of 1 to 5, or a mean of them, on the scale of 0 to 100."""
    return (grade - 1) * 25


def official_grades(replies: Sequence[str]) -> dict[str, float] | None:
    """The grades that eval_quality.py stores for these replies: those of the first JSON value with all six dimensions
    within its five tries. None where it stores none, and where it stores what ends its aggregation (a grade that is no
    number, a reply that is a number alone). NaN and infinities are left out, too: the script's mean would be NaN.

    A reply without one of the first five dimensions costs the script two tries. Any number is accepted, 9 or "4" too.
    """
    tries = 0
    for reply in replies:
        try:
            stored = json.loads(_without_fence(reply).replace("\n", ""))
        except (ValueError, RecursionError):
            tries += 1
        else:
            if isinstance(stored, bool | int | float):
                return None
            missing = [name for name in DIMENSIONS if stored is None or name not in stored]
            if not missing:
                return _as_numbers(stored)
            tries += 1 if stored is None or missing == [DIMENSIONS[-1]] else 2
        if tries >= TRIES:
            return None
    return None


def _without_fence(reply: str) -> str:
    """The text within the first json code fence. Raises ValueError where that is not closed on a line of its own."""
    if "```json" not in reply:
        return reply
    fenced = FENCED.search(reply)
    if fenced is None:
        raise ValueError("the code fence is not closed")
    return fenced[1]


def _as_numbers(stored: Any) -> dict[str, float] | None:
    try:
        return {name: upstream_number(stored[name]) for name in DIMENSIONS}
    except (TypeError, ValueError):
        return None
