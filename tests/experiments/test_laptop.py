"""`scale=laptop`, the first thing that anyone runs: what its choices must give, without running its model."""

from pathlib import Path

import pytest

from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.stages import data
from reer.types import Pair, Sample
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

OPENER_TOKENS = 24


@pytest.fixture
def laptop() -> Experiment:
    return compose("scale=laptop")


def test_at_least_twenty_rows_with_thinking_are_trained_on_if_no_draft_is_lost(
    laptop: Experiment, tmp_path: Path
) -> None:
    """Pairs whose solution the released score can score, and public rows: the bundled files have enough of both."""
    store, steps = a_store(tmp_path), pipeline(laptop)
    pairs = store.build(steps[data.pairs.named()]).rows(Pair)
    public = store.build(steps[data.public.named()]).rows(Sample)
    prompts = laptop.prompts.with_triggers(laptop.reflection.triggers)
    scorable = [pair for pair in pairs if laptop.scorer.score.passage(pair, ("a thought",), prompts)]
    thinking = min(len(scorable), laptop.scale.synthetic_rows), min(len(public), laptop.scale.public_rows)
    assert all(row.thinking for row in public)
    assert sum(thinking) >= 22, "two drafts may be lost"


def test_a_draft_of_one_paragraph_is_kept_at_this_size(laptop: Experiment) -> None:
    assert laptop.filters.draft.min_segments == 1
    assert compose("scale=single_gpu").filters.draft.min_segments == 2, "the released code's rule"


def test_thinking_as_long_as_the_longest_trained_one_leaves_room_for_an_answer(laptop: Experiment) -> None:
    assert laptop.scale.answer_tokens >= 2 * (laptop.scale.draft_tokens + OPENER_TOKENS)


def test_the_judge_says_that_it_is_fooled(laptop: Experiment) -> None:
    assert "null answers" in laptop.judge.caution
