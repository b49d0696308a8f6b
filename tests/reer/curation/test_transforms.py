"""Late transformations: what they leave is measured, and every dropped row has a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.curation.markers import Markers
from reer.curation.transforms import (
    Categories,
    Curation,
    Reflection,
    TrajectoryLength,
    curate,
)
from reer.prompts import Triggers
from reer.text import join_segments, words
from reer.types import Drop, Pair, Trajectory
from tests.fakes.fields import assert_field_refuses

MARKERS = Markers(
    interjections=("hm+", "wait(?:,? no)?", "嗯", "等等"),
    openers=("(?:or )?maybe", "on second thought"),
    clauses=("let me (?:think|check)", "让我想想"),
)
STRIP = Reflection("strip", Triggers(), MARKERS, strip=True)
KEEP = Reflection("inject", Triggers(), MARKERS, strip=False)
FULL = TrajectoryLength("full", None, None, None)
ALL = Categories("all", "none")
relaxed = settings(deadline=None, max_examples=200)


def row(pair_id: str, *segments: str, category: str = "others") -> tuple[Pair, Trajectory]:
    return Pair(id=pair_id, query="q", solution="y", category=category, language="en", source="test"), Trajectory(
        pair_id, segments, 0
    )


def of_lengths(*sizes: int) -> list[tuple[Pair, Trajectory]]:
    return [row(f"r{i}", " ".join(["word."] * size)) for i, size in enumerate(sizes)]


def run(
    rows: list[tuple[Pair, Trajectory]],
    reflection: Reflection = KEEP,
    length: TrajectoryLength = FULL,
    categories: Categories = ALL,
) -> Curation:
    return curate(
        rows,
        reflection,
        length,
        categories,
        excluded=lambda category: category == "poetry",
        unfinished=lambda text: text.endswith("Hmm."),
    )


def test_segments_that_held_nothing_but_markers_disappear() -> None:
    assert STRIP.apply(["Hmm. Wait, no.", "The boat stays."]) == ("The boat stays.",)
    assert KEEP.apply(["Hmm.", " kept as is "]) == ("Hmm.", " kept as is ")


def test_a_row_with_nothing_left_is_dropped_by_that_name() -> None:
    out = run([row("a", "Hmm. Hmm."), row("b", "Maybe the boat.")], STRIP)
    assert [(kept.pair.id, kept.segments) for kept in out.kept] == [("b", ("The boat.",))]
    assert out.dropped == (Drop("a", "nothing_left"),)
    assert out.measured.reflection_markers == 0


@pytest.mark.parametrize("median", [4, 5])
def test_a_cut_never_ends_in_mid_sentence_or_in_mid_thought(median: int) -> None:
    long, endless = row("a", "One two. Three four. Hmm. Five six seven."), row("c", "no end of it at all")
    out = run(
        [long, row("b", "A b."), row("m", "w. " * median), endless], length=TrajectoryLength("s", 0.5, None, None)
    )
    kept = {curated.pair.id: curated.segments for curated in out.kept}
    assert kept["a"] == ("One two. Three four.",)
    assert kept["b"] == ("A b.",)
    assert out.dropped == (Drop("c", "nothing_left"),)


def test_markers_are_counted_also_where_they_stay() -> None:
    assert run([row("a", "Hmm, wait.", "Or maybe not.", "They wait, maybe for days.")]).measured.reflection_markers == 3


@relaxed
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.floats(0.05, 0.95))
def test_cut_trajectories_never_exceed_the_bound_and_none_is_lost(sizes: list[int], quantile: float) -> None:
    length = TrajectoryLength("short", quantile, None, None)
    bound = length.bound(quantile, sizes)
    out = run(of_lengths(*sizes), length=length)
    assert len(out.kept) == len(sizes)
    assert all(len(words(join_segments(kept.segments))) <= bound for kept in out.kept)  # type: ignore[operator]
    assert out.measured.words_over_bound == 0


@relaxed
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.floats(0.05, 0.95))
def test_a_bound_is_the_smallest_length_that_holds_its_quantile(sizes: list[int], quantile: float) -> None:
    bound = FULL.bound(quantile, sizes)
    share = sum(size <= bound for size in sizes) / len(sizes)  # type: ignore[operator]
    below = sum(size < bound for size in sizes) / len(sizes)  # type: ignore[operator]
    assert below < quantile <= share + 1e-9


@pytest.mark.parametrize(("sizes", "median"), [([7], 7), ([1, 9], 1), ([1, 2, 9], 2), ([1, 2, 3, 4, 5], 3), ([], None)])
def test_the_middle_of_the_lengths_is_their_median(sizes: list[int], median: int | None) -> None:
    assert FULL.bound(0.5, sizes) == median


def test_rows_beyond_a_quantile_are_dropped_with_the_side_they_fall_off() -> None:
    sizes = of_lengths(10, 20, 30, 40)
    assert run(sizes, length=TrajectoryLength("no_long", None, 0.5, None)).dropped == (
        Drop("r2", "too_long"),
        Drop("r3", "too_long"),
    )
    assert run(sizes, length=TrajectoryLength("no_short", None, None, 0.5)).dropped == (Drop("r0", "too_short"),)


def test_lengths_are_measured_within_the_categories_kept() -> None:
    rows = [*of_lengths(10, 20), row("poem", "word " * 99, category="poetry")]
    out = run(rows, length=TrajectoryLength("no_long", None, 0.9, None), categories=Categories("c", "literature_arts"))
    assert [kept.pair.id for kept in out.kept] == ["r0", "r1"]
    assert out.dropped == (Drop("poem", "category_excluded"),)


def test_excluded_rows_are_counted_also_where_they_stay() -> None:
    rows = [row("a", "x"), row("b", "x", category="poetry")]
    assert run(rows).measured.excluded_rows == 1
    assert run(rows, categories=Categories("c", "literature_arts")).measured.excluded_rows == 0


def test_an_empty_set_has_measurements_of_zero() -> None:
    out = run([])
    assert (out.kept, out.dropped) == ((), ())
    assert out.measured.rows == out.measured.mean_words == 0


@pytest.mark.parametrize("field", ["cut_quantile", "drop_above", "drop_below"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 7.0])
def test_a_quantile_outside_the_open_interval_is_refused(field: str, value: float) -> None:
    assert_field_refuses(FULL, field, value)


def test_the_smaller_of_two_bounds_counts() -> None:
    length = TrajectoryLength("both", 0.3, 0.9, None)
    out = run(of_lengths(*range(1, 11)), length=length)
    assert (out.measured.max_words, out.measured.words_over_bound) == (3, 0)
