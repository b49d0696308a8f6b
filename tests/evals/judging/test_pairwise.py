"""Pairwise comparison of two runs: both orders are judged, position bias is measured, failures are counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evals.benchmark import Item, Response
from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise, PairwiseResult, judge_pairs
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
