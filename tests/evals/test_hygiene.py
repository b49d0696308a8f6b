"""Obvious defects of answers, and texts that must not be flagged as one."""

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmark import Item, Response
from evals.hygiene import (
    CleanScore,
    Hygiene,
    clean_scores,
    distinct,
    hygiene,
    loops,
    summary,
    without_quotes,
    wrong_language,
)
from reer.types import Language

STORY = (
    "The ferry was late, and the harbour master had already turned the lamp. Mira counted the crates twice. "
    "Nobody on the quay asked what was in the ninth, which ticked. When the boat came it came without a light, and the "
    "man at the rope was not her brother. She gave him the paper all the same, because the wind was getting up."
)
STORY_ZH = (
    "渡船晚了，码头上的灯已经转过去。米拉把箱子数了两遍，一遍出声。没有人问第九只里装的是什么，那里面滴答作响。"
    "船来的时候没有点灯，拿缆绳的人不是她的哥哥。她还是把单子给了他，因为起风了。"
)
REFRAIN = (
    "Down by the river, down by the stones,\nthe water is carrying all of our bones,\n"
    "and nobody, nobody, nobody's home,\nand the bell in the tower rings on."
)
VERSES = (
    "My father went out with a lamp and a spade,\nhe came back with nothing but stories he made,",
    "My mother sold apples from door unto door,\nuntil there was nobody left to sell for,",
    "My brother took ship when the barley was low,\nand sends us a letter from places of snow,",
    "And I keep the keys to a house with no wall,\nand answer the bell when there's no bell at all,",
)

