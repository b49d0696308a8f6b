"""Controls: thinking that keeps one property of the pair's own and loses another.

An arm that trains on a control and scores as well as one that trains on the thinking itself shows that what it lost did
not matter. All keep the rows, the answers and the amount of thinking.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from pydantic import PositiveInt

from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Curated
from reer.errors import InputError
from reer.text import fill, join_segments, sentences, words
from reer.types import Language, content_id, item_seed

TokenCount = Callable[[str], int]
Segments = tuple[str, ...]
_PIECE = re.compile(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+\s*")


@dataclass(frozen=True)
class Controlled:
    """The rows with other thinking. `exceptions` counts rows in which the rule had to give way, by what gave way;
    `unchangeable` are rows whose own thinking had to stay."""

    rows: tuple[Curated, ...]
    exceptions: Mapping[str, int] = field(default_factory=dict[str, int])
    unchangeable: int = 0


@dataclass(frozen=True)
class ThinkingControl(ThinkingSource, ABC):
    """Thinking as `ThinkingSource` says, then replaced."""

    seed: int = 0

    @abstractmethod
    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        """The rows with their thinking replaced, in the same order. `tokens` is the number of tokens of a text."""


def true_pairs(before: Sequence[Curated], after: Sequence[Curated]) -> int:
    """Number of rows whose thinking is one that was written for their own query."""
    own: dict[tuple[str, ...], set[str]] = {}
    for row in before:
        own.setdefault(_query(row), set()).add(join_segments(row.segments))
    return sum(join_segments(row.segments) in own[_query(row)] for row in after)


def _query(row: Curated) -> tuple[str, ...]:
    return tuple(words(row.pair.query))


class Place(NamedTuple):
    """What a thinking has in common with the one that takes its place: the language and category of its pair, and its
    length bin, the shortest being 0."""

    language: Language
    category: str
    length_bin: int

    def departures(self, other: Place) -> list[str]:
        """What two places do not have in common."""
        named = zip(("language", "category", "length_bin"), self, other, strict=True)
        return [f"other_{name}" for name, own, others in named if own != others]

    def distance(self, other: Place) -> tuple[bool, bool, int]:
        """How unlike two places are: language first, then category, then length."""
        return (
            self.language != other.language,
            self.category != other.category,
            abs(self.length_bin - other.length_bin),
        )


@dataclass(frozen=True)
class MismatchedThinking(ThinkingControl):
    """Each row gets the thinking of another query, of the same language, category and length bin. A group in which
    that is impossible, such as a group of one, is merged with the nearest one. All thinkings are used once."""

    bins: PositiveInt = 4
    """Length bins, with equal numbers of rows, by words."""

    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        """See `ThinkingControl`. Raises InputError where not even all rows together can be mismatched."""
        places, donors = self._places(rows), dict[int, int]()
        for members, shift in self._groups(rows, places):
            donors |= {row: members[(at + shift) % len(members)] for at, row in enumerate(members)}
        departures = Counter(name for row, donor in donors.items() for name in places[row].departures(places[donor]))
        mismatched = [replace(row, segments=rows[donors[index]].segments) for index, row in enumerate(rows)]
        return Controlled(tuple(mismatched), dict(departures))

    def _groups(self, rows: Sequence[Curated], places: Sequence[Place]) -> list[tuple[list[int], int]]:
        """The rows that exchange their thinkings, in the order in which they do, and by how many places."""
        order, groups = self._order(rows), dict[Place, list[int]]()
        for index in sorted(order, key=order.__getitem__):
            groups.setdefault(places[index], []).append(index)
        shifts: dict[Place, int] = {}
        waiting = sorted(groups, key=lambda place: (len(groups[place]), place))
        while waiting:
            place = waiting.pop(0)
            shift = _shift(rows, groups[place])
            if shift is not None:
                shifts[place] = shift
                continue
            if len(groups) == 1:
                raise InputError(
                    f"thinking={self.name}: {len(rows)} rows leave no thinking of another query for each of them; "
                    "raise scale.pairs, or choose a source with more queries"
                )
            nearest = min(groups.keys() - {place}, key=lambda other: (place.distance(other), other))
            groups[nearest] = sorted([*groups.pop(place), *groups[nearest]], key=order.__getitem__)
            waiting = [nearest, *(other for other in waiting if other != nearest)]
        return [(members, shifts[place]) for place, members in groups.items()]

    def _order(self, rows: Sequence[Curated]) -> dict[int, tuple[str, ...]]:
        """A random order in which rows of one query are neighbours, so that a shift past them all meets none of it."""
        return {
            index: tuple(content_id(str(self.seed), "mismatch", *by) for by in (_query(row), (row.pair.id,)))
            for index, row in enumerate(rows)
        }

    def _places(self, rows: Sequence[Curated]) -> list[Place]:
        sizes = [len(words(join_segments(row.segments))) for row in rows]
        ranks = {index: rank for rank, index in enumerate(sorted(range(len(rows)), key=sizes.__getitem__))}
        return [
            Place(row.pair.language, row.pair.category, ranks[index] * self.bins // len(rows))
            for index, row in enumerate(rows)
        ]


def _shift(rows: Sequence[Curated], members: Sequence[int]) -> int | None:
    """The least number of places by which the members' thinkings can be shifted so that none meets its own query or
    text; None if there is none."""
    queries = [_query(rows[index]) for index in members]
    texts = [join_segments(rows[index].segments) for index in members]
    size = len(members)
    for shift in range(1, size):
        donors = [(at + shift) % size for at in range(size)]
        if all(queries[at] != queries[d] and texts[at] != texts[d] for at, d in enumerate(donors)):
            return shift
    return None


@dataclass(frozen=True)
class ShuffledThinking(ThinkingControl):
    """The segments of each thinking in another order; the sentences, where it has no two unlike segments."""

    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        """See `ThinkingControl`. A thinking without two unlike sentences stays and is counted."""
        by_sentence = unchangeable = 0
        shuffled: list[Curated] = []
        for row in rows:
            draw = Random(item_seed(self.seed, "shuffle", row.pair.id))
            segments = _permuted(row.segments, draw)
            if segments is None:
                text = _sentences_permuted(join_segments(row.segments), draw)
                by_sentence += text is not None
                unchangeable += text is None
                segments = row.segments if text is None else (text,)
            shuffled.append(replace(row, segments=segments))
        return Controlled(tuple(shuffled), {"by_sentence": by_sentence} if by_sentence else {}, unchangeable)


def _permuted(parts: Segments, draw: Random) -> Segments | None:
    """The parts in another order, None if they have no other."""
    stripped = [part.strip() for part in parts]
    if len(set(stripped)) < 2:
        return None
    order = draw.sample(stripped, len(stripped))
    return tuple(order if order != stripped else [*stripped[1:], stripped[0]])


def _sentences_permuted(text: str, draw: Random) -> str | None:
    """The sentences in another order, with the spaces and line breaks between them where they were; None if there is
    no other order."""
    old = sentences(text)
    order = _permuted(tuple(old), draw)
    if order is None:
        return None
    pieces, position = list[str](), 0
    for before, after in zip(old, order, strict=True):
        start = text.index(before, position)
        pieces += [text[position:start], after]
        position = start + len(before)
    return "".join([*pieces, text[position:]])


@dataclass(frozen=True, kw_only=True)
class FillerSentences:
    """Sentences that say nothing about any task: every combination of the parts."""

    sentence: str
    """With the slots subject, state and place; its last character ends a sentence."""
    subjects: tuple[str, ...]
    states: tuple[str, ...]
    places: tuple[str, ...]

    def endless(self, draw: Random) -> Iterator[str]:
        """Sentences drawn at random."""
        while True:
            values = {
                "subject": draw.choice(self.subjects),
                "state": draw.choice(self.states),
                "place": draw.choice(self.places),
            }
            yield fill(self.sentence, values)


@dataclass(frozen=True, kw_only=True)
class FillerThinking(ThinkingControl):
    """Neutral text in place of each segment, with as many of the student's tokens as the segment has, to within a
    word."""

    en: FillerSentences
    zh: FillerSentences

    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        """See `ThinkingControl`."""
        return Controlled(tuple(replace(row, segments=self._filled(row, tokens)) for row in rows))

    def _filled(self, row: Curated, tokens: TokenCount) -> Segments:
        draw = Random(item_seed(self.seed, "filler", row.pair.id))
        filler = self.en if row.pair.language == "en" else self.zh
        segments, missing = list[str](), 0
        for segment in row.segments:
            missing += tokens(segment.strip())
            segments.append(_neutral(filler, draw, missing, tokens))
            missing -= tokens(segments[-1])  # what rounding left is made up for in the next segment
        return tuple(segments)


def _neutral(filler: FillerSentences, draw: Random, wanted: int, tokens: TokenCount) -> str:
    """Whole sentences and the beginning of a last one, as near to the number of tokens as words allow."""
    mark = filler.sentence[-1]
    space = " " if mark.isascii() else ""
    whole = list[str]()
    for sentence in filler.endless(draw):
        if tokens(space.join([*whole, sentence])) >= wanted:
            pieces = _PIECE.findall(sentence.removesuffix(mark))
            starts = ["".join(pieces[:count]).rstrip() + mark for count in range(1, len(pieces) + 1)]
            texts = [*([space.join(whole)] if whole else []), *(space.join([*whole, start]) for start in starts)]
            return min(texts, key=lambda text: abs(tokens(text) - wanted))
        whole.append(sentence)
    raise AssertionError("the sentences never end")
