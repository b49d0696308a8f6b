"""What every parser and reader promises for any input, as functions that fail where the promise is broken.

`test_parsers` calls them with inputs drawn by hypothesis; `run` with random ones for a given time.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from evals.replies import READERS, STRICT, Expected, Malformed
from reer.data.files import RowFile, rows_in
from reer.data.reader import Reader
from reer.data.rows import Fields, Problems
from reer.errors import InputError
from reer.files import JsonObject, read_rows
from reer.logs import AppendLog, Entry
from reer.text import control_tokens, join_segments, shorten, split_segments, split_thinking, whole_sentences, words
from reer.types import Message

SPACES = ("\n", "\n\n", " ", "\t", "\r", "\0", "\u2028", "\u0085", "\ufeff")
JSON = '{ } [ ] " : , \\ \' {"score":7} {"score": NaN -Infinity 1e999 true null 7.0 11 ```json "query":"q" "answer":"a"'
TAGS = "<think> </think> <answer> </answer> <refine> </refine> <|im_end|>"
WORDS = "a word 思 考 é e\u0301 👩\u200d👩\u200d👧 \ud800 \\[ \\] $$ . ! 。 …… ？"
PIECES = (*SPACES, *JSON.split(), *TAGS.split(), *WORDS.split(), "9" * 5000)


def random_text(draw: random.Random) -> str:
    """Fragments that mean something to one of the parsers, in any order."""
    return "".join(draw.choices(PIECES, k=draw.randint(0, 40)))


def replies(text: str) -> None:
    """A reply is read into an object or list, or is Malformed; a grade is a finite number in range."""
    for reader in (*READERS.values(), Expected()):
        for parse in (reader.parse_object, reader.parse_list):
            try:
                found = parse(text)
            except Malformed:
                continue
            assert isinstance(found, dict | list)
            for value in found.values() if isinstance(found, dict) else found:
                try:
                    grade = reader.grade(value, 1, 10)
                except Malformed:
                    continue
                assert math.isfinite(grade)
                assert 1 <= grade <= 10


def an_object_in_prose(text: str) -> None:
    """An object is found again after prose without braces and without thinking that is left open."""
    prose = text.replace("{", "").replace("}", "").replace("<think>", "")
    assert STRICT.parse_object(f'{prose}{{"score": 3, "reason": {json.dumps(text)}}}') == {"score": 3, "reason": text}


def thinking(text: str) -> None:
    """Splitting twice gives the same; an unclosed block has no answer; no closing tag is left in an answer."""
    inside, answer, closed = split_thinking(text)
    assert "</think>" not in answer
    assert closed or not answer
    assert inside is None or inside == inside.strip()


def segments(text: str) -> None:
    """Segments join to the text; what is shortened is a part of it."""
    cut = split_segments(text)
    assert "".join(cut) == (text if text.strip() else "")
    assert split_segments(join_segments(cut)) is not None
    if cut:
        assert "".join(shorten(cut, 5)) in "".join(cut)
    assert text.startswith(whole_sentences(text))
    assert all(word for word in words(text))
    assert all(token in text for token in control_tokens(text))


def source_rows(text: str) -> None:
    """Every line of a file becomes a row, or a problem with its line number, or the file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        problems = Problems("skip")
        try:
            rows = list(rows_in([RowFile(file)], problems))
        except InputError:
            return
        pairs = list(Reader(source="fuzz", fields=Fields(), min_votes=None).pairs(rows, problems))
        assert len(pairs) + len(problems.drops) >= len(rows)
        assert all(pair.solution.strip() for pair in pairs)
        lines = text.encode("utf-8", "surrogatepass").count(b"\n") + 1
        assert len(rows) + len(problems.drops) <= 2 * lines


def stored_rows(text: str) -> None:
    """A file of a stage is read as records of its type, or refused; nothing else is raised."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(text.encode("utf-8", "replace"))
        try:
            rows = read_rows(file, Message)
        except (ValidationError, InputError):
            return
        assert all(isinstance(row, Message) for row in rows)


def entry(row: JsonObject) -> Entry:
    return Entry(row["key"], 1.0)


def log_lines(text: str) -> None:
    """Foreign bytes before, between and after the rows of a log cost none of them, and are never served."""
    rows = [{"key": f"{number:032x}", "text": text} for number in (1, 2)]
    with tempfile.TemporaryDirectory() as name:
        log = AppendLog(Path(name), entry)
        foreign = text.encode("utf-8", "surrogatepass")
        for row in rows:
            log.append(row)
        for index in Path(name).glob("*.index"):
            index.unlink()
        (file,) = Path(name).glob("*.jsonl")
        first, second = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(foreign + b"\n" + first + foreign + b"\n" + second + foreign)
        read = AppendLog(Path(name), entry)
        assert [read.get(row["key"]) for row in rows] == rows
        assert len(read) == len(rows)


PARSERS: Mapping[str, Callable[[str], None]] = {
    parser.__name__: parser
    for parser in (replies, an_object_in_prose, thinking, segments, source_rows, stored_rows, log_lines)
}


def run(seconds: float, seed: int) -> dict[str, int]:
    """Random inputs for each parser, for that long together: how many each was given. A failure says the input."""
    draw, tried = random.Random(seed), dict.fromkeys(PARSERS, 0)
    for name, parser in PARSERS.items():
        deadline = time.monotonic() + seconds / len(PARSERS)
        while time.monotonic() < deadline:
            text = random_text(draw)
            try:
                parser(text)
            except Exception as error:
                raise AssertionError(f"{name} of {text!r}: {error!r}") from error
            tried[name] += 1
    return tried
