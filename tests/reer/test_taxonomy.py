"""Categories: aliases, the keyword rule, and replies that name one category or none."""

from collections.abc import Iterator, Sequence

import pytest

from reer.errors import InputError
from reer.models.protocols import Completion, Request
from reer.taxonomy import Category, Taxonomy, classify
from tests.fakes.prompts import PROMPTS

TAXONOMY = Taxonomy(
    "test",
    {
        "poetry": Category(True, ("poem", "verse", "诗"), ("poetry_zh",)),
        "law": Category(False, ("law", "contract"), ("legal_policy",)),
        "law_fiction": Category(True, ("court drama",)),
        "others": Category(False, ()),
    },
)


class Replies:
    """A generator with a list of replies."""

    name = "replies"

    def __init__(self, *replies: str) -> None:
        self.replies = replies
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.asked += requests
        yield from enumerate(
            [Completion(text=reply, stopped="stop", prompt_tokens=1, tokens=1) for reply in self.replies]
        )


@pytest.mark.parametrize(
    ("name", "id"),
    [("law", "law"), ("legal_policy", "law"), ("poetry_zh", "poetry"), ("Law", None), ("", None), (None, None)],
)
def test_a_data_sets_own_name_becomes_an_id_or_nothing(name: str | None, id: str | None) -> None:
    assert TAXONOMY.resolve(name) == id


@pytest.mark.parametrize(
    ("query", "id"),
    [
        ("A POEM, please", "poetry"),
        ("写一首诗", "poetry"),
        ("A contract under German law with a poem", "law"),
        ("one poem and one law", "poetry"),
        ("an outlaw's universe", "others"),
        ("A court drama", "law_fiction"),
        ("", "others"),
    ],
)
def test_the_keyword_rule(query: str, id: str) -> None:
    assert TAXONOMY.by_keywords(query) == id


def test_literature_and_arts_is_a_side() -> None:
    assert TAXONOMY.is_literature_arts("poetry")
    assert not TAXONOMY.is_literature_arts("others")


@pytest.mark.parametrize(
    ("reply", "id", "by_rule"),
    [
        ("law", "law", 0),
        (" Law.", "law", 0),
        ("**law_fiction**", "law_fiction", 0),
        ("类别：law", "law", 0),
        ("law or poetry", "poetry", 1),
        ("outlaws", "poetry", 1),
        ("", "poetry", 1),
    ],
)
def test_a_reply_names_one_category_or_the_rule_decides(reply: str, id: str, by_rule: int) -> None:
    assert classify(["a poem"], TAXONOMY, Replies(reply), PROMPTS) == ([id], by_rule)


def test_the_model_is_shown_all_categories() -> None:
    model = Replies("law", "law")
    classify(["q1", "q2"], TAXONOMY, model, PROMPTS)
    assert len(model.asked) == 2
    assert all(id in model.asked[0].prompt.messages[-1].content for id in TAXONOMY.categories)


def test_a_taxonomy_without_a_fallback_is_refused() -> None:
    with pytest.raises(InputError, match="'others'"):
        Taxonomy("t", {"poetry": Category(True, ())})


@pytest.mark.parametrize("alias", ["law", "others", "verse"])
def test_a_name_used_twice_is_refused(alias: str) -> None:
    categories = {
        "law": Category(False, (), ("verse",)),
        "poetry": Category(True, (), (alias,)),
        "others": Category(False, ()),
    }
    with pytest.raises(InputError, match=f"used twice: {alias}"):
        Taxonomy("t", categories)
