"""Answer hygiene: obvious defects of answers (loops, cut endings, wrong language) and statistics that need no judge.

An arm can gain or lose by such defects alone. The rules count them, and prefer missing a bad answer to flagging a good
one.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import eq

from evals.benchmark import Item, ItemScores, Response
from evals.benchmarks.length import length_score
from reer.text import language_of, ngrams, words
from reer.types import Language

FLAGS = ("empty", "truncated", "unclosed", "loops", "wrong_language")

MIN_REPEATS, MIN_LOOP_WORDS = 4, 50  # "row, row, row" is shorter; a chorus rarely comes four times in a row
MIN_DOUBLED_WORDS = 100  # no author repeats a whole paragraph at once
MIN_SENTENCE_WORDS = 8  # rows of forms ("Week 3: breakfast, lunch, dinner") are shorter
GRAM = 8
_MARKER = re.compile(r"^[ \t]*(?:\d+[.)、．]|[-*+•])[ \t]+|^[ \t]*\d+[、．]", re.M)
_TABLE_ROW = re.compile(r"^.*[|\t].*$", re.M)
# Without digits and other signs, which rules, blanks, banners and tables consist of.
_SIGNS = re.compile(r"([^\W\d_]{1,8}?|[!?！？\u2600-\u27bf\ufe0f\U0001f300-\U0001faff]{1,4}?)\1{49}")

REQUEST_CHARS = 300  # a long prompt states its request before or after its material
MIN_LANGUAGE_WORDS = 10  # a shorter answer is a name, a number or a heading, whose language is undefined
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.S)
_CLOSING = {"“": "”", "「": "」", "『": "』", "《": "》"}
_QUOTED = re.compile(r'[“「『《]|"[^"\n]*"|^[ \t]*>.*$', re.M)
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")
_ASKS_FOR_OTHER = {
    "en": re.compile(r"\b(?:chinese|mandarin|cantonese|translat\w*|bilingual)\b", re.I),
    "zh": re.compile(r"英文|英语|英語|双语|雙語|翻译|翻譯|\benglish\b", re.I),
}

WINDOW = 50  # words per window of distinct-n


@dataclass(frozen=True, kw_only=True)
class Hygiene:
    """The flags and statistics of one response. `words` counts the answer only. `distinct_1` and `distinct_2` are None
    for an answer of fewer than `WINDOW` words; `length_score` is S_l of LongBench-Write in [0, 100], None if the item
    asks for no length."""

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
        """True if no flag is set."""
        return not any(getattr(self, flag) for flag in FLAGS)


def hygiene(item: Item, response: Response) -> Hygiene:
    """The flags and statistics of one response. A loop in the thinking counts too: it is why no answer followed."""
    answer = response.answer
    return Hygiene(
        item_id=item.id,
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
    """True if the text repeats itself in a row, anywhere in it, in one of four ways:

    - a sequence of words at least 4 times, over at least 50 words;
    - a passage of at least 100 words twice;
    - a sentence of at least 8 words at least 4 times, over at least 50 words, in which only numbers change
      ("Day 1: …", "Day 2: …"), outside of code and table rows;
    - up to 8 letters, or up to 4 exclamation or question marks or emoji, 50 times without anything between them.

    Words are those of `reer.text.words` (a Chinese character is one), without the markers of list items. Other words
    separate the repeats of a refrain, and the rows of a list or table differ, so none of these repeats *in a row*; a
    share of repeated n-grams would count them as loops. Not detected: loops whose wording drifts.
    """
    spoken = [word for word in words(_MARKER.sub("", text)) if any(map(str.isalnum, word))]
    prose = [word for word in words(_TABLE_ROW.sub("", _CODE.sub("", text))) if any(map(str.isalpha, word))]
    return (
        any(_is_loop(period, run) or run - period >= max(MIN_DOUBLED_WORDS, period) for period, run in _runs(spoken))
        or any(_is_loop(period, run) and period >= MIN_SENTENCE_WORDS for period, run in _runs(prose))
        or _SIGNS.search(text) is not None
    )


def _is_loop(period: int, run: int) -> bool:
    return run >= max(MIN_REPEATS * period, MIN_LOOP_WORDS)


def _runs(tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(period, length) of runs in which every token equals the token one period earlier, the first period included;
    runs of numbers alone are left out. Candidate periods are distances at which the same 8 tokens recur at least 8
    times: in a loop of 50 words, all positions after the first period do."""
    last: dict[tuple[str, ...], int] = {}
    distances: Counter[int] = Counter()
    for start in range(len(tokens) - GRAM + 1):
        gram = tuple(tokens[start : start + GRAM])
        if gram in last:
            distances[start - last[gram]] += 1
        last[gram] = start
    for period in sorted(distance for distance, count in distances.items() if count >= GRAM):
        start = 0
        for same, run in groupby(map(eq, tokens[period:], tokens)):
            length = sum(1 for _ in run)
            if same and not all(map(str.isnumeric, tokens[start : start + period])):
                yield period, period + length
            start += length


