"""Pairwise comparison of two runs: both orders are judged, position bias is measured, failures are counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from evals.benchmark import Item, Response
from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise, PairwiseResult, comparing, judge_pairs
from evals.judging.panel import JudgePanel, Line, session_of
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Request

PAIRWISE = Pairwise("{{prompt}}|{{first}}|{{second}}|better")
ITEMS = [Item(id=f"i{n}", prompt=f"P{n}", language="en", category="c", length=None) for n in range(8)]
GOOD = [Response.read(item.id, f"good text {item.id}", False, 1) for item in ITEMS]
WEAK = [Response.read(item.id, f"weak text {item.id}", False, 1) for item in ITEMS]


@dataclass
class Chooser:
    """A judge that names a winner by a rule over the two texts, and records its prompts."""

    rule: Callable[[str, str], str]
    name: str = "chooser"
    prompts: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, device: Device) -> Iterator[Chooser]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        texts = [request.prompt.messages[0].content for request in requests]
        self.prompts += texts
        replies = [self.rule(*re.split(r"\|", text)[1:3]) for text in texts]
        yield from enumerate(
            [
                Completion(text=json.dumps({"better": reply}), stopped="stop", prompt_tokens=1, tokens=1)
                for reply in replies
            ]
        )


def judge_of(chooser: Chooser, delimit_answer: bool = False) -> Judge:
    return Judge(
        name="j",
        model=chooser,
        temperature=0.5,
        top_p=1.0,
        max_tokens=9,
        attempts=1,
        delimit_answer=delimit_answer,
    )


def compared(
    folder: Path, rule: Callable[[str, str], str], delimit_answer: bool = False
) -> tuple[PairwiseResult, Chooser]:
    chooser = Chooser(rule)
    with JudgeSession(judge_of(chooser, delimit_answer), Judgements(folder), Device()) as session:
        return judge_pairs(PAIRWISE, ITEMS, GOOD, WEAK, session)[0], chooser


Rule = Callable[[str, str], str]


def compared_by_panel(folder: Path, *rules: Rule) -> PairwiseResult:
    """What a panel prefers whose members have these rules; a line of one of them counts for grades alone."""
    members = {f"m{n}": replace(judge_of(Chooser(rule, f"m{n}")), name=f"m{n}") for n, rule in enumerate(rules)}
    panel = comparing(JudgePanel(name="p", members=members, lines={"m0": Line(intercept=3.0, slope=2.0)}))
    with session_of(panel, folder, Device(), None) as session:
        return judge_pairs(PAIRWISE, ITEMS, GOOD, WEAK, session)[0]


def always_first(first: str, second: str) -> str:
    return "first"


def prefers(word: str) -> Rule:
    return lambda first, second: "first" if word in first else "second"


def test_the_better_text_wins_in_both_orders(tmp_path: Path) -> None:
    result, chooser = compared(tmp_path, lambda first, second: "first" if "good" in first else "second")
    assert (result.pairs, result.wins, result.losses, result.ties, result.flipped) == (8, 8, 0, 0, 0)
    assert result.position_bias == 0
    assert sum("|good" in text.replace("\n", "") for text in chooser.prompts) == 16
    assert len(set(chooser.prompts)) == 16
    assert result.difference is not None
    assert result.difference.mean == 0.5


def test_position_bias_is_measured_and_its_pairs_are_ties(tmp_path: Path) -> None:
    result, _ = compared(tmp_path, lambda first, second: "first")
    assert (result.wins, result.losses, result.ties, result.flipped, result.position_bias) == (0, 0, 8, 8, 1.0)
    assert result.difference is not None
    assert result.difference.mean == 0


def test_a_tie_in_one_order_is_half_a_win(tmp_path: Path) -> None:
    result, _ = compared(tmp_path, lambda first, second: "tie" if "good" in first else "second")
    assert (result.wins, result.flipped, result.difference and result.difference.mean) == (8, 0, 0.25)


def test_a_reply_without_a_winner_is_unscored(tmp_path: Path) -> None:
    result, _ = compared(tmp_path, lambda first, second: "both" if "i3" in first else "second")
    assert result.unscored == {"no_winner_named": 2}
    assert (result.pairs, result.ties) == (8, 7)


def test_a_panel_prefers_what_its_members_prefer_on_average(tmp_path: Path) -> None:
    good, weak = prefers("good"), prefers("weak")
    two_of_three = compared_by_panel(tmp_path / "a", good, weak, good)
    assert (two_of_three.wins, two_of_three.ties, two_of_three.flipped) == (8, 0, 0)
    assert two_of_three.difference is not None
    assert two_of_three.difference.mean == pytest.approx(2 / 3 - 0.5)
    split = compared_by_panel(tmp_path / "b", good, weak)
    assert (split.ties, split.flipped, split.position_bias) == (8, 0, 0.0)
    assert [pair.alpha is not None and pair.alpha < 0 for pair in split.between_members] == [True]


def test_a_member_that_contradicts_itself_counts_as_its_own_tie(tmp_path: Path) -> None:
    with_one = compared_by_panel(tmp_path / "a", always_first, prefers("good"))
    assert (with_one.wins, with_one.flipped, with_one.position_bias) == (8, 0, 0.5)
    assert with_one.difference is not None
    assert with_one.difference.mean == 0.25
    thirds = compared_by_panel(tmp_path / "b", *[always_first] * 3)
    assert (thirds.ties, thirds.flipped, thirds.position_bias) == (8, 8, 1.0)


def test_a_pair_wants_a_preference_of_every_member(tmp_path: Path) -> None:
    result = compared_by_panel(tmp_path, prefers("good"), lambda one, other: "both" if "i3" in one else "first")
    assert result.unscored == {"m1: no_winner_named": 2}
    assert (result.pairs, result.wins) == (8, 7)


def test_judges_that_were_made_to_grade_are_refused() -> None:
    judge = judge_of(Chooser(prefers("good")))
    for other, why in (
        (replace(judge, trained_for=("writingbench",)), "j was trained to grade writingbench alone"),
        (replace(judge, grades=(1, 2)), "j gives grades alone"),
    ):
        with pytest.raises(InputError, match=f"want judges that can compare two answers, but {why}"):
            comparing(JudgePanel(name="p", members={"a": judge, "b": other}))


def test_both_answers_are_delimited(tmp_path: Path) -> None:
    _, chooser = compared(tmp_path, lambda first, second: "tie", delimit_answer=True)
    assert all(text.count("<text-") == 3 and text.count("</text-") == 3 for text in chooser.prompts)


def test_runs_with_different_items_are_rejected(tmp_path: Path) -> None:
    with (
        JudgeSession(judge_of(Chooser(lambda first, second: "tie")), Judgements(tmp_path), Device()) as session,
        pytest.raises(InputError, match="different items"),
    ):
        judge_pairs(PAIRWISE, ITEMS, GOOD, WEAK[1:], session)


def test_a_prompt_without_its_slots_is_rejected() -> None:
    with pytest.raises(InputError, match="without second"):
        Pairwise("{{prompt}} {{first}}")
