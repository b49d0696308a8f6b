"""Reflection markers: where a thinking says that it hesitates, turns back or reconsiders.

Only discourse uses count: "Wait, the reader knows this" holds a marker, "readers wait for it" does not. What
decides is the place: at the start of a sentence, or set off by punctuation inside one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from reer.errors import InputError

_ENDS = ".!?…。！？\n"  # of a sentence
_MARKS = ",，;；:：—–"  # inside a sentence
_SENTENCE = re.compile(rf"[^{_ENDS}]*[{_ENDS}]*[\"”’)』」）]*\s*")
_SPACES = re.compile(r"[ \t]{2,}")
_GAP = rf"(?:[\s{_MARKS}{_ENDS}]|(?<=\s)-(?=\s))*"
_LEAD = r"(?:[-*•>]\s+|[(（])?"  # of a list item, or an opening parenthesis
_ASIDE = ",—–"  # the marks of which two set off an aside


@dataclass(frozen=True)
class Span:
    """A marker in a text, with the punctuation that goes with it, from `start` to `end`. `opens` is true for a marker
    with which its sentence begins, `aside` for an adverb inside one ("the end, perhaps, is short"): both of its marks
    go with it."""

    start: int
    end: int
    opens: bool
    aside: bool = False


@dataclass(frozen=True)
class Markers:
    """Phrases of reflection as regular expressions, whatever their case; see `spans` for where each kind counts."""

    interjections: tuple[str, ...] = ()
    """Count at the start of a sentence before punctuation, and inside a sentence between punctuation."""
    openers: tuple[str, ...] = ()
    """Count at the start of a sentence, and inside one between punctuation."""
    clauses: tuple[str, ...] = ()
    """Count at the start of a sentence or of a clause, with everything up to the end of the clause."""

    def __post_init__(self) -> None:
        for kind in ("interjections", "openers", "clauses"):
            for phrase in getattr(self, kind):
                try:
                    matches_empty = re.search(phrase, "", re.I)
                except re.error as error:
                    raise InputError(f"markers.{kind}: {phrase!r} is not a regular expression: {error}") from None
                if matches_empty:
                    raise InputError(f"markers.{kind}: {phrase!r} matches the empty text; want one that can be cut")

    def spans(self, text: str, after: int = 0) -> Iterator[Span]:
        """The markers of a text in order, of the sentences that end after a place; one may begin with several."""
        for sentence in _SENTENCE.finditer(text):
            position, end = sentence.span()
            if end <= after:
                continue
            while (found := self._opening.match(text, position, end)) and found.end() > position:
                yield Span(found.start("marker"), found.end(), opens=True)
                position = found.end()
            for found in self._inside.finditer(text, position, end):
                marks = {text[: found.start("marker")].rstrip()[-1], found["mark"]}
                aside = found["opener"] is not None and len(marks) == 1 and marks <= set(_ASIDE)
                yield Span(found.start("marker"), found.end(), opens=False, aside=aside)

    def count(self, text: str) -> int:
        """Number of markers in a text."""
        return sum(1 for _ in self.spans(text))

    def cut(self, text: str) -> str:
        """The text without its markers, and runs of spaces as one space. What follows a marker at the start of a
        sentence begins with a capital; a sentence that was nothing but markers disappears. A cut can make a marker of
        what is left, so this is repeated until there is none."""
        text = _SPACES.sub(" ", text)
        while spans := list(self.spans(text)):
            text = _SPACES.sub(" ", _without(text, spans))
        return text.strip()

    @cached_property
    def _opening(self) -> re.Pattern[str]:
        """One marker at the start of a sentence, with what separates it from the rest."""
        return re.compile(
            rf"\s*{_LEAD}(?P<marker>(?P<emphasis>[*_]{{0,2}}){_any(self.interjections)}(?P=emphasis)"
            rf"(?=\s*[{_MARKS}{_ENDS}]|\s+-\s|\s*$)|{_any(self.openers)}|{_any(self.clauses)}[^{_MARKS}{_ENDS}]*){_GAP}",
            re.I,
        )

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        """One marker inside a sentence, after the mark that sets it off and with the one that follows."""
        return re.compile(
            rf"(?<=[{_MARKS}])\s*(?P<marker>(?:{_any(self.interjections)}|(?P<opener>{_any(self.openers)})"
            rf"|{_any(self.clauses)}[^{_MARKS}{_ENDS}]*)\s*(?:(?P<mark>[{_MARKS}]+)\s*|(?=[{_ENDS}])|$))",
            re.I,
        )


def _any(phrases: tuple[str, ...]) -> str:
    """A pattern of any of these phrases as whole words; one that never matches where there is none."""
    return f"(?:(?<![^\\W_])(?:{'|'.join(phrases)})(?![a-z0-9_’']))" if phrases else r"(?!)"


def _without(text: str, spans: Sequence[Span]) -> str:
    """The text without these spans."""
    pieces: list[str] = []
    position = 0
    for number, span in enumerate(spans):
        kept = text[position : span.start]
        position = span.end
        if span.opens:
            pieces += [kept, *(c for c in text[span.start : span.end] if c == "\n")]
            followed = number + 1 < len(spans) and spans[number + 1].start == position
            if not followed:
                pieces.append(text[position : position + 1].upper())
                position += 1
        else:
            closes = not text[position : position + 1].strip(_ENDS)  # the mark before the marker goes with it
            alone = kept.rstrip(f"{_MARKS} \t")
            pieces.append(f"{alone} " if span.aside else alone if closes else kept)
    return "".join([*pieces, text[position:]])