def wrong_language(item: Item, answer: str) -> bool:
    """True if an answer is not in the language of its item, judged by its script.

    `reer.text.language_of` treats one ideograph as Chinese, which suits prompts; an answer may quote. Code, links and
    quoted passages are therefore left out, and of the remaining words with letters (an ideograph is one) at least half
    must be ideographs for a Chinese item, and in Latin letters for an English one. Never flagged: fewer than 10 such
    words; items that name the other language or translation in their first or last 300 characters (the middle is
    material); and English items that contain ideographs. Not detected: French for English, mostly Japanese for Chinese.
    """
    mixed = item.language == "en" and language_of(item.prompt) == "zh"
    request = f"{item.prompt[:REQUEST_CHARS]}\n{item.prompt[-REQUEST_CHARS:]}"
    if mixed or _ASKS_FOR_OTHER[item.language].search(request):
        return False
    prose = without_quotes(_CODE.sub(" ", answer))
    scripts = [_script(word) for word in words(prose) if any(map(str.isalpha, word))]
    return len(scripts) >= MIN_LANGUAGE_WORDS and scripts.count(item.language) < len(scripts) / 2


def without_quotes(text: str) -> str:
    """The text with a space for each quoted passage. A mark that is never closed opens none, and the first of its kind
    is searched for its end only once, because a looping model writes thousands."""
    pieces: list[str] = []
    never_closed: set[str] = set()
    end = 0
    while match := _QUOTED.search(text, end):
        opening = match.group()
        close = _CLOSING.get(opening)
        pieces.append(text[end : match.start()])
        end = match.end()
        if close is not None and opening not in never_closed and (found := text.find(close, end)) >= 0:
            end = found + 1
        elif close is not None:
            never_closed.add(opening)
            pieces.append(opening)
            continue
        pieces.append(" ")
    return "".join([*pieces, text[end:]])


def _script(word: str) -> Language | None:
    if language_of(word) == "zh":
        return "zh"
    return "en" if _LATIN.search(word) else None


def distinct(text: str, n: int) -> float | None:
    """distinct-n (Li et al. 2016, arXiv:1510.03055): the share of distinct n-grams among all, in (0, 1]. Since it falls
    with length, it is the mean over consecutive full windows of 50 words; None for a text of fewer words."""
    tokens = words(text)
    windows = [tokens[start : start + WINDOW] for start in range(0, len(tokens) - WINDOW + 1, WINDOW)]
    shares = [len(ngrams(window, n)) / (WINDOW - n + 1) for window in windows]
    return math.fsum(shares) / len(shares) if shares else None


@dataclass(frozen=True, kw_only=True)
class HygieneSummary:
    """All responses of one benchmark: how many have each flag, the shares of them, and means of what needs no judge.

    A mean is over the answers that have the statistic (`answers_with_…`); shares and means of nothing are None."""

    rows: int
    clean: int
    empty: int
    truncated: int
    unclosed: int
    loops: int
    wrong_language: int
    share_clean: float | None
    share_empty: float | None
    share_truncated: float | None
    share_unclosed: float | None
    share_loops: float | None
    share_wrong_language: float | None
    mean_words: float | None
    median_words: float | None
    mean_distinct_1: float | None
    answers_with_distinct_1: int
    mean_distinct_2: float | None
    answers_with_distinct_2: int
    mean_length_score: float | None
    answers_with_length_score: int


