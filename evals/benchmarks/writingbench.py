"""WritingBench (X-PLUG/WritingBench ae2d517): 1,000 queries in six domains, each judged by five criteria of its own.

Queries, criteria and the judge prompt are read from the benchmark's own files at run time; the project contains none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import NonNegativeInt

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
    interleaved,
)
from evals.benchmarks.data_files import DataFiles
from evals.replies import A_TEXT, STRICT, Malformed, Reader, Schema, grades_from, reply_schema
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.parts import TopP
from reer.types import Message

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
STRIPPED = "json|```"  # upstream strips these characters, in any order, from both ends of a reply
ROUNDS, TRIES = 3, 5  # of evaluate_benchmark.py: tries in a round
REQUIREMENTS = "requirement_index.json"
REQUIREMENT_KINDS = ("style", "format", "length")
Requirements = Mapping[str, Mapping[str, Sequence[str]]]  # requirement → item id → names of its criteria on it


@dataclass(frozen=True, kw_only=True)
class WritingBench(JudgedBenchmark):
    """`data` must hold `benchmark_all.jsonl` and `judge_prompt.json` (the two constants of prompt.py). `judge_sees` is
    the parsed `answer`, or the full reply cut as upstream cuts it (`official`)."""

    data: DataFiles
    judge_sees: View
    top_p: TopP
    top_k: NonNegativeInt

    def __post_init__(self) -> None:
        if self.judge_sees not in ("answer", "official"):
            raise InputError(f"benchmark.writingbench.judge_sees: got {self.judge_sees!r}; want answer or official")

    @property
    def name(self) -> str:
        return "writingbench"

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return self.data.sha256

    @property
    def judge_sampling(self) -> Sampling:
        """From evaluator/claude.py at ae2d517."""
        return Sampling(temperature=1.0, top_p=0.95, max_tokens=2048)

    @property
    def grades(self) -> tuple[int, ...]:
        return tuple(range(1, 11))

    @property
    def reply_schema(self) -> Schema:
        return reply_schema({"score": grades_from(1, 10), "reason": A_TEXT})

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        on_requirements = [f"{kind}_C" for kind in REQUIREMENT_KINDS if REQUIREMENTS in self.data.sha256]
        return dict.fromkeys(("overall", *DOMAINS.values(), *on_requirements), (1.0, 10.0))

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=min(max_tokens, 16000), top_k=self.top_k
        )

    def all_items(self) -> list[Item]:
        domains: dict[str, list[Item]] = {domain: [] for domain in DOMAINS}
        for number, line in enumerate(self.data.lines(QUERIES), start=1):
            item = _item(line, f"{QUERIES}:{number}")
            domains[item.category.partition("/")[0]].append(item)
        return interleaved(list(domains.values()))

    def groups(self, item: Item) -> tuple[str, ...]:
        """Sub-domain, language, and the requirements that the query states."""
        sub = f"{code_of(item.category)}/{item.category.partition('/')[2]}"
        asked = (f"requirement {kind}" for kind, queries in self._requirements().items() if item.id in queries)
        return sub, f"language {item.language}", *asked

    def shown(self, response: Response) -> str:
        return response.answer if self.judge_sees == "answer" else after_thinking(response.text)

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        return self.calls_in(self.data.text(PROMPT), item, response, frame)

    def calls_in(self, words: str, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        """See `RewordedBenchmark`."""
        template, shown = json.loads(words), self.shown(response)
        calls = []
        for criterion in map(json.loads, item.rubric):
            text = template["user"].format(criteria=criterion, query=item.prompt, response=frame(shown))
            messages = (Message("system", template["system"]), Message("user", text))
            calls.append(JudgeCall(item.id, criterion["name"], Prompt(messages)))
        return calls

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        """The score; a reason is required too, as it is upstream."""
        verdict = reader.parse_object(reply, ("score",))
        if not isinstance(verdict.get("reason"), str):
            raise Malformed("no_reason")
        return {"score": reader.grade(verdict["score"], 1, 10)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        """The mean of all criteria, and `style_C`, `format_C`, `length_C`: that of the criteria on a requirement, for
        the queries that state it. A mean with a missing grade is none. (The official numbers of these names are means
        of all grades, so that a query with three such criteria counts three times.)"""
        scored = [(verdict.criterion, verdict.scores["score"]) for verdict in verdicts if verdict.scores]
        grades = dict(scored)
        mean = math.fsum(score for _, score in scored) / len(scored) if len(scored) == len(item.rubric) else None
        stated = {kind: queries[item.id] for kind, queries in self._requirements().items() if queries.get(item.id)}
        on_requirements = {f"{k}_C": _mean_of_all([grades.get(name) for name in names]) for k, names in stated.items()}
        return {"overall": mean, code_of(item.category): mean, **on_requirements}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        """All numbers that calculate_scores.py computes from these replies, on the scale of 1 to 10 and times ten as on
        the leaderboard. A criterion is left out where an upstream script would stop with an error, and the scores by
        requirement are left out without `requirement_index.json`."""
        parsed = {item.id: self._official_scores(item, by_item[item.id]) for item in items}
        means = official(parsed, {item.id: item.category for item in items}, self._requirements())
        return {**means, **{f"{name}_x10": score.rescaled(lambda value: value * 10) for name, score in means.items()}}

    def _official_scores(self, item: Item, judged: JudgedResponse) -> dict[str, float | None]:
        """Criterion → score; None where evaluate_benchmark.py would stop."""
        criteria = [str(json.loads(criterion)["name"]) for criterion in item.rubric]
        if not self.shown(judged.response).strip():
            return dict.fromkeys(criteria, 1.0)
        replies = {verdict.criterion: verdict.replies for verdict in judged.verdicts}
        return {name: official_score(replies.get(name, ())) for name in criteria}

    def _requirements(self) -> Requirements:
        if REQUIREMENTS not in self.data.sha256:
            return {}
        return _requirements(self.data.text(REQUIREMENTS))


@lru_cache(maxsize=2)
def _requirements(text: str) -> Requirements:
    index = json.loads(text)
    return {kind: {_item_id(query): names for query, names in rows.items()} for kind, rows in index.items()}


def _item_id(index: int | str) -> str:
    return f"wb-{int(index):04d}"


def code_of(category: str) -> str:
    """The letter of a category's domain."""
    return DOMAINS[category.partition("/")[0]]


