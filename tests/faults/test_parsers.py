"""Parsers and readers keep their promises for any input; stored bytes that were cut or altered are never served."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.logs import AppendLog
from tests.faults import fuzz

FUZZ_SECONDS = float(os.environ.get("REER_FUZZ_SECONDS", "60"))
FRAGMENTS = st.lists(st.sampled_from(fuzz.PIECES) | st.text(max_size=20), max_size=30).map("".join)
ROWS = [{"key": f"{number:032x}", "text": f"row {number} … 思考"} for number in range(1, 6)]


@pytest.mark.parametrize("parser", fuzz.PARSERS)
@settings(deadline=None, max_examples=60)
@given(text=FRAGMENTS)
def test_every_parser_keeps_its_promise(parser: str, text: str) -> None:
    fuzz.PARSERS[parser](text)


@pytest.mark.slow
def test_every_parser_keeps_its_promise_under_random_input_for_a_while() -> None:
    """For REER_FUZZ_SECONDS in the environment, 60 by default."""
    assert min(fuzz.run(FUZZ_SECONDS, seed=0).values()) > 0


def written(folder: Path) -> Path:
    """A log file of five rows without its index."""
    log = AppendLog(folder, fuzz.entry)
    for row in ROWS:
        log.append(row)
    (index,) = folder.glob("*.index")
    index.unlink()
    (file,) = folder.glob("*.jsonl")
    return file


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_log_that_was_cut_anywhere_serves_the_rows_before_the_cut(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder))
        content = file.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        file.write_bytes(content[:cut])
        complete = content[:cut].count(b"\n")
        read = AppendLog(Path(folder), fuzz.entry)
        assert [read.get(row["key"]) for row in ROWS] == [*ROWS[:complete], *[None] * (len(ROWS) - complete)]


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_an_altered_byte_of_a_log_costs_at_most_two_rows_and_serves_no_other(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder))
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        read = AppendLog(Path(folder), fuzz.entry)
        served = [read.get(row["key"]) for row in ROWS]
        assert all(found in (None, row) for found, row in zip(served, ROWS, strict=True))
        assert served.count(None) <= 2, "a line break may join two rows"