def summary(rows: Sequence[Hygiene]) -> HygieneSummary:
    """The counts, shares and means over all responses of a benchmark."""
    flags = {flag: sum(getattr(row, flag) for row in rows) for flag in FLAGS}
    clean = sum(row.clean for row in rows)
    lengths = [row.words for row in rows]
    distinct_1, distinct_2, length_scores = (
        [value for value in column if value is not None]
        for column in (
            [row.distinct_1 for row in rows],
            [row.distinct_2 for row in rows],
            [row.length_score for row in rows],
        )
    )
    return HygieneSummary(
        rows=len(rows),
        clean=clean,
        empty=flags["empty"],
        truncated=flags["truncated"],
        unclosed=flags["unclosed"],
        loops=flags["loops"],
        wrong_language=flags["wrong_language"],
        share_clean=_share(clean, len(rows)),
        share_empty=_share(flags["empty"], len(rows)),
        share_truncated=_share(flags["truncated"], len(rows)),
        share_unclosed=_share(flags["unclosed"], len(rows)),
        share_loops=_share(flags["loops"], len(rows)),
        share_wrong_language=_share(flags["wrong_language"], len(rows)),
        mean_words=_mean(lengths),
        median_words=statistics.median(lengths) if lengths else None,
        mean_distinct_1=_mean(distinct_1),
        answers_with_distinct_1=len(distinct_1),
        mean_distinct_2=_mean(distinct_2),
        answers_with_distinct_2=len(distinct_2),
        mean_length_score=_mean(length_scores),
        answers_with_length_score=len(length_scores),
    )


MANY_LOOPS, MANY_UNFINISHED, FEW_ENDED = 0.2, 0.5, 0.5  # shares; ours
WORSE = 0.2  # how much greater a share is where an arm is worse than a baseline that has the same sign; ours


@dataclass(frozen=True, kw_only=True)
class Symptoms:
    """Signs that a trained model is degenerate, as shares of its answers or training rows; None where not measured."""

    loops: float | None
    """Answers that loop."""
    unfinished: float | None
    """Answers that are cut by their limit or do not end their thinking."""
    ended: float | None
    """Answers to training prompts that end by themselves."""
    asked_otherwise: float | None
    """Training rows in another template than the model is asked in."""
    without_end: float | None
    """Training rows without a token that ends the model's answers."""

    def reasons(self, baseline: Symptoms | None = None) -> list[str]:
        """Why the model is degenerate, the cause before what it causes; none where it is not. Beside a baseline, only
        what is worse than there."""
        theirs = baseline.signs() if baseline else {}
        worse = {sign: share for sign, share in self.signs().items() if share - theirs.get(sign, -WORSE) >= WORSE}
        return [sign.format(share=share) for sign, share in worse.items()]

    def signs(self) -> dict[str, float]:
        """The signs beyond their bounds, as texts with a place for the share of answers or rows that show it."""
        unended = 0.0 if self.ended is None or self.ended >= FEW_ENDED else 1 - self.ended
        shares = [
            ("trained in another template than it is asked in", self.asked_otherwise, 0.0),
            ("no end token learned", max(self.without_end or 0.0, unended), 0.0),
            ("{share:.0%} of answers loop", self.loops, MANY_LOOPS),
            ("{share:.0%} of answers unfinished", self.unfinished, MANY_UNFINISHED),
        ]
        return {sign: share for sign, share, least in shares if share and share >= least}


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


@dataclass(frozen=True)
class CleanScore:
    """A measure over clean answers only: their mean score, None if there are none, and their number."""

    benchmark: str
    metric: str
    mean: float | None
    items: int


def clean_scores(benchmark: str, table: ItemScores, rows: Sequence[Hygiene]) -> list[CleanScore]:
    """Each measure of a benchmark over its clean answers only.

    It shows whether an arm's score comes from its writing or from its defects. The clean items of two arms differ, and
    tend to be the easier ones: their means are comparable only over items that are clean in both.
    """
    clean = {row.item_id for row in rows if row.clean}
    scores = []
    for metric, column in table.items():
        known = [score for item_id, score in column.items() if item_id in clean and score is not None]
        scores.append(CleanScore(benchmark, metric, _mean(known), len(known)))
    return scores
