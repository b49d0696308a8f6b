"""Answer hygiene: what is plainly wrong with an answer, whatever a judge thinks of it, and what needs no judge.

An arm may gain or lose by loops, lost endings or the wrong language alone. These rules count that; they would rather
miss a bad answer than accuse a good one.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import eq
from typing import Any

from evals.benchmark import Item, ItemScores, Response
from evals.benchmarks.length import length_score
from reer.text import language_of, ngrams, words
from reer.types import Language

FLAGS = ("empty", "truncated", "unclosed", "loops", "wrong_language")

REPEATS, RUN_WORDS = 4, 50  # "row, row, row" is short, and a chorus hardly comes four times in a row
AGAIN_WORDS = 100  # nobody says a whole paragraph twice in a row
COUNTED_WORDS = 8  # a sentence; rows of forms ("Week 3: breakfast, lunch, dinner") are shorter
GRAM = 8
_MARKER = re.compile(r"^[ \t]*(?:\d+[.)、．]|[-*+•])[ \t]+|^[ \t]*\d+[、．]", re.M)
_TABLE_ROW = re.compile(r"^.*[|\t].*$", re.M)
# No digits and no other signs: rules, blanks, banners and tables are made of them.
_SIGNS = re.compile(r"([^\W\d_]{1,8}?|[!?！？\u2600-\u27bf\ufe0f\U0001f300-\U0001faff]{1,4}?)\1{49}")

REQUEST_CHARS = 300  # a long prompt says what it wants before or after its material
FEWEST_WORDS = 10  # under these an answer is a name, a number or a heading: no language to speak of
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.S)
_QUOTED = re.compile(r'“[^”]*”|「[^」]*」|『[^』]*』|《[^》]*》|"[^"\n]*"|^[ \t]*>.*$', re.M)
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")
_ASKS_FOR_OTHER = {
    "en": re.compile(r"\b(?:chinese|mandarin|cantonese|translat\w*|bilingual)\b", re.I),
    "zh": re.compile(r"英文|英语|英語|双语|雙語|翻译|翻譯|\benglish\b", re.I),
}

WINDOW = 50  # words over which distinct-n is taken


@dataclass(frozen=True)
class Hygiene:
    """One response. `words` are its answer's. `distinct_1` and `distinct_2` are None for an answer under `WINDOW`
    words; `length_score` is S_l of LongBench-Write in [0, 100], None where the item asks for no length."""

    item_id: str
    empty: bool
    truncated: bool
    unclosed: bool
    loops: bool
    wrong_language: bool
    words: int
    distinct_1: float | None
    distinct_2: float | None
    length_score: float | None

    @property
    def clean(self) -> bool:
        """True without any of the flags."""
        return not any(getattr(self, flag) for flag in FLAGS)


def hygiene(item: Item, response: Response) -> Hygiene:
    """The flags and numbers of one response. Thinking that loops counts too: it is why an answer never came."""
    answer = response.answer
    return Hygiene(
        item.id,
        empty=not answer.strip(),
        truncated=response.truncated,
        unclosed=not response.closed,
        loops=loops(answer) or loops(response.thinking or ""),
        wrong_language=wrong_language(item, answer),
        words=len(words(answer)),
        distinct_1=distinct(answer, 1),
        distinct_2=distinct(answer, 2),
        length_score=None if item.length is None else length_score(item.length, answer),
    )


def loops(text: str) -> bool:
    """True if the text says one thing over and over, anywhere in it, in one of four ways:

    - one sequence of words at least 4 times in a row, over at least 50 words;
    - one passage of at least 100 words twice in a row;
    - one sentence of at least 8 words at least 4 times in a row, over at least 50 words, only its numbers changing
      ("Day 1: …", "Day 2: …"), outside of code and table rows;
    - up to 8 letters, or up to 4 exclamation or question marks or emoji, 50 times with nothing between.

    Words are those of `reer.text.words` (a Chinese character is one), without what marks list items. A refrain comes
    back after other words and a list's or table's rows differ, so none of them repeats *in a row*; a share of repeated
    n-grams would take them for loops. Missed: loops whose wording drifts.
    """
    said = [word for word in words(_MARKER.sub("", text)) if any(map(str.isalnum, word))]
    prose = [word for word in words(_TABLE_ROW.sub("", _CODE.sub("", text))) if any(map(str.isalpha, word))]
    return (
        any(_often(period, run) or run - period >= max(AGAIN_WORDS, period) for period, run in _runs(said))
        or any(_often(period, run) and period >= COUNTED_WORDS for period, run in _runs(prose))
        or _SIGNS.search(text) is not None
    )


def _often(period: int, run: int) -> bool:
    return run >= max(REPEATS * period, RUN_WORDS)


def _runs(tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(period, length) of stretches in which every token equals the one a period before it, the first period counted
    in; those of numbers alone are left out. Periods are looked for among distances at which 8 tokens come again at
    least 8 times: in a loop of 50 words all but the first period's do."""
    last: dict[tuple[str, ...], int] = {}
    distances: Counter[int] = Counter()
    for at in range(len(tokens) - GRAM + 1):
        gram = tuple(tokens[at : at + GRAM])
        if gram in last:
            distances[at - last[gram]] += 1
        last[gram] = at
    for period in sorted(distance for distance, count in distances.items() if count >= GRAM):
        at = 0
        for same, stretch in groupby(map(eq, tokens[period:], tokens)):
            size = sum(1 for _ in stretch)
            if same and not all(map(str.isnumeric, tokens[at : at + period])):
                yield period, period + size
            at += size


