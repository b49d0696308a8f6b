"""Grades by people: rows of a JSONL file, and which of them are about the answers of a run."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, FiniteFloat, ValidationError

from evals.benchmark import Response
from reer.errors import InputError
from reer.files import adapter

Digest = Annotated[str, Field(pattern="^[0-9a-f]{12,64}$")]


@dataclass(frozen=True, kw_only=True)
class Label:
    """One grade by a person, on whatever scale: of the `answer` to an item, or of the answer whose text begins to hash
    with `answer_sha256` (12 hex digits or more). Several raters of one answer have a row each."""

    benchmark: str
    item: str
    grade: FiniteFloat
    answer: str | None = None
    answer_sha256: Digest | None = None
    rater: str = ""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def is_of(self, response: Response) -> bool:
        """Whether this is a grade of a response."""
        if self.answer is not None:
            return self.answer.strip() == response.answer.strip()
        digest = sha256(response.answer.encode("utf-8", "surrogatepass")).hexdigest()
        return self.answer_sha256 is not None and digest.startswith(self.answer_sha256)


@dataclass(frozen=True)
class LabelledAnswers:
    """The mean grade of each labelled answer by item, the rows that were left out by reason, and how many answers have
    no label."""

    grades: Mapping[str, float]
    left_out: Mapping[str, int]
    unlabelled: int


def read_labels(path: Path) -> list[Label]:
    """The rows of a file. Raises InputError for a row that is no label, and for a file without any."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"--labels: {path} cannot be read ({error.strerror}); want a JSONL file") from None
    labels = [_label(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not labels:
        raise InputError(
            f"--labels: {path} has no rows; want benchmark, item, answer or answer_sha256, and grade on each"
        )
    return labels


def _label(where: str, line: str) -> Label:
    try:
        label = adapter(Label).validate_python(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise InputError(f"{where}: want a JSON object, got invalid JSON: {error}") from None
    if (label.answer is None) == (label.answer_sha256 is None):
        raise InputError(f"{where}: want either answer or answer_sha256, which say what was graded")
    return label


def labelled(labels: Sequence[Label], benchmark: str, responses: Sequence[Response]) -> LabelledAnswers:
    """The grades of the responses to a benchmark."""
    answers = {response.item_id: response for response in responses}
    reasons, grades = Counter[str](), dict[str, list[float]]()
    for label in labels:
        if reason := next(_reasons(label, benchmark, answers), None):
            reasons[reason] += 1
        else:
            grades.setdefault(label.item, []).append(label.grade)
    means = {item: statistics.fmean(of_item) for item, of_item in grades.items()}
    return LabelledAnswers(means, dict(reasons), len(answers) - len(means))


def _reasons(label: Label, benchmark: str, answers: Mapping[str, Response]) -> Iterator[str]:
    """Why a label is left out."""
    if label.benchmark != benchmark:
        yield "another benchmark"
    elif label.item not in answers:
        yield "no such item"
    elif not label.is_of(answers[label.item]):
        yield "another answer"