def _item(line: str, where: str) -> Item:
    """A row as an Item; its criteria are kept as JSON, since the prompt shows them in full."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: want a JSON object, got invalid JSON: {error}; fetch the file again") from None
    if not isinstance(row, dict) or not {"checklist", "domain2"} <= set(row) or row.get("domain1") not in DOMAINS:
        raise InputError(
            f"{where}: want an object with `checklist`, `domain2` and one of the six domains as `domain1`, got "
            f"{line[:80]!r}; the benchmark's first version (1,239 queries with `criteria`) has another format: "
            "`reer fetch writingbench` downloads the file at ae2d517"
        )
    rubric = tuple(json.dumps(criterion, ensure_ascii=False) for criterion in row["checklist"])
    category = f"{row['domain1']}/{row['domain2']}"
    return Item(
        id=_item_id(row["index"]),
        prompt=row["query"],
        language=row["lang"],
        category=category,
        length=None,
        rubric=rubric,
    )


def after_thinking(text: str) -> str:
    """The reply as evaluate_benchmark.py judges it: the text after the first `</think>` that is followed by two line
    breaks. Thinking that ends in another way, or does not end, is kept."""
    head, mark, tail = text.partition("</think>\n\n")
    return tail if mark else head


def official_score(replies: Sequence[str]) -> float | None:
    """The score in the first reply that evaluate_benchmark.py can parse: a JSON object, once the characters of
    `json|```` are stripped from both ends, with a score of 1 to 10 (true counts as 1) and a reason. None where the
    upstream run would stop: after three rounds of five tries, or after a round whose last reply does not parse."""
    for number, reply in enumerate(replies[: ROUNDS * TRIES], start=1):
        try:
            verdict = json.loads(reply.strip(STRIPPED))
        except (ValueError, RecursionError):
            if number % TRIES == 0:
                return None
            continue
        if not isinstance(verdict, dict) or not isinstance(verdict.get("reason"), str):
            continue
        if verdict.get("score") in range(1, 11):
            return float(verdict["score"])
    return None


def official(
    scores: Mapping[str, Mapping[str, float | None]], categories: Mapping[str, str], requirements: Requirements
) -> dict[str, OfficialScore]:
    """The means of calculate_scores.py, from scores by query and criterion; None is a score that is missing.

    `overall` is the mean of all criterion scores; a domain's code, and `code/sub-domain`, is the mean of its queries'
    means; `style_R` is that mean over the queries with a style requirement, `style_C` the mean of all scores on it.
    """
    columns: dict[str, list[float | None]] = {"overall": [score for row in scores.values() for score in row.values()]}
    for query, row in scores.items():
        domain, _, sub = categories[query].partition("/")
        for name in (DOMAINS[domain], f"{DOMAINS[domain]}/{sub}"):
            columns.setdefault(name, []).append(_mean_of_known(row))
    for kind, names in requirements.items():
        asked = [query for query in names if query in scores]
        columns[f"{kind}_R"] = [_mean_of_known(scores[query]) for query in asked]
        columns[f"{kind}_C"] = [scores[query].get(name) for query in asked for name in names[query]]
    order = ["overall", *sorted(columns.keys() - {"overall"})]
    return {name: score for name in order if (score := OfficialScore.mean(columns[name]))}


def _mean_of_all(scores: Sequence[float | None]) -> float | None:
    """The mean where every score is known."""
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(scores) else None


def _mean_of_known(scores: Mapping[str, float | None]) -> float | None:
    known = [score for score in scores.values() if score is not None]
    return math.fsum(known) / len(known) if known else None
