"""HelloBench (Quehry/HelloBench d403282): 647 English prompts in five tasks, each judged in one call by a checklist.

Items, checklists, weights and the judge prompt are read from the benchmark's own files at run time; the project
contains none of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    interleaved,
)
from evals.benchmarks.data_files import DataFiles
from evals.replies import STRICT, Malformed, Reader, upstream_number
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.types import Message

TASKS = ("open_ended_qa", "summarization", "chat", "text_completion", "heuristic_text_generation")
LENGTHS = {f"heuristic_text_generation_{thousands}k": 1000 * thousands for thousands in (2, 4, 8, 16)}
"""The length-constrained sets: the prompts of `heuristic_text_generation` with a least number of words."""
GRADES = (0.0, 0.25, 0.5, 0.75, 1.0)
DECIMAL = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?", re.A)
TRIES = 3  # of llm_judge.py
PROMPT, WEIGHTS = "judge_prompt.json", "checklist_weights.json"

Weights = Mapping[str, Sequence[float]]
OfficialRow = tuple[str, str, Sequence[float]]  # task, category, and the grades that llm_judge.py stores


@dataclass(frozen=True, kw_only=True)
class HelloBench(JudgedBenchmark):
    """`data` must hold `main_data/<task>.jsonl`, `judge_prompt.json` (the two constants of llm_judge.py) and
    `checklist_weights.json` (those of results/scripts/compute.py).

    `tokenize` shows the judge the answer as nltk's word tokens, without its line breaks, as upstream does.
    `judge_sees` `official` shows thinking too, as upstream does.
    `columns` maps other names, such as those of a paper's table, to tasks."""

    data: DataFiles
    tasks: tuple[str, ...]
    tokenize: bool
    judge_sees: View = "answer"
    columns: dict[str, str] = field(default_factory=dict, metadata={"identity": False})

    def __post_init__(self) -> None:
        unknown, known = set(self.columns.values()) - set(TASKS), ", ".join((*TASKS, *LENGTHS))
        if unknown:
            raise InputError(f"benchmark.hellobench.columns: got {sorted(unknown)}; want tasks of {', '.join(TASKS)}")
        if not self.tasks or set(self.tasks) - {*TASKS, *LENGTHS} or len(set(self.tasks)) < len(self.tasks):
            got = ", ".join(self.tasks) or "none"
            raise InputError(f"benchmark.hellobench.tasks: got {got}; want one or more of {known}, each once")

    @property
    def name(self) -> str:
        return "hellobench"

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return self.data.sha256

    @property
    def judge_sampling(self) -> Sampling:
        """From llm_judge.py at d403282; its seed of 42 is replaced by one seed per question."""
        return Sampling(temperature=0.8, top_p=1.0, max_tokens=4096)

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        return dict.fromkeys(self.tasks, (0.0, 100.0))

    def _rows_file(self, task: str) -> str:
        """The task's file. The summarization file is only available as a reconstruction."""
        folder = "length_constrained_data" if task in LENGTHS else "main_data"
        names = (f"{folder}/{task}.jsonl", f"{folder}/{task}.reconstructed.jsonl")
        pinned = next((name for name in names if name in self.data.sha256), None)
        if pinned is None:
            raise InputError(
                f"benchmark.hellobench.data.sha256 pins no {names[0]}; add it, or leave the task {task} out"
            )
        return pinned

    def _weights(self) -> Weights:
        weights: Weights = json.loads(self.data.text(WEIGHTS))
        return weights

    def sampling(self, max_tokens: int) -> Sampling:
        upstream = 24000 if "heuristic_text_generation_16k" in self.tasks else 16384
        return Sampling(temperature=self.temperature, top_p=1.0, max_tokens=min(max_tokens, upstream))

    def all_items(self) -> list[Item]:
        if self.tokenize:
            as_words("")  # missing nltk data fails here, not after hours of generation
        weights = self._weights()
        return interleaved([self._items(task, weights) for task in self.tasks])

    def stratum(self, item: Item) -> str:
        return item.category

    def groups(self, item: Item) -> tuple[str, ...]:
        """Task and sub-category."""
        return (item.category,)

    def also_needs(self) -> str:
        try:
            as_words("")
        except InputError as error:
            return str(error) if self.tokenize else ""
        return ""

    def _items(self, task: str, weights: Weights) -> list[Item]:
        items = []
        file = self._rows_file(task)
        for number, row in enumerate(map(json.loads, self.data.lines(file)), start=1):
            checklist, kind = tuple(row["checklists"]), row["category"]
            if kind not in weights or len(weights[kind]) != len(checklist):
                known = len(weights[kind]) if kind in weights else "no"
                raise InputError(
                    f"{file}:{number}: category {kind!r} has {len(checklist)} questions, but {WEIGHTS} holds {known} "
                    "weights for it; take both files from one version of the benchmark"
                )
            items.append(
                Item(
                    id=row["id"].replace("heuristic_text_generation", task) if task in LENGTHS else row["id"],
                    prompt=row["instruction"],
                    language="en",
                    category=f"{task}/{kind}",
                    length=LENGTHS.get(task),
                    rubric=checklist,
                )
            )
        return items

    def shown(self, response: Response) -> str:
        return response.shown(self.judge_sees)

    def calls(self, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        template = json.loads(self.data.text(PROMPT))
        shown = self.shown(response)
        checklist = [{"checklist_id": i, "checklist_content": question} for i, question in enumerate(item.rubric)]
        text = template["user"].format(
            instruction=item.prompt,
            response=frame(as_words(shown) if self.tokenize else shown),
            checklists=json.dumps(checklist, ensure_ascii=False),
            num_checklist=len(checklist),
        )
        messages = (Message("system", template["system"]), Message("user", text))
        return [JudgeCall(item.id, item.category.partition("/")[2], Prompt(messages))]

    def parse(self, call: JudgeCall, reply: str, reader: Reader = STRICT) -> dict[str, float]:
        """Grades by position in the checklist of the call's category."""
        entries = reader.parse_list(reply, "evaluation_score")
        if len(entries) != len(self._weights()[call.criterion]):
            raise Malformed("wrong_number_of_scores")
        return {str(position): _grade(position, entry) for position, entry in enumerate(entries)}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        task, _, kind = item.category.partition("/")
        grades = verdicts[0].scores if verdicts else None
        if not grades:
            return {task: None}
        weights = self._weights()[kind]
        return {task: weighted([grades[str(position)] for position in range(len(weights))], weights)}

    def official(self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse]) -> dict[str, OfficialScore]:
        """Raw means by task with their average, both also on the scale of the official tables."""
        rows = [self._official_row(item, by_item[item.id]) for item in items]
        raw = official(rows, self._weights())
        named = {column: raw[task] for column, task in self.columns.items() if task in raw}
        scaled = {f"{name}_rescaled": score.rescaled(rescaled) for name, score in raw.items()}
        return {**raw, **scaled, **named, **self._average_words(items, by_item, rows)}

    def _average_words(
        self, items: Sequence[Item], by_item: Mapping[str, JudgedResponse], rows: Sequence[OfficialRow]
    ) -> dict[str, OfficialScore]:
        """The mean number of nltk's word tokens of the texts that count, by task; none where nltk is not used."""
        if not self.tokenize:
            return {}
        columns: dict[str, list[float | None]] = {}
        for item, row in zip(items, rows, strict=True):
            task, counts = row[0], counted(row, self._weights())
            words = float(len(tokens(by_item[item.id].response.text))) if counts else None
            columns.setdefault(f"{task}_avg_words", []).append(words)
        return {name: score for name, column in columns.items() if (score := OfficialScore.mean(column))}

    def _official_row(self, item: Item, judged: JudgedResponse) -> OfficialRow:
        """Task, category and grades of an item as llm_judge.py stores them; no grades where it stores none."""
        task, _, kind = item.category.partition("/")
        if not self.shown(judged.response).strip():
            return task, kind, [0.0] * len(item.rubric)
        replies = judged.verdicts[0].replies if judged.verdicts else ()
        return task, kind, official_scores(replies, len(item.rubric)) or []


