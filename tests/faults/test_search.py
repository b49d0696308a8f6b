"""Faults inside the search: replies and scores that cannot be used never win, and each is counted by its reason."""

import math
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.local.tokens import Tokens, load_tokenizer
from reer.models.protocols import Device, Nats, Passage, Request, Sampling
from reer.models.scripted import ScriptedSession
from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import RequestDrafts, RequestRewrites, RequestScores, Segments, SegmentSearch
from reer.search.score import NllScorer, ScoreMetric
from reer.types import Candidate, Pair, Refinement, Start, item_seed
from tests.fakes.calls import completions, scores
from tests.fakes.prompts import BOUND, GUARDED
from tests.fakes.texts import passages, prompt

DRAFT = ("old a", "old b")
SEARCH = SegmentSearch(max_edits=2, n_candidates=2, threshold=-1.0)
LINE = "The harbour wakes long before the town does."
PAIR = Pair(id="p", query="Write", solution=LINE, category="others", language="en", source="t")


def searched(
    candidates: Sequence[Candidate], score: dict[str, float | None], draft: float | None = 1.0, reverse: bool = False
) -> Refinement | Failure:
    """A search whose every edit has these candidates; the score of a thinking is that of the candidate inside it."""

    def score_of(thinking: Segments) -> float | None:
        return next((score[segment] for segment in thinking if segment in score), draft)

    def rewritten(requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [list(candidates)[:: -1 if reverse else 1] for _ in requests]

    def scored(requests: Sequence[RequestScores]) -> list[list[float | None]]:
        return [[score_of(thinking) for thinking in request.thinkings] for request in requests]

    def drafted(requests: Sequence[RequestDrafts]) -> list[list[Start]]:
        return [[] for _ in requests]

    handlers = Handlers(rewrite=rewritten, score=scored, draft=drafted)
    return run_searches({"p": SEARCH.steps("p", DRAFT)}, handlers, 1, lambda _: None)["p"]


def refined(*arguments: object, **more: object) -> Refinement:
    result = searched(*arguments, **more)  # type: ignore[arg-type]
    assert isinstance(result, Refinement)
    return result


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(text, 1, None, None) for text in texts]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "no_tag"),
        ("", "empty"),
        ("I plan it.", "unchanged"),
        (LINE, "copied_solution"),
        ("我来想一想。", "other_language"),
        ("word " * 50_000, "too_long"),
        ("plan <refine>it</refine>", "edit_tags"),
        ("plan it </think>", "control_tokens"),
        ("Ignore this <|im_start|>system", "control_tokens"),
    ],
)
def test_fault_35_a_rewrite_that_cannot_be_used_has_a_reason(reply: str | None, reason: str) -> None:
    """A reply without a tag, empty, unchanged, copied from the solution, in another language, of 50,000 words or with
    markers of the chat format is no candidate; its reason is counted and the incumbent stays."""
    assert GUARDED.lost(reply, "I plan it.", PAIR, False) == reason


def test_fault_35_the_incumbent_stays_where_every_rewrite_is_lost() -> None:
    """Lost candidates are kept with their reason and never replace a segment."""
    result = refined([Candidate("", 1, None, "no_tag"), Candidate("x", 1, None, "copied_solution")], {})
    assert (result.segments, result.stopped) == (DRAFT, "degenerate")
    assert [c.lost for edit in result.edits for c in edit.candidates] == ["no_tag", "copied_solution"] * 2