LOOPS = {
    "a sentence to the limit": f"{STORY} " + "I am not sure what to do. " * 12 + "I am not",
    "one word": "It was very " + "very " * 60,
    "a sentence in the middle, then the text goes on": f"{STORY} {'The rope was wet and cold. ' * 10} {STORY[:200]}",
    "a Chinese sentence, no space anywhere": STORY_ZH + "他慢慢地走向门口，停了下来。" * 6,
    "a Chinese character": "然后他笑了" + "哈" * 80,
    "a paragraph twice in a row": " ".join([STORY, STORY.replace("Mira", "Ilse")] * 2),
    "list items that are one": "".join(f"{n}. Be honest with yourself.\n" for n in range(1, 16)),
    "bullets that are one": "- Drink more water every day.\n" * 12,
    "days that differ by their number": "".join(
        f"Day {n}: I went to the market and bought a loaf of bread. " for n in range(1, 9)
    ),
    "a table of one row": "| Item | Price in shop |\n|---|---|\n" + "| Bread and butter | two coins |\n" * 12,
    "marks": "What a day" + "!" * 80,
    "emoji": "Party tonight " + "🎉✨" * 60,
    "a word without end": "Ha" + "ha" * 90,
    "tokens with no word": "The end." + "ност" * 60,
}
SOUND = {
    "nothing": "",
    "a story": STORY,
    "a Chinese story": STORY_ZH,
    "a poem with a refrain": "\n\n".join(f"{verse}\n{REFRAIN}" for verse in VERSES),
    "a chorus thrice at the end": "\n".join(VERSES) + ("\nLet it go down, let it go down, O my love, let it go.") * 3,
    "a villanelle's lines": "\n".join(
        line for verse in VERSES for line in (verse.split("\n")[0], "The tide that took the harbour took the bell.")
    ),
    "a nursery rhyme": "Row, row, row your boat, gently down the stream. "
    "Merrily, merrily, merrily, merrily, life is but a dream. " * 2,
    "laughter": "Ha ha ha ha ha ha! 哈哈哈哈哈哈哈哈！ She laughed until the dog left.",
    "anaphora": " ".join(f"I remember the {thing}, and how it was in the evening." for thing in STORY.split()[:30]),
    "a litany": " ".join(f"Saint {name}, pray for us." for name in STORY.split()[:30]),
    "a list with like items": "\n".join(
        f"{n}. Check the {w} before you leave the house." for n, w in enumerate(STORY.split()[:30])
    ),
    "a table of numbers": "| year | 0 | 0 |\n" + "| 0 | 0 | 0 | 0 | 0 | 0 |\n" * 30,
    "a matrix": "[[0 0 0 0 0 0 0 0]\n" + " [0 0 0 0 0 0 0 0]\n" * 20,
    "a table whose rows differ by number": "| Week | State |\n"
    + "".join(f"| Week {n} | the shipment left the north yard and is on time |\n" for n in range(1, 20)),
    "rows of a form": "".join(f"Week {n}: breakfast, lunch, dinner\n" for n in range(1, 30)),
    "blanks to fill in": "Name: ____ " * 3 + "__ " * 80 + "-" * 200 + "\n" + "." * 120 + "=" * 90,
    "records in code": "```\n"
    + "".join(
        f'{{"id": {n}, "kind": "boat", "from": "north yard", "to": "south yard", "state": "late"}}\n' for n in range(20)
    )
    + "```",
    "a Chinese couplet said twice": "月亮走，我也走，我给月亮打烧酒。" * 2 + STORY_ZH,
    "two paragraphs apart": f"{STORY} {STORY_ZH} " + "One more thing was on the list. " * 3 + f"{STORY} {STORY_ZH}",
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_text_that_repeats_itself_in_a_row_is_a_loop(name: str) -> None:
    assert loops(LOOPS[name])


@pytest.mark.parametrize("name", SOUND)
def test_refrains_lists_tables_and_forms_are_not_loops(name: str) -> None:
    assert not loops(SOUND[name])


def test_a_loop_needs_four_repeats_and_fifty_words() -> None:
    line = "the rope was wet and the lamp was out and nobody on the quay asked for her name"
    assert len(line.split()) * 3 > 50
    assert not loops("Say it. " + f"{line}. " * 3)
    assert loops("Say it. " + f"{line}. " * 4)
    short = "the rope was wet again"
    assert not loops(f"{short}. " * 9)
    assert loops(f"{short}. " * 10)


def test_human_texts_do_not_loop(shared: Path) -> None:
    """At most one human text may be flagged: the file has a comment that its author pasted twice."""
    lines = (shared / "pairs" / "scale_open.jsonl").read_text(encoding="utf-8").split("\n")[::12]
    texts = [json.loads(line)["answer"] for line in lines if line]
    assert len(texts) > 300
    assert sum(loops(text) for text in texts) <= 1


def item(language: Language, prompt: str | None = None, length: int | None = None) -> Item:
    return Item(
        id="i",
        prompt=prompt or {"en": "Write a story.", "zh": "写一个故事。"}[language],
        language=language,
        category="fiction",
        length=length,
    )


QUOTING = f"The poem she carried reads “{STORY_ZH}” and nothing about it is plain to a reader who has never waited."
CODE = "```python\n" + "total = total + count_of(line)\n" * 20 + "```"
CODE_ZH = f"下面的程序可以做到，先读入文件，再逐行统计。\n{CODE}\n运行之后就能看到结果。"
WRONG = {
    "Chinese for English": (item("en"), STORY_ZH),
    "English for Chinese": (item("zh"), STORY),
    "English for Chinese, names in Chinese": (item("zh"), f"{STORY} 米拉 was her name."),
    "Chinese for English, terms in English": (item("en"), f"{STORY_ZH} The end."),
    "Chinese, where a source names it in passing": (
        item("en", f"Sum this up.\n{STORY * 2}\nChinese ships came later.\n{STORY * 2}"),
        STORY_ZH,
    ),
    "Russian for English": (item("en"), "Паром опоздал, и смотритель повернул лампу, а Мира дважды сочла ящики."),
}
RIGHT = {
    "English": (item("en"), STORY),
    "Chinese": (item("zh"), STORY_ZH),
    "nothing": (item("zh"), ""),
    "a short answer": (item("zh"), "OK, version 2.0"),
    "a number": (item("zh"), "42"),
    "one Chinese word in English": (item("en"), f"{STORY} They call it 缘分."),
    "a Chinese text quoted in English": (item("en"), QUOTING),
    "Chinese around much code": (item("zh"), CODE_ZH),
    "code alone": (item("zh"), "```python\n" + "for line in open(name): print(line)\n" * 9),
    "Chinese with English terms": (item("zh"), "我们用 Transformer 做 embedding，在 GPU 上 fine-tune 模型，看 loss。"),
    "a translation asked for": (item("en", "Translate the fable into plain words a child in Beijing knows."), STORY_ZH),
    "Chinese asked for after a long source": (item("en", f"{STORY * 3}\nSum this up in Chinese."), STORY_ZH),
    "English asked for in Chinese": (item("zh", "请用英文写一封求职信。"), STORY),
    "a prompt of both": (item("en", "Write on 缘分 in whichever tongue you like."), STORY_ZH),
    "accents": (item("en"), "Élodie, Zoë, Åsa, Łukasz, Øyvind, Ñusta, Çelik, Übeyde, Ágnes, Éva and Íris dined."),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_in_another_script_is_in_the_wrong_language(name: str) -> None:
    assert wrong_language(*WRONG[name])


@pytest.mark.parametrize("name", RIGHT)
def test_quotes_code_short_answers_and_requested_languages_are_not_flagged(name: str) -> None:
    assert not wrong_language(*RIGHT[name])


def read(text: str, truncated: bool = False) -> Response:
    return Response.read("i", text, truncated, 7)


FLAGGED = [
    (read(STORY), set()),
    (read(f"<think>\nA harbour.\n</think>\n\n{STORY}"), set()),
    (read("<think>\nA harbour, or"), {"empty", "unclosed"}),
    (read("<think>\nA harbour, or", truncated=True), {"empty", "unclosed", "truncated"}),
    (
        read("<think>\n" + "Wait, let me think again. " * 20, truncated=True),
        {"empty", "unclosed", "truncated", "loops"},
    ),
    (read(f"<think>\n{'Wait, let me think again. ' * 20}\n</think>\n{STORY}"), {"loops"}),
    (read("<think>\nDone.\n</think>\n \n"), {"empty"}),
    (read(STORY[:100], truncated=True), {"truncated"}),
    (read(STORY_ZH), {"wrong_language"}),
]


@pytest.mark.parametrize(("response", "flags"), FLAGGED)
def test_each_defect_sets_its_flag(response: Response, flags: set[str]) -> None:
    row = hygiene(item("en"), response)
    assert {
        flag for flag in ("empty", "truncated", "unclosed", "loops", "wrong_language") if getattr(row, flag)
    } == flags
    assert row.clean == (not flags)


def test_distinct_n_falls_with_repetition_and_not_with_length() -> None:
    words = [f"w{n}" for n in range(120)]
    once = " ".join(words)
    assert distinct(once, 1) == distinct(" ".join([once] * 5), 1) == 1.0
    assert distinct(" ".join(["a", "b"] * 25), 1) == pytest.approx(2 / 50)
    assert distinct(" ".join(["a", "b"] * 25), 2) == pytest.approx(2 / 49)
    assert distinct(" ".join(["a"] * 50 + words[:50]), 1) == pytest.approx((1 / 50 + 1) / 2)
    assert distinct(" ".join(words[:49]), 1) is None


def test_the_length_score_needs_a_requested_length() -> None:
    assert hygiene(item("en", length=4), read("one two three four")).length_score == 100
    assert hygiene(item("en", length=4), read("")).length_score == 0
    assert hygiene(item("en"), read("one two three four")).length_score is None


def rows(*responses: Response) -> list[Hygiene]:
    return [
        hygiene(Item(id=f"i{n}", prompt="p", language="en", category="c", length=50), response)
        for n, response in enumerate(responses)
    ]


def test_the_summary_counts_every_answer_and_the_basis_of_each_mean() -> None:
    found = summary(rows(read(STORY), read("short"), read("", truncated=True)))
    assert (found.rows, found.clean, found.empty, found.truncated) == (3, 2, 1, 1)
    assert found.share_clean == pytest.approx(2 / 3)
    assert found.median_words == 1
    assert found.mean_words == pytest.approx((len(STORY.split()) + 1) / 3)
    assert (found.answers_with_distinct_1, found.answers_with_length_score) == (1, 3)
    assert summary([]).share_clean is None


def test_clean_scores_leave_out_flagged_and_unscored_items() -> None:
    found = rows(read(STORY), read("", truncated=True), read("short"), read("shorter"))
    table = {"quality": {"i0": 8.0, "i1": 1.0, "i2": None, "i3": 4.0}, "length": dict.fromkeys(("i1",), 0.0)}
    assert clean_scores("writing", table, found) == [
        CleanScore("writing", "quality", 6.0, 2),
        CleanScore("writing", "length", None, 0),
    ]


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet='“”「」『』《》"> \nab', max_size=40))
def test_quoted_passages_are_those_of_the_plain_pattern(text: str) -> None:
    plain = r'“[^”]*”|「[^」]*」|『[^』]*』|《[^》]*》|"[^"\n]*"|^[ \t]*>.*$'
    assert without_quotes(text) == re.sub(plain, " ", text, flags=re.M)


def test_marks_that_are_never_closed_cost_linear_time() -> None:
    began = time.process_time()
    assert without_quotes("“" * 200_000) == "“" * 200_000
    assert time.process_time() - began < 5, "20 times as long as it takes; a quadratic scan takes a minute"