def _grade(position: int, entry: object) -> float:
    """The grade in one entry of the judge's list. Weights are assigned by position, so an entry with another position's
    id is refused (upstream counts it for the wrong question). "0.75" is accepted: the prompt quotes it so."""
    if not isinstance(entry, dict):
        raise Malformed("entry_not_an_object")
    if str(entry.get("checklist_id")) != str(position):
        raise Malformed("not_in_checklist_order")
    if "evaluation_score" not in entry:
        raise Malformed("missing_key")
    score = entry["evaluation_score"]
    grade = float(score) if isinstance(score, str) and DECIMAL.fullmatch(score) else score
    if isinstance(grade, bool) or not isinstance(grade, int | float):
        raise Malformed("score_not_a_number")
    if grade not in GRADES:
        raise Malformed("score_not_on_the_scale")
    return float(grade)


def official_scores(replies: Sequence[str], count: int) -> list[float] | None:
    """The grades that llm_judge.py stores for these replies: those of the first list with `count` entries within its
    three tries, else of the last list of any length. None if it stores nothing, and where an entry ends its run: a
    `checklist_id` or a grade that is missing or no number. It deletes code fences, line breaks and backslashes."""
    stored: Any = []
    for reply in replies[:TRIES]:
        text = re.sub(r"```json|```python|```|\n|\\", "", reply)
        try:
            stored = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(stored, list | dict | str) and len(stored) == count:
            break
    try:
        return [_official_grade(entry) for entry in stored] or None
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _official_grade(entry: Any) -> float:
    """The grade of an entry. Raises what llm_judge.py does not catch: it takes the id as an integer first."""
    int(entry["checklist_id"])
    return upstream_number(entry["evaluation_score"])


