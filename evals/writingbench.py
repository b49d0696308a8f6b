"""WritingBench (X-PLUG/WritingBench ae2d517): 1,000 queries in six domains, each judged by five criteria of its own.

Queries, criteria and the judge's prompt are read from the benchmark's own files at run time; none of it is kept here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evals.benchmark import Item, JudgeCall, Judged, Malformed, Response, Verdict, in_turn, strict_object, whole_number
from evals.files import DataFiles
from reer.models.protocols import Prompt, Sampling
from reer.types import InputError, Message

DOMAINS = {  # in the order of calculate_scores.py; the paper of REER reports them as WB-A to WB-F
    "Academic & Engineering": "A",
    "Finance & Business": "B",
    "Politics & Law": "C",
    "Literature & Arts": "D",
    "Education": "E",
    "Advertising & Marketing": "F",
}
QUERIES = "benchmark_all.jsonl"
PROMPT = "judge_prompt.json"


@dataclass(frozen=True)
class WritingBench:
    """`data` names `benchmark_all.jsonl` and `judge_prompt.json` (the two constants of prompt.py). `judge_sees` is the
    parsed `answer`, or the whole reply cut as upstream cuts it (`official`). `items_limit` takes from the domains in
    turn."""

    data: DataFiles
    judge_sees: Literal["answer", "official"]
    temperature: float
    top_p: float
    top_k: int
    min_coverage: float
    items_limit: int | None = None

    def __post_init__(self) -> None:
        if self.judge_sees not in ("answer", "official"):
            raise InputError(f"benchmark.writingbench.judge_sees: got {self.judge_sees!r}; want answer or official")

    @property
    def name(self) -> str:
        return "writingbench"

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return dict.fromkeys(("overall", *DOMAINS.values()), (1.0, 10.0))

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(self.temperature, self.top_p, min(max_tokens, 16000), self.top_k)

    def items(self) -> list[Item]:
        domains: dict[str, list[Item]] = {domain: [] for domain in DOMAINS}
        for number, line in enumerate(self.data.lines(QUERIES), start=1):
            item = _item(line, f"{QUERIES}:{number}")
            domains[item.category].append(item)
        return in_turn(list(domains.values()))[: self.items_limit]

    def calls(self, item: Item, response: Response) -> list[JudgeCall]:
        template = json.loads(self.data.text(PROMPT))
        shown = response.answer if self.judge_sees == "answer" else after_thinking(response.text)
        calls = []
        for criterion in map(json.loads, item.rubric):
            text = template["user"].format(criteria=criterion, query=item.prompt, response=shown)
            messages = (Message("system", template["system"]), Message("user", text))
            calls.append(JudgeCall(item.id, criterion["name"], Prompt(messages)))
        return calls

    def parse(self, call: JudgeCall, reply: str) -> dict[str, float]:
        """A score and its reason, both required as upstream requires them."""
        verdict = strict_object(reply)
        if not isinstance(verdict.get("reason"), str):
            raise Malformed("no_reason")
        return {"score": float(whole_number(verdict.get("score"), 1, 10))}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        grades = [verdict.scores["score"] for verdict in verdicts if verdict.scores]
        mean = math.fsum(grades) / len(grades) if len(grades) == len(item.rubric) else None
        return {"overall": mean, DOMAINS[item.category]: mean}

    def official(self, items: Sequence[Item], by_item: Mapping[str, Judged]) -> dict[str, float]:
        """Overall and the domains on the scale of 1 to 10, and the same as the leaderboard shows them."""
        read = {item.id: [v.scores["score"] for v in by_item[item.id].verdicts if v.scores] for item in items}
        means = official(read, {item.id: item.category for item in items})
        return {**means, **{f"{name}_x10": value * 10 for name, value in means.items()}}


def _item(line: str, where: str) -> Item:
    """A row as an Item; its criteria are kept as JSON, since the prompt shows them whole."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: want a JSON object, got none: {error}; fetch the file again") from None
    if not isinstance(row, dict) or "checklist" not in row or row.get("domain1") not in DOMAINS:
        raise InputError(
            f"{where}: want an object with `checklist` and one of the six domains as `domain1`, got {line[:80]!r}; the "
            "benchmark's first version (1,239 queries with `criteria`) is another one: take the file at ae2d517"
        )
    rubric = tuple(json.dumps(criterion, ensure_ascii=False) for criterion in row["checklist"])
    return Item(f"wb-{row['index']:04d}", row["query"], row["lang"], row["domain1"], None, rubric)


def after_thinking(text: str) -> str:
    """The reply as evaluate_benchmark.py judges it: without all up to the first `</think>` that two line breaks follow.
    Thinking that ends otherwise, or never, stays in."""
    head, mark, tail = text.partition("</think>\n\n")
    return tail if mark else head


def official(scores: Mapping[str, Sequence[float]], domains: Mapping[str, str]) -> dict[str, float]:
    """`overall`, the mean of all criterion scores, and for each domain code the mean of its queries' means.

    As calculate_scores.py does it, from scores by query and domain names by query; a query without scores is left out.
    """
    scored = {query: values for query, values in scores.items() if values}
    every = [score for values in scored.values() for score in values]
    means: dict[str, list[float]] = {}
    for query, values in scored.items():
        means.setdefault(DOMAINS[domains[query]], []).append(math.fsum(values) / len(values))
    overall = {"overall": math.fsum(every) / len(every)} if every else {}
    return overall | {code: math.fsum(values) / len(values) for code, values in sorted(means.items())}
