"""Several sources: each gives its share, in its own mix of categories, or the run stops."""

import json
from pathlib import Path
from typing import Any

import pytest

from reer.data.jsonl import JsonlSource
from reer.data.pairs import Quotas, Selection, apportioned, select
from reer.data.rows import Problems
from reer.data.several import SeveralSources, SourcePart
from reer.errors import InputError
from reer.types import RawPair


def source(tmp_path: Path, name: str, categories: str, **settings: Any) -> JsonlSource:
    """A row for each letter, which is its category."""
    file = tmp_path / f"{name}.jsonl"
    rows = [{"query": "q", "answer": f"{name} {n} text", "category": letter} for n, letter in enumerate(categories)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return JsonlSource(path=str(file), **settings)


def several(a: SourcePart, b: SourcePart) -> SeveralSources:
    return SeveralSources(parts={"a": a, "b": b})


def chosen(mixed: SeveralSources, pairs: int | None, problems: Problems | None = None) -> list[RawPair]:
    problems = problems or Problems("error")
    return select(mixed.rows(problems), Selection(pairs, 1, 100), problems, mixed.quotas)


@pytest.fixture
def mixed(tmp_path: Path) -> SeveralSources:
    return several(
        SourcePart(source=source(tmp_path, "a", "x" * 8), share=0.75),
        SourcePart(source=source(tmp_path, "b", "xyxyxyz"), share=0.25, categories={"y": 0.5, "z": 0.5}),
    )


def test_shares_and_mixes_are_kept_exactly(mixed: SeveralSources) -> None:
    rows = chosen(mixed, 8)
    assert sorted((row.source, row.category or "") for row in rows) == [("a", "x")] * 6 + [("b", "y"), ("b", "z")]
    assert [row.where[-9:] for row in rows if row.source == "b"] == ["b.jsonl:2", "b.jsonl:7"]


def test_parts_take_turns_so_that_reading_stops_early(mixed: SeveralSources) -> None:
    rows = list(mixed.rows(Problems("error")))
    assert "".join(row.source for row in rows[:8]) == "aaabaaab"
    assert len(rows) == 15


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (16, r"part 'a': 8 rows passed every rule, its share is 12 pairs; lower the share or scale\.pairs"),
        (10, r"part 'b', category 'z': 1 rows passed every rule, its share is \d pairs"),
        (None, r"scale\.pairs: want a number, because the source has shares"),
    ],
)
def test_a_share_that_cannot_be_kept_stops_the_run(mixed: SeveralSources, pairs: int | None, says: str) -> None:
    if pairs == 10:
        mixed.parts["a"] = SourcePart(source=mixed.parts["a"].source, share=0.5)
        mixed.parts["b"] = SourcePart(source=mixed.parts["b"].source, share=0.5, categories={"z": 1.0})
    with pytest.raises(InputError, match=says):
        chosen(mixed, pairs)


def test_shares_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    rows = source(tmp_path, "a", "x")
    with pytest.raises(InputError, match=r"source\.parts: the shares want to add up to 1, got 0\.75 \(a 0\.5, "):
        several(SourcePart(source=rows, share=0.5), SourcePart(source=rows, share=0.25))
    part = SourcePart(source=rows, share=1.0, categories={"x": 0.2})
    with pytest.raises(InputError, match=r"source\.parts\.a\.categories: the shares want to add up to 1, got 0\.2"):
        SeveralSources(parts={"a": part})


def test_each_part_has_its_own_policy_for_bad_rows(tmp_path: Path) -> None:
    parts = {
        name: SourcePart(source=source(tmp_path, name, "xx", on_bad_row=policy), share=0.5)
        for name, policy in (("a", "skip"), ("b", "error"))
    }
    for name in "ab":
        (tmp_path / f"{name}.jsonl").open("a").write("{\n")
    problems = Problems("error")
    with pytest.raises(InputError, match=r"b\.jsonl:3: (?s:.)*source\.parts\.b\.source\.on_bad_row=skip"):
        list(SeveralSources(parts=parts).rows(problems))
    assert [drop.id[-9:] for drop in problems.drops] == ["a.jsonl:3"]


@pytest.mark.parametrize(
    ("shares", "total", "whole"),
    [
        ([0.75, 0.25], 8, [6, 2]),
        ([1 / 3, 1 / 3, 1 / 3], 10, [4, 3, 3]),
        ([0.1] * 10, 10, [1] * 10),
        ([0.7 * 0.5, 0.7 * 0.5, 0.3], 20_000, [7000, 7000, 6000]),
        ([1.0, 0.0], 3, [3, 0]),
    ],
)
def test_shares_become_whole_numbers_that_add_up(shares: list[float], total: int, whole: list[int]) -> None:
    quotas: Quotas = {(str(number), ""): share for number, share in enumerate(shares)}
    assert list(apportioned(quotas, total).values()) == whole