def wrong_language(item: Item, answer: str) -> bool:
    """True if an answer is not in the language of its item, told by script.

    `reer.text.language_of` takes one ideograph for Chinese, which suits prompts; an answer may quote. So code, links
    and quoted passages are left out, and of the remaining words with letters (an ideograph is one) at least half must
    be ideographs for a Chinese item, and in Latin letters for an English one. Never flagged: fewer than 10 such words,
    and items that name the other language or translation at either end (between stands material), or an English one
    that holds ideographs. Missed: French for English, mostly Japanese for Chinese.
    """
    mixed = item.language == "en" and language_of(item.prompt) == "zh"
    request = f"{item.prompt[:REQUEST_CHARS]}\n{item.prompt[-REQUEST_CHARS:]}"
    if mixed or _ASKS_FOR_OTHER[item.language].search(request):
        return False
    plain = _QUOTED.sub(" ", _CODE.sub(" ", answer))
    scripts = [_script(word) for word in words(plain) if any(map(str.isalpha, word))]
    return len(scripts) >= FEWEST_WORDS and scripts.count(item.language) < len(scripts) / 2


def _script(word: str) -> Language | None:
    if language_of(word) == "zh":
        return "zh"
    return "en" if _LATIN.search(word) else None


def distinct(text: str, n: int) -> float | None:
    """distinct-n (Li et al. 2016, arXiv:1510.03055): the share of different n-grams among all, in (0, 1]. It falls with
    length by itself, so it is the mean over consecutive whole windows of 50 words; None for a text without one."""
    tokens = words(text)
    windows = [tokens[start : start + WINDOW] for start in range(0, len(tokens) - WINDOW + 1, WINDOW)]
    shares = [len(ngrams(window, n)) / (WINDOW - n + 1) for window in windows]
    return math.fsum(shares) / len(shares) if shares else None


def summary(rows: Sequence[Hygiene]) -> dict[str, Any]:
    """Over all responses: each flag's count and share, the words, and the means of what needs no judge, each with how
    many answers it is a mean of. A mean over nothing is None."""
    found: dict[str, Any] = {"rows": len(rows), "clean": sum(row.clean for row in rows)}
    found |= {flag: sum(getattr(row, flag) for row in rows) for flag in FLAGS}
    found |= {f"share_{name}": found[name] / len(rows) if rows else None for name in ("clean", *FLAGS)}
    lengths = [row.words for row in rows]
    found["mean_words"] = statistics.fmean(lengths) if lengths else None
    found["median_words"] = statistics.median(lengths) if lengths else None
    for name in ("distinct_1", "distinct_2", "length_score"):
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        found[f"mean_{name}"] = statistics.fmean(known) if known else None
        found[f"answers_with_{name}"] = len(known)
    return found


def clean_scores(name: str, table: ItemScores, rows: Sequence[Hygiene]) -> dict[str, Mapping[str, Any]]:
    """Each measure of a benchmark over the clean answers alone: the mean (None without any) and of how many items.

    It tells whether an arm's score is its writing's or its accidents'. Arms have other clean items: what is left is a
    choice of easier ones, and two arms' means compare only over items clean in both.
    """
    clean = {row.item_id for row in rows if row.clean}
    found = {}
    for metric, scores in table.items():
        known = [score for id, score in scores.items() if id in clean and score is not None]
        found[f"{name}/{metric}"] = {"mean": statistics.fmean(known) if known else None, "items": len(known)}
    return found
