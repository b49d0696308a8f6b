"""Two runs' answers against each other: both orders are asked, a judge of places is found out, failures are counted."""

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
from evals.judging.pairwise import Outcome, Pairwise, judge_pairs
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Request

PAIRWISE = Pairwise("{{prompt}}|{{first}}|{{second}}|better")
ITEMS = [Item(f"i{n}", f"P{n}", "en", "c", None) for n in range(8)]
GOOD = [Response.read(item.id, f"good text {item.id}", False, 1) for item in ITEMS]
WEAK = [Response.read(item.id, f"weak text {item.id}", False, 1) for item in ITEMS]


@dataclass
class Chooser:
    """A judge that names a winner by a rule over the two texts."""

    rule: Callable[[str, str], str]
    name: str = "chooser"
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, device: Device) -> Iterator[Chooser]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        texts = [request.prompt.messages[0].content for request in requests]
        self.asked += texts
        replies = [self.rule(*re.split(r"\|", text)[1:3]) for text in texts]
        yield from enumerate([Completion(json.dumps({"better": reply}), "stop", 1, 1) for reply in replies])


def duel(folder: Path, rule: Callable[[str, str], str], fenced: bool = False) -> tuple[Outcome, Chooser]:
    chooser = Chooser(rule)
    with JudgeSession(Judge("j", chooser, 0.5, 1.0, 9, 1, fenced=fenced), Judgements(folder), Device()) as session:
        return judge_pairs(PAIRWISE, ITEMS, GOOD, WEAK, session)[0], chooser


def test_the_better_text_wins_in_both_orders(tmp_path: Path) -> None:
    found, chooser = duel(tmp_path, lambda first, second: "first" if "good" in first else "second")
    assert (found.pairs, found.wins, found.losses, found.ties, found.flipped) == (8, 8, 0, 0, 0)
    assert found.first_place == 0
    assert sum("|good" in text.replace("\n", "") for text in chooser.asked) == 16
    assert len(set(chooser.asked)) == 16
    assert found.difference is not None
    assert found.difference.mean == 0.5


def test_a_judge_of_places_is_found_out(tmp_path: Path) -> None:
    found, _ = duel(tmp_path, lambda first, second: "first")
    assert (found.wins, found.losses, found.ties, found.flipped, found.first_place) == (0, 0, 8, 8, 1.0)
    assert found.difference is not None
    assert found.difference.mean == 0


def test_a_tie_in_one_order_is_half_a_win(tmp_path: Path) -> None:
    found, _ = duel(tmp_path, lambda first, second: "tie" if "good" in first else "second")
    assert (found.wins, found.flipped, found.difference and found.difference.mean) == (8, 0, 0.25)


def test_what_names_no_winner_is_unscored(tmp_path: Path) -> None:
    found, _ = duel(tmp_path, lambda first, second: "both" if "i3" in first else "second")
    assert found.unscored == {"no_winner_named": 2}
    assert (found.pairs, found.ties) == (8, 7)


def test_both_texts_are_fenced(tmp_path: Path) -> None:
    _, chooser = duel(tmp_path, lambda first, second: "tie", fenced=True)
    assert all(text.count("<text-") == 3 and text.count("</text-") == 3 for text in chooser.asked)


def test_runs_of_different_items_are_refused(tmp_path: Path) -> None:
    with (
        JudgeSession(
            Judge("j", Chooser(lambda a, b: "tie"), 0.5, 1.0, 9, 1), Judgements(tmp_path), Device()
        ) as session,
        pytest.raises(InputError, match="different items"),
    ):
        judge_pairs(PAIRWISE, ITEMS, GOOD, WEAK[1:], session)


def test_a_prompt_without_its_slots_is_refused() -> None:
    with pytest.raises(InputError, match="second"):
        Pairwise("{{prompt}} {{first}}")