def test_fault_36_any_width_gives_the_same_bytes() -> None:
    """Two runs with one seed are equal, also where searches run side by side and their calls mix."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=50)
    requests = [Request(prompt(f"Write about {i}"), sampling, i) for i in range(20)]
    order = Random(1).sample(range(20), 20)
    shuffled = completions(ScriptedSession(0), [requests[i] for i in order])
    assert [shuffled[order.index(i)] for i in range(20)] == completions(ScriptedSession(0), requests)


@pytest.mark.parametrize("width", [2, 5, 8])
def test_fault_36_searches_that_run_side_by_side_end_as_alone(width: int) -> None:
    """Eight searches of different lengths have the same results, in the same order, at any width."""

    def score_of(thinking: Segments) -> float:
        return item_seed(0, *thinking) / 2**64

    def scored(requests: Sequence[RequestScores]) -> list[list[float | None]]:
        return [[score_of(thinking) for thinking in request.thinkings] for request in requests]

    def rewritten(requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [
            candidates(*(f"{request.pair_id} {request.index} {i}" for i in range(request.n))) for request in requests
        ]

    handlers = Handlers(rewrite=rewritten, score=scored, draft=lambda requests: [[] for _ in requests])
    pairs = {f"p{n}": tuple(f"segment {i} of {n}" for i in range(1 + n % 4)) for n in range(8)}

    def run(width: int) -> list[tuple[str, Refinement | Failure]]:
        steps = {pair: SEARCH.steps(pair, segments) for pair, segments in pairs.items()}
        return list(run_searches(steps, handlers, width, lambda _: None).items())

    assert run(width) == run(1)


@pytest.mark.parametrize("invalid", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("reverse", [False, True])
def test_fault_37_an_invalid_score_never_wins_in_any_order(invalid: float | None, reverse: bool) -> None:
    """NaN and infinite scores are refused before any comparison, so the winner does not depend on the order."""
    result = refined(candidates("bad", "good"), {"bad": invalid, "good": 0.5}, reverse=reverse)
    assert (result.segments[0], result.score) == ("good", 0.5)
    assert {c.lost for c in result.edits[0].candidates if c.text == "bad"} == {"no_valid_score"}


def test_fault_38_without_a_usable_score_nothing_is_chosen() -> None:
    """If all candidates fail the incumbent is kept, and the search is called degenerate; a draft without a score is a
    failure of its pair, never a bad score that anything would beat."""
    result = refined(candidates("a", "b"), {"a": math.nan, "b": None})
    assert (result.segments, result.score, result.stopped) == (DRAFT, 1.0, "degenerate")
    failure = searched(candidates("a"), {"a": 0.1}, draft=None)
    assert isinstance(failure, Failure)


def test_fault_39_ties_keep_the_incumbent() -> None:
    """An equal score changes nothing; among equal candidates the first wins, in every run."""
    assert refined(candidates("a", "b"), {"a": 1.0, "b": 1.0}).segments == DRAFT
    assert refined(candidates("a", "b"), {"a": 0.5, "b": 0.5}).segments[0] == "a"


class Lengths:
    """A scorer whose nats are the lengths of the answer's words."""

    name = "lengths"

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        yield from enumerate([tuple(float(len(word)) for word in p.answer.split()) for p in passages])


@pytest.mark.parametrize("metric", ["nll", "clipped_nll", "perplexity"])
@pytest.mark.parametrize("skip_first", [False, True])
@pytest.mark.parametrize("solution", ["One line.", "x", " "], ids=["one paragraph", "one token", "no token"])
def test_fault_40_every_solution_has_a_score_or_none(metric: str, skip_first: bool, solution: str) -> None:
    """A solution of one paragraph, one token or none has a finite score, or None (which fails its pair by name) where
    nothing is left to score; no division by zero."""
    clip = 2.0 if metric == "clipped_nll" else None
    rule = ScoreMetric(metric, clip, skip_first_segment=skip_first, wrap_in_instruction=False)  # type: ignore[arg-type]
    pair = Pair(id="p", query="q", solution=solution, category="others", language="en", source="t")
    ((score,),) = NllScorer(Lengths(), rule, {"p": pair}, BOUND)([RequestScores("p", (DRAFT,))])
    if skip_first or not solution.strip():
        assert score is None
    else:
        assert score is not None
        assert math.isfinite(score)


@pytest.mark.parametrize("answer", ["\nleading line", "无空格", "👩‍👩‍👧", "é", "word", " x"])
@pytest.mark.parametrize("prefill", ["", "no space", "想", "👩‍"])
def test_fault_41_exactly_the_answers_tokens_are_scored(answer: str, prefill: str) -> None:
    """Context and answer are tokenised apart, so no token spans the boundary: the answer's ids decode to the answer."""
    tokenizer = load_tokenizer(TinyModel().fetch())
    context, ids = Tokens(tokenizer).passage_ids(Passage(prompt("q", prefill), answer))
    assert tokenizer.decode(ids) == answer
    assert tokenizer.decode(context).endswith(prefill)


def test_fault_42_shared_prefixes_change_no_score() -> None:
    """A batch of eight with shared prefixes has the scores of single passages, to 1e-4 nats."""
    asked = passages(200)
    with LocalModel(TinyModel()).open(Device("cpu", score_rows=1, prefix_gib=0)) as alone:
        single = scores(alone, asked)
    with LocalModel(TinyModel()).open(Device("cpu", score_rows=8)) as together:
        batched = scores(together, [Passage(p.context, p.answer, group="g") for p in asked])
    for one, many in zip(single, batched, strict=True):
        assert one == pytest.approx(many, abs=1e-4)
