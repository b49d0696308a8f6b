"""Reflection markers: which uses count, and what is left where they are cut."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reer.curation.markers import Markers
from reer.errors import InputError
from reer.types import Language
from tests.fakes.markers import marking
from tests.fakes.plans import compose

MARKERS = compose("scale=smoke").reflection.markers
TRIGGERS = compose("scale=smoke").reflection.triggers
FRAGMENTS = ["Hmm", "wait", "no", "let me", "think", "or maybe", "on second", "thought", "But", "等等", "，不对", "嗯"]
FRAGMENTS += ["让我", "想想", "the boat", "ok", ",", ".", "?", " ", "  ", "\t", "\n", "—", "-", "x"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_precision_and_recall_on_labelled_sentences(language: Language) -> None:
    found = marking(MARKERS, language)
    assert found.sentences >= 150
    assert found.precision >= 0.95
    assert found.recall >= 0.95


def test_every_trigger_that_the_prompts_suggest_counts() -> None:
    for trigger in (*TRIGGERS.en, *TRIGGERS.zh):
        assert MARKERS.count(f"The plan stands. {trigger}, the reader. 先写。{trigger}，读者。") > 0, trigger


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=14).flatmap(
        lambda parts: st.sampled_from(["", " ", "  "]).map(lambda separator: separator.join(parts))
    )
)
@example("Let me  think")
@example("let me\t\tthink")
@example("But, hmm, wait: no")
def test_stripping_leaves_no_marker(text: str) -> None:
    assert MARKERS.count(MARKERS.cut(text)) == 0


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("Hmm, maybe the boat is late.", "The boat is late."),
        ("Hmm... Alternatively, maybe a frame.", "A frame."),
        ("It rains. Wait, no: it snows.", "It rains. It snows."),
        ("But wait, the user said ten lines. So I cut.", "The user said ten lines. So I cut."),
        ("I plan the end, let me think about it, then the middle.", "I plan the end, then the middle."),
        ("The order — actually, the reverse — works.", "The order — the reverse — works."),
        ("It works, hmm.", "It works."),
        ("Let me think about what the reader needs. Let me see how it ends.", ""),
        ("等等，不对，这里要慢一点。", "这里要慢一点。"),
        ("嗯……或者，也许用倒叙。让我再想想这里。好。", "用倒叙。好。"),
        ("First.\nHmm.\nThen more.", "First.\n\nThen more."),
        ("The letter, however, must be short.", "The letter must be short."),
        ("It is late — perhaps — for a joke.", "It is late for a joke."),
        ("- Wait, this is the wrong order.", "- This is the wrong order."),
        ("**Wait**, the question (hmm) is about rent.", "The question (hmm) is about rent."),
        ("It works. (Wait, does it?)", "It works. (Does it?)"),
        ("Wait - the user wants it short.", "The user wants it short."),
        ("No marker at all.\nSecond line.", "No marker at all.\nSecond line."),
        ("Hmm...", ""),
        ("", ""),
    ],
)
def test_what_is_left_reads_on(text: str, stripped: str) -> None:
    assert MARKERS.cut(text) == stripped


@pytest.mark.parametrize(
    "text",
    [
        "The reader will wait for the reveal, and maybe that is enough.",
        "I can't wait to show it. A wait-and-see plan.",
        "“Hmm,” she said. Wait for it.",
        "他等等我，我等等他。",
        "苹果、梨、桃子等等，再写老人。",
        "用户嗯了一声。",
        "However hard he tries, the door stays shut.",
        "让我想起了外婆的厨房。让我看到了那条河。",
        "不过三百块钱。不过是一张旧照片。",
        "房租、水费，等等。",
        "其实质是一次告别。也许诺过要回来。",
    ],
)
def test_words_in_use_stay(text: str) -> None:
    assert MARKERS.cut(text) == text


def test_without_phrases_nothing_is_cut() -> None:
    assert Markers().cut("Hmm, as it is.") == "Hmm, as it is."


@pytest.mark.parametrize(
    ("phrase", "why"), [("wait(", "is not a regular expression"), ("x*", "matches the empty text")]
)
@pytest.mark.parametrize("kind", ["interjections", "openers", "clauses"])
def test_a_phrase_that_cannot_be_cut_is_refused(kind: str, phrase: str, why: str) -> None:
    with pytest.raises(InputError, match=rf"markers\.{kind}: .* {why}"):
        Markers(**{kind: ("hm+", phrase)})