def as_words(text: str) -> str:
    """The text as llm_judge.py shows it: the first 16,000 of nltk's word tokens, joined by single spaces. Raises
    InputError if nltk or its data is missing."""
    return " ".join(tokens(text)[:16000])


def tokens(text: str) -> list[str]:
    """nltk's word tokens. Raises InputError if nltk or its data is missing."""
    try:
        from nltk import word_tokenize

        return word_tokenize(text)
    except (ImportError, LookupError) as error:
        missing = "nltk" if isinstance(error, ImportError) else "punkt_tab"
        raise InputError(
            f"benchmark.hellobench.tokenize=true needs nltk and its data punkt_tab, got no {missing}; "
            "install nltk and run `python -m nltk.downloader punkt_tab`, or set NLTK_DATA to a folder with the data, "
            "or set benchmark.hellobench.tokenize=false (the judge then sees the answer as written, unlike upstream)"
        ) from None


def weighted(scores: Sequence[float], weights: Sequence[float]) -> float:
    """The 0-100 score of an item: its grades, weighted by position in the checklist."""
    return math.fsum(score * weight for score, weight in zip(scores, weights, strict=True))


def rescaled(score: float) -> float:
    """A raw score on the scale of the official tables (results/scripts/compute.py): 75 → 0, 100 → 100, 0 → -300."""
    return (score - 75) * 4


def counted(row: OfficialRow, weights: Weights) -> bool:
    """Whether results/scripts/compute.py counts a row: one with the right number of grades, each within 0..1."""
    _, category, grades = row
    return len(grades) == len(weights[category]) and all(0 <= grade <= 1 for grade in grades)


def official(judged: Iterable[OfficialRow], weights: Weights) -> dict[str, OfficialScore]:
    """Raw task means over the rows that count and, if all five tasks are present, their unweighted `average`."""
    columns: dict[str, list[float | None]] = {}
    for task, category, grades in judged:
        counts = counted((task, category, grades), weights)
        columns.setdefault(task, []).append(weighted(grades, weights[category]) if counts else None)
    means = {task: score for task, column in columns.items() if (score := OfficialScore.mean(column))}
    five = [means[task] for task in TASKS if task in means]
    if len(five) < len(TASKS):
        return means
    average = math.fsum(score.value for score in five) / len(five)
    return {**means, "average": OfficialScore(average, sum(s.counted for s in five), sum(s.total for s in five))}
