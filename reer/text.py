"""Pure string functions: segments, tags, languages, words, n-grams."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from reer.types import Language

_CJK = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+(?:['’-][^\W\u4e00-\u9fff]+)*")
_MARKS = re.compile(r"[^\w\s]*")  # that may close a sentence
_SLOT = re.compile(r"\{\{(\w+)\}\}")
# Possessive, and only from the first mark of a row: a row of marks that ends no sentence is read once, not once a mark.
_SENTENCE_END = re.compile(r"(?<![.!?。！？…])[.!?。！？…]++[\"”’)]*+(?=\s|$)|[。！？]++[”’」』）]*+|\n")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_TOKEN = re.compile(r"<\|[A-Za-z0-9_]+\|>|</?(?:think|answer)>")


def language_of(text: str) -> Language:
    """`zh` if the text holds any CJK ideograph, else `en`: the released code's rule for choosing a prompt
    (REER_DeepWriter 277acc6, helper.py)."""
    return "zh" if _CJK.search(text) else "en"


def main_language(text: str) -> Language:
    """The language that most letters of a text are in: a quotation in another language does not decide it."""
    ideographs = len(_CJK.findall(text))
    return "zh" if 2 * ideographs > sum(map(str.isalpha, text)) else "en"


def words(text: str) -> list[str]:
    """Words of a text in lower case; every CJK ideograph counts as one."""
    return [word.lower() for word in _WORD.findall(text)]


def split_segments(text: str, min_chars: int = 100) -> list[str]:
    """Cut thinking into segments; their concatenation is the text again.

    Blank lines separate, except inside `\\[ … \\]`; pieces under `min_chars` join the piece after them, a short
    tail the last one; if only one segment results, single newlines separate instead. Rules and the 100 are those
    of the released code (REER_DeepWriter 277acc6, helper.py).
    """
    for separator in (r"\n\s*\n\s*", r"\n\s*"):
        segments = _glue(_pieces(text, separator), min_chars)
        if len(segments) > 1:
            return segments
    return [text] if text.strip() else []


def _pieces(text: str, separator: str) -> list[str]:
    """Pieces with their trailing separator kept; separators inside display mathematics do not cut."""
    formulas = _formulas(text)
    start, end = next(formulas, (len(text), len(text)))
    cuts = list[int]()
    for match in re.finditer(separator, text):
        while end <= match.start():
            start, end = next(formulas, (len(text), len(text)))
        if match.start() < start and 0 < match.end() < len(text):
            cuts.append(match.end())
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each `\\[ … \\]`. Not a regular expression, which would read the rest of the text once for
    every `\\[` that is never closed."""
    start = text.find("\\[")
    while start >= 0 and (closing := text.find("\\]", start + 2)) >= 0:
        yield start, closing + 2
        start = text.find("\\[", closing + 2)


def _glue(pieces: Sequence[str], min_chars: int) -> list[str]:
    segments: list[str] = []
    waiting = ""
    for piece in pieces:
        if len(piece.strip()) < min_chars:
            waiting += piece
        else:
            segments.append(waiting + piece)
            waiting = ""
    if waiting and segments:
        segments[-1] += waiting
    elif waiting:
        segments.append(waiting)
    return segments


def join_segments(segments: Sequence[str]) -> str:
    """Thinking as the model reads it: segments stripped, one blank line between."""
    return "\n\n".join(part.strip() for part in segments)


def between_last(text: str, opening: str, closing: str) -> str | None:
    """What stands between the last `opening` and the `closing` after it, stripped; None if the opening is absent.
    A missing `closing` means the text was stopped there, so the rest of the text counts."""
    start = text.rfind(opening)
    if start < 0:
        return None
    inside = text[start + len(opening) :]
    end = inside.find(closing)
    return (inside if end < 0 else inside[:end]).strip()


def split_thinking(text: str) -> tuple[str | None, str, bool]:
    """(thinking, answer, closed) of a model's reply: the answer is what follows the last `</think>`, without an
    `<answer>` tag around it. An opened but unclosed block is all thinking: the answer is then empty."""
    head, tag, tail = text.rpartition("</think>")
    if tag:
        return head.replace("<think>", "", 1).strip(), _untag(tail), True
    if text.lstrip().startswith("<think>"):
        return text.lstrip()[len("<think>") :].strip(), "", False
    return None, _untag(text), True


def whole_sentences(text: str) -> str:
    """The text without an unfinished last sentence; empty if it holds no finished one."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].rstrip() if ends else ""


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped; an unfinished last one counts."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [part for start, end in pairwise(ends) if (part := text[start:end].strip())]


def _untag(text: str) -> str:
    return text.strip().removeprefix("<answer>").removesuffix("</answer>").strip()


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `{{name}}` once, in one pass: text that itself holds braces or `{{…}}` is never filled again.

    Raises KeyError naming the slot when a value is missing.
    """
    return _SLOT.sub(lambda match: values[match.group(1)], template)


def slots(template: str) -> set[str]:
    """Names of the `{{…}}` slots of a template."""
    return set(_SLOT.findall(template))


def control_tokens(text: str) -> list[str]:
    """Chat or thinking markers inside a text, which a tokenizer or parser would take for its own."""
    return _CONTROL_TOKEN.findall(text)


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Counts of the n-grams of a token list."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def repeated_share(tokens: Sequence[str], n: int) -> float:
    """Share of the tokens inside an n-gram that occurs more than once, each counted once, in [0, 1]: the measure of
    duplicate n-grams of Gopher (arXiv 2112.11446) in words instead of characters. Unlike a share of n-grams it loses
    nothing at the ends of a loop, so that short texts are judged as long ones are."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    counts, inside = Counter(grams), bytearray(len(tokens))
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            inside[start : start + n] = b"\1" * n
    return sum(inside) / len(tokens) if tokens else 0.0


def overlap(text: str, other: str, n: int) -> float:
    """Share of the n-grams of `text` that are also in `other`, in [0, 1]; 0 for a text shorter than n."""
    mine, theirs = ngrams(words(text), n), ngrams(words(other), n)
    return sum(count for gram, count in mine.items() if gram in theirs) / mine.total() if mine else 0.0


def shorten(segments: Sequence[str], max_words: int) -> tuple[str, ...]:
    """The longest run of whole segments from the front with at most `max_words` words; if already the first is
    longer, as many of its whole sentences as fit; empty if none does."""
    kept: list[str] = []
    used = 0
    for segment in segments:
        used += len(words(segment))
        if used > max_words:
            break
        kept.append(segment)
    if kept:
        return tuple(kept)
    sentences = _cut_sentence(segments[0], max_words)
    return (sentences,) if sentences else ()


def without_last_sentence(segments: Sequence[str]) -> tuple[str, ...]:
    """The segments without the last sentence of the last one; without the whole segment if it has no other."""
    *kept, last = segments
    rest = whole_sentences(last.rstrip().rstrip(".!?。！？…"))
    return (*kept, rest) if rest else tuple(kept)


def _cut_sentence(text: str, max_words: int) -> str:
    spans = [match.end() for match in _WORD.finditer(text)]
    if len(spans) <= max_words:
        return text
    limit = _MARKS.match(text, spans[max_words - 1] if max_words else 0).end()  # pyright: ignore[reportOptionalMemberAccess]
    return whole_sentences(text[:limit])


def without_control_characters(text: str) -> str:
    """The text without control characters other than newline and tab: a terminal would obey them."""
    return _CONTROL_CHARACTER.sub("", text)
