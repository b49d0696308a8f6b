"""What the filters and the reflection markers find in known texts: `python -m tests.benchmarks.filters [FOLDER]`.

FOLDER holds `pairs/*.jsonl`, real human texts (`$REER_SHARED/data`). Printed are the markers of the labelled sentences;
the smallest looping share of a text that is dropped, by its length and the period of the loop; human texts that each
rule takes for a fault, by genre; and what happens to 200 human texts as thinkings, under the rules of today and under
the first ones, whose measures were other ones (the three most frequent trigrams; words of hesitation anywhere).
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from reer.curation.filters import Filters
from reer.curation.transforms import Reflection
from reer.files import read_rows
from reer.text import ngrams, split_segments, words
from reer.types import Language
from tests.fakes.markers import marking
from tests.fakes.plans import compose

LENGTHS, PERIODS = (100, 200, 500, 1000, 2500), (1, 2, 3, 5, 7, 11, 17, 29, 53, 97, 151, 199)
PAIRS = 200
MIN_WORDS = 100  # a shorter text is no trajectory: drafts under 100 tokens are dropped
FIRST_END = re.compile(r"hmm|wait|let me think|maybe|on second thought|等等|让我想", re.I)


@dataclass(frozen=True)
class Text:
    """A human text."""

    answer: str = ""
    category: str = ""


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(os.environ["REER_SHARED"]) / "data") / "pairs"
    exp = compose("scale=smoke", "filters=paper")
    print("| labelled sentences | number | precision | recall |\n|---|---|---|---|")
    for language in get_args(Language):
        found = marking(exp.reflection.markers, language)
        print(f"| {language} | {found.sentences} | {found.precision:.3f} | {found.recall:.3f} |")
    _loops(exp.filters)
    rows = [row for name in ("demo24", "scale_open") for row in read_rows(folder / f"{name}.jsonl", Text)]
    texts = [row for row in rows if len(words(row.answer)) >= MIN_WORDS]
    _human_texts(texts, exp.filters)
    _before_and_after(texts[:: len(texts) // PAIRS][:PAIRS], exp.filters, exp.reflection)


def looping(size: int, period: int, share: float) -> list[str]:
    """Different words around a loop of `period` words that fills a share of the text."""
    loop = round(size * share)
    rest = [f"word{n}" for n in range(size - loop)]
    return [*rest[: len(rest) // 2], *(f"loop{n % period}" for n in range(loop)), *rest[len(rest) // 2 :]]


def _loops(filters: Filters) -> None:
    print("\n| share of a loop that is dropped, by period | " + " | ".join(map(str, PERIODS)) + " |")
    print("|---" * (len(PERIODS) + 1) + "|")
    for size in LENGTHS:
        print(f"| {size} words | " + " | ".join(_least_share(filters, size, period) for period in PERIODS) + " |")


def _least_share(filters: Filters, size: int, period: int) -> str:
    """The smallest dropped share, in percent; – for a loop that would not come twice in half of the text."""
    shares = (percent for percent in range(1, 51) if percent * size >= 200 * period)
    dropped = (percent for percent in shares if filters.repeats(" ".join(looping(size, period, percent / 100))))
    return next(map(str, dropped), "–")


def _human_texts(texts: Sequence[Text], filters: Filters) -> None:
    loops, ends = (Counter(text.category for text in texts if rule(text.answer)) for rule in _rules(filters))
    print("\n| human texts | number | loops | thinking at the end |\n|---|---|---|---|")
    for genre, count in Counter(text.category for text in texts).most_common():
        print(f"| {genre} | {count} | {loops[genre]} | {ends[genre]} |")
    total = len(texts)
    print(f"| all | {total} | {_share(loops.total(), total)} | {_share(ends.total(), total)} |")


def _rules(filters: Filters) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    return filters.repeats, filters.unfinished


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.2f} %)"


def _before_and_after(texts: Sequence[Text], filters: Filters, reflection: Reflection) -> None:
    """What the first rules and those of today make of the same texts."""
    markers = reflection.markers
    answers = [text.answer for text in texts]
    rows = {
        "dropped as loops": (sum(map(_looped_once, answers)), sum(map(filters.repeats, answers))),
        "dropped for their end": (sum(map(_ended_once, answers)), sum(map(filters.unfinished, answers))),
        "drafts written that cannot be scored": (sum(len(split_segments(answer)) < 2 for answer in answers), 0),
        "words or phrases cut": (
            sum(len(FIRST_END.findall(answer)) for answer in answers),
            sum(map(markers.count, answers)),
        ),
        "markers left after the cut": (
            sum(markers.count(FIRST_END.sub("", answer)) for answer in answers),
            sum(markers.count(markers.cut(answer)) for answer in answers),
        ),
    }
    print(f"\n| of {len(texts)} human texts | at first | today |\n|---|---|---|")
    for what, (before, after) in rows.items():
        print(f"| {what} | {before} | {after} |")


def _looped_once(text: str) -> bool:
    """The first rule: the three most frequent trigrams are more than 30 % of all."""
    counts = ngrams(words(text), 3)
    return bool(counts) and sum(count for _, count in counts.most_common(3)) > 0.3 * counts.total()


def _ended_once(text: str) -> bool:
    """The first rule: a word of hesitation anywhere in the last tenth."""
    return FIRST_END.search(text, int(0.9 * len(text))) is not None


if __name__ == "__main__":
    main()
