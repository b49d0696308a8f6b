"""Pure string functions: what is cut is put together again, and nothing is counted twice."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reer.text import (
    between_last,
    control_tokens,
    fill,
    join_segments,
    language_of,
    ngrams,
    overlap,
    repeated_share,
    shorten,
    slots,
    split_segments,
    split_thinking,
    whole_sentences,
    without_last_sentence,
    words,
)

relaxed = settings(deadline=None, max_examples=150)
pieces = st.sampled_from(
    ["a" * 120, "short.", "\n", "\n\n", "\n \n", " ", "\\[", "\\]", "想" * 101, "x\r\n", "\u2028", "é. "]
)
texts = st.lists(pieces, max_size=14).map("".join)
prose = st.lists(st.sampled_from(["one", "two", "three.", "don't", "想", "！", ",", "\n", "end?"]), min_size=1).map(
    " ".join
)


@relaxed
@given(texts)
def test_segments_concatenate_back_to_the_text(text: str) -> None:
    assert "".join(split_segments(text)) == (text if text.strip() else "")


@relaxed
@given(texts)
def test_several_segments_each_hold_a_hundred_characters(text: str) -> None:
    segments = split_segments(text)
    assert len(segments) <= 1 or all(len(part.strip()) >= 100 for part in segments)


@relaxed
@given(texts)
def test_splitting_what_was_joined_gives_the_same_segments(text: str) -> None:
    segments = [part.strip() for part in split_segments(text)]
    assert [part.strip() for part in split_segments(join_segments(segments))] == segments


@pytest.mark.parametrize("text", ["", "  ", "\n\n\t\n"])
def test_blank_text_has_no_segments(text: str) -> None:
    assert split_segments(text) == []


def test_blank_lines_inside_display_mathematics_do_not_cut() -> None:
    formula = "\\[ x = 1\n\n y = 2 \\]" + "b" * 120
    assert split_segments(f"{'a' * 120}\n\n{formula}") == ["a" * 120 + "\n\n", formula]


def test_a_short_piece_joins_the_next_one_and_a_short_tail_the_last() -> None:
    text = f"Hm.\n\n{'a' * 100}\n\n{'b' * 100}\n\nDone."
    assert split_segments(text) == [f"Hm.\n\n{'a' * 100}\n\n", f"{'b' * 100}\n\nDone."]


def test_white_space_does_not_make_a_piece_long() -> None:
    text = f"{'a' * 99}\n\n \n\n{'b' * 100}\n\n{'c' * 100}"
    assert split_segments(text) == [text[:-100], "c" * 100]


def test_single_newlines_separate_where_blank_lines_do_not() -> None:
    assert split_segments(f"{'a' * 100}\n{'b' * 100}") == ["a" * 100 + "\n", "b" * 100]


@pytest.mark.parametrize(
    ("text", "language"), [("Hello", "en"), ("", "en"), ("Write 诗", "zh"), ("これは", "en"), ("カタ漢", "zh")]
)
def test_one_ideograph_makes_a_text_chinese(text: str, language: str) -> None:
    assert language_of(text) == language


def test_words_are_lower_case_and_every_ideograph_is_one() -> None:
    assert words("Don't STOP: 今天x well-made 3.5") == ["don't", "stop", "今", "天", "x", "well-made", "3", "5"]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<r>a</r>", "a"),
        ("<r>a</r> and <r> b </r> tail", "b"),
        ("<r>cut off here", "cut off here"),
        ("<r></r>", ""),
        ("no tag", None),
        ("</r>", None),
    ],
)
def test_between_last_takes_the_last_opening_and_forgives_a_missing_close(text: str, inside: str | None) -> None:
    assert between_last(text, "<r>", "</r>") == inside


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", (None, "plain", True)),
        ("<think>a</think>b", ("a", "b", True)),
        ("a</think> b ", ("a", "b", True)),
        ("<think>a</think>b</think>c", ("a</think>b", "c", True)),
        ("<think>a</think><answer>\nb\n</answer>", ("a", "b", True)),
        ("\n<think>never closed", ("never closed", "", False)),
        ("<think></think>b", ("", "b", True)),
        ("</think>", ("", "", True)),
        ("", (None, "", True)),
    ],
)
def test_thinking_and_answer_come_apart(text: str, parts: tuple[str | None, str, bool]) -> None:
    assert split_thinking(text) == parts


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two", "One."),
        ("一。二", "一。"),
        ("Line\nrest", "Line"),
        ("One! Two?", "One! Two?"),
        ("no end", ""),
        ("", ""),
    ],
)
def test_an_unfinished_sentence_is_left_out(text: str, whole: str) -> None:
    assert whole_sentences(text) == whole


@relaxed
@given(st.text(), st.text())
@example("{{b}}", "{{a}}")
@example("\\1 {} %s $RESPONSE$", "\\g<0>")
def test_filled_text_is_never_filled_again(first: str, second: str) -> None:
    assert fill("<{{a}}|{{b}}>", {"a": first, "b": second}) == f"<{first}|{second}>"


def test_a_slot_without_a_value_is_named() -> None:
    with pytest.raises(KeyError, match="missing"):
        fill("{{missing}}", {"a": ""})
    assert slots("{{a}} {b} {{c}} {{a}}") == {"a", "c"}


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>",
        "a<|im_start|>b",
        "<|endoftext|>",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<|begin_of_thought|>",
        "<|reserved_special_token_0|>",
    ],
)
def test_control_tokens_are_seen(text: str) -> None:
    assert control_tokens(f"before {text} after")


@pytest.mark.parametrize("text", ["a < b | c > d", "<thinking>", "think", "<b>", "<||>", "x <| y |> z"])
def test_ordinary_text_holds_no_control_tokens(text: str) -> None:
    assert control_tokens(text) == []


def test_ngrams_of_a_short_text_are_none() -> None:
    assert ngrams(["a", "b"], 3) == {}
    assert ngrams(["a", "b", "a", "b"], 2) == {("a", "b"): 2, ("b", "a"): 1}


@relaxed
@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 4))
def test_repetition_is_a_share(tokens: list[str], n: int) -> None:
    assert 0 <= repeated_share(tokens, n) <= 1


def test_repetition_counts_what_occurs_more_than_once() -> None:
    assert repeated_share(["a", "b", "c", "d", "e", "f"], 2) == 0
    assert repeated_share(["a", "b", "c", "a", "b", "d"], 2) == 4 / 6
    assert repeated_share(["a", "a", "a", "b"], 2) == 3 / 4, "a token in two repeated n-grams counts once"
    assert repeated_share([], 3) == 0


@relaxed
@given(prose, prose)
def test_overlap_is_a_share_and_whole_with_itself(text: str, other: str) -> None:
    assert 0 <= overlap(text, other, 2) <= 1
    assert overlap(text, text, 1) == (1.0 if words(text) else 0.0)


def test_overlap_of_a_text_shorter_than_n_is_nothing() -> None:
    assert overlap("a b", "a b", 3) == 0


@relaxed
@given(st.lists(prose, min_size=1, max_size=5), st.integers(0, 40))
@example(["one two"], 0)
def test_shortened_text_never_exceeds_the_bound(segments: list[str], bound: int) -> None:
    short = shorten(segments, bound)
    assert len(words(join_segments(short))) <= bound
    assert all(segment.startswith(part) for part, segment in zip(short, segments, strict=False))


def test_the_last_sentence_of_segments_can_be_taken_away() -> None:
    assert without_last_sentence(["A b.", "C d. E f."]) == ("A b.", "C d.")
    assert without_last_sentence(["A b.", "C d."]) == ("A b.",)
    assert without_last_sentence(["好了。想一想……"]) == ("好了。",)
    assert without_last_sentence(["no end"]) == ()


def test_shortening_keeps_whole_segments_and_else_whole_sentences() -> None:
    assert shorten(["a b.", "c d.", "e f."], 4) == ("a b.", "c d.")
    assert shorten(["A b. C d e. F"], 4) == ("A b.",)
    assert shorten(["想来想去。好了吗"], 5) == ("想来想去。",)
    assert shorten(["a b c d e"], 3) == ()
    assert shorten(["fits as it is..."], 9) == ("fits as it is...",)


mark = st.sampled_from([*'.!?。！？…"”’)」』） \n\ta', "\\[", "\\]", "\n\n"])
marks = st.lists(mark, max_size=30).map("".join)


@settings(deadline=None, max_examples=400)
@given(marks)
@example("。.x")
@example("。”。 ")
def test_a_sentence_ends_where_the_plain_pattern_says(text: str) -> None:
    """The pattern in use reads a row of marks once; the plain one, which is quadratic, is its definition."""
    plain = r"[.!?。！？…]+[\"”’)]*(?=\s|$)|[。！？]+[”’」』）]*|\n"
    ends = [match.end() for match in re.finditer(plain, text)]
    assert whole_sentences(text) == (text[: ends[-1]].rstrip() if ends else "")


@settings(deadline=None, max_examples=400)
@given(marks)
def test_formulas_are_found_where_the_plain_pattern_says(text: str) -> None:
    """No blank line inside a formula cuts, and every one outside does."""
    formulas = [match.span() for match in re.finditer(r"\\\[.*?\\\]", text, re.S)]
    cuts = [m.end() for m in re.finditer(r"\n\s*\n\s*", text) if not any(a <= m.start() < b for a, b in formulas)]
    cuts = [cut for cut in cuts if cut < len(text)]
    found = split_segments(text, min_chars=0)
    if cuts:
        assert found == [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
