"""What the search asks, answered by models: requests, reasons a reply is no candidate, and the score of a thinking."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.errors import InputError
from reer.models.protocols import Completion, Nats, Passage, Request, Sampling
from reer.models.scripted import ScriptedSession
from reer.search.draft import Drafter, DraftRules
from reer.search.methods import RequestDrafts, RequestRewrites, RequestScores
from reer.search.rewrite import Rewriter, Starter, lost_reason
from reer.search.score import NllScorer, ScoreMetric, repeat_noise
from reer.types import Pair
from tests.fakes.prompts import PROMPTS, TRIGGERS

SOLUTION = f"The harbour wakes before the town does. {'a' * 90}\n\nThen the boats go out. {'b' * 100}"
PAIR = Pair("p", "Write about a harbour", SOLUTION, "others", "en", "test")
SHORT = Pair("s", "Write one line", "One line.", "others", "en", "test")
PAIRS = {pair.id: pair for pair in (PAIR, SHORT)}
SAMPLING = Sampling(0.7, 0.95, 300, stop=("</refine>",))
SEGMENTS = ("First I look at the task.", "Then I plan the piece.", "At last I check it.")
AS_RELEASED = ScoreMetric("clipped_nll", 2.0, skip_first_segment=True, wrap_in_instruction=True)
AS_WRITTEN = ScoreMetric("perplexity", None, skip_first_segment=False, wrap_in_instruction=False)


class Says:
    """A generator that always gives the same reply, and a scorer whose nats are the words' lengths."""

    name = "says"

    def __init__(self, text: str = "", stopped: str = "stop") -> None:
        self.reply = Completion(text, stopped, 1, 5)  # type: ignore[arg-type]
        self.asked: list[Request] = []
        self.scored: list[Passage] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.asked += requests
        yield from enumerate([self.reply for _ in requests])

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        self.scored += passages
        yield from enumerate([tuple(float(len(word)) for word in p.context.prefill.split()[1:3]) for p in passages])


def rewriter(model: Says | ScriptedSession, seed: int = 0) -> Rewriter:
    return Rewriter(model, PAIRS, PROMPTS, TRIGGERS, SAMPLING, seed)


@pytest.mark.parametrize(
    ("text", "cut", "reason"),
    [
        (None, False, "no_tag"),
        (None, True, "no_tag"),
        ("", True, "cut_by_limit"),
        ("", False, "empty"),
        ("What was finished.", True, None),
        ("a <think> b", False, "control_tokens"),
        ("a <|im_end|>", False, "control_tokens"),
        ("I plan it.", False, "unchanged"),
        ("The harbour wakes before the town does. aaaaa", False, "copied_solution"),
        ("我来想一想。", False, "other_language"),
        ("word " * 53, False, "too_long"),
        ("word " * 52, False, None),
        ("The harbour wakes", False, None),
        ("I plan it with care.", False, None),
    ],
)
def test_why_a_reply_is_no_candidate(text: str | None, cut: bool, reason: str | None) -> None:
    assert lost_reason(text, "I plan it.", PAIR, cut) == reason


@pytest.mark.parametrize(
    ("reply", "text", "lost"),
    [
        ("so</analyze>\n<refine>Better now.</refine> bye", "Better now.", None),
        ("</analyze><refine>First</refine><refine> Second try. </refine>", "Second try.", None),
        ("</analyze><refine>Stopped at the tag.", "Stopped at the tag.", None),
        ("</analyze><refine></refine>", "", "empty"),
        ("I would rather not.", "", "no_tag"),
        (f"<refine>{SEGMENTS[1]}</refine>", SEGMENTS[1], "unchanged"),
        (f"<refine>{SOLUTION[:60]}</refine>", SOLUTION[:60], "copied_solution"),
    ],
)
def test_a_reply_becomes_a_candidate_with_its_reason(reply: str, text: str, lost: str | None) -> None:
    ((candidate,),) = rewriter(Says(reply))([RequestRewrites("p", SEGMENTS, 1, 1)])
    assert (candidate.text, candidate.lost, candidate.score, candidate.tokens) == (text, lost, None, 5)


@pytest.mark.parametrize(
    ("reply", "text", "lost"),
    [
        ("<refine>Better, but", "", "cut_by_limit"),
        ("<refine>Better now. And th", "Better now.", None),
        ("no tag", "", "no_tag"),
    ],
)
def test_a_reply_cut_by_its_limit_counts_by_its_whole_sentences(reply: str, text: str, lost: str | None) -> None:
    ((candidate,),) = rewriter(Says(reply, stopped="length"))([RequestRewrites("p", SEGMENTS, 1, 1)])
    assert (candidate.text, candidate.lost) == (text, lost)


def test_the_prompt_texts_say_what_ends_an_edit() -> None:
    model = Says("x")
    stops = replace(PROMPTS, en=replace(PROMPTS.en, edit_stops=("</refine>", "\n\n")))
    Rewriter(model, PAIRS, stops, TRIGGERS, SAMPLING, 0)([RequestRewrites("p", SEGMENTS, 1, 1)])
    assert model.asked[0].sampling == replace(SAMPLING, stop=("</refine>", "\n\n"))


def test_the_marked_segment_stands_between_what_is_before_and_after() -> None:
    model = Says("x")
    rewriter(model)([RequestRewrites("p", SEGMENTS, 1, 1)])
    asked = model.asked[0].prompt
    assert f"{SEGMENTS[0]}<replace>{SEGMENTS[1]}</replace>{SEGMENTS[2]}" in asked.messages[-1].content
    assert asked.prefill.endswith("<analyze>")


def test_every_sample_has_its_own_seed_and_company_changes_none() -> None:
    alone, together = Says("x"), Says("x")
    need, other = RequestRewrites("p", SEGMENTS, 1, 3), RequestRewrites("s", SEGMENTS, 0, 2)
    rewriter(alone)([need])
    answers = rewriter(together)([other, need])
    assert [len(answer) for answer in answers] == [2, 3]
    assert together.asked[2:] == alone.asked
    assert len({request.seed for request in together.asked}) == 5


def test_more_candidates_contain_the_fewer() -> None:
    two, four = Says("x"), Says("x")
    rewriter(two)([RequestRewrites("p", SEGMENTS, 1, 2)])
    rewriter(four)([RequestRewrites("p", SEGMENTS, 1, 4)])
    assert four.asked[:2] == two.asked


def test_the_scripted_model_gives_usable_candidates() -> None:
    (candidates,) = rewriter(ScriptedSession(0))([RequestRewrites("p", SEGMENTS, 1, 4)])
    assert [candidate.lost for candidate in candidates] == [None] * 4
    assert len({candidate.text for candidate in candidates}) > 1


@pytest.mark.parametrize(
    ("surprise", "score"),
    [(AS_RELEASED, 1.5), (AS_WRITTEN, math.exp(3.0)), (ScoreMetric("nll", None, False, True), 3.0)],
)
def test_the_score_is_the_mean_clipped_or_exponentiated(surprise: ScoreMetric, score: float) -> None:
    assert surprise.of([1.0, 5.0]) == pytest.approx(score)


@settings(deadline=None)
@given(st.lists(st.floats(0, 50), min_size=1))
def test_a_clipped_score_is_bounded_by_the_clip_and_by_the_plain_mean(nats: list[float]) -> None:
    clipped, plain = AS_RELEASED.of(nats), ScoreMetric("nll", None, False, True).of(nats)
    assert clipped <= min(2.0, plain + 1e-9)


def test_not_a_number_stays_one_under_a_clip() -> None:
    assert math.isnan(AS_RELEASED.of([1.0, math.nan]))


@pytest.mark.parametrize(("metric", "clip"), [("nll", 2.0), ("perplexity", 1.0), ("clipped_nll", None)])
def test_a_clip_goes_with_its_metric_alone(metric: str, clip: float | None) -> None:
    with pytest.raises(InputError, match="clip goes with clipped_nll alone"):
        ScoreMetric(metric, clip, True, True)  # type: ignore[arg-type]


def test_context_and_answer_hold_the_whole_solution_once() -> None:
    passage = AS_RELEASED.passage(PAIR, SEGMENTS, PROMPTS, TRIGGERS)
    assert passage is not None
    assert (
        passage.context.prefill
        == "<think>\n" + "\n\n".join(SEGMENTS) + "\n</think>\n<answer>\n" + SOLUTION.split("Then")[0]
    )
    assert passage.context.prefill.endswith("\n\n")
    assert passage.answer.startswith("Then the boats")


def test_as_written_scores_all_of_the_solution_under_the_bare_query() -> None:
    passage = AS_WRITTEN.passage(PAIR, SEGMENTS, PROMPTS, TRIGGERS)
    assert passage is not None
    assert passage.answer == SOLUTION
    assert passage.context.messages[-1].content == PAIR.query


def test_a_solution_of_one_segment_leaves_nothing_to_score_after_its_first() -> None:
    assert AS_RELEASED.passage(SHORT, SEGMENTS, PROMPTS, TRIGGERS) is None
    assert AS_WRITTEN.passage(SHORT, SEGMENTS, PROMPTS, TRIGGERS) is not None


def test_scores_come_back_in_the_order_asked_with_gaps_where_nothing_can_be_scored() -> None:
    scorer = NllScorer(Says(), AS_RELEASED, PAIRS, PROMPTS, TRIGGERS)
    needs = [
        RequestScores("p", (("a b",), ("aaaa bbbb",))),
        RequestScores("s", (SEGMENTS,)),
        RequestScores("p", (("a bbb",),)),
    ]
    assert scorer(needs) == [[1.0, 2.0], [None], [1.5]]


def test_a_scorer_is_not_asked_what_cannot_be_scored() -> None:
    model = Says()
    assert NllScorer(model, AS_RELEASED, PAIRS, PROMPTS, TRIGGERS)([RequestScores("s", (SEGMENTS,))]) == [[None]]
    assert model.scored == []


def test_a_rewrite_without_room_is_lost_for_that() -> None:
    ((candidate,),) = rewriter(Says(stopped="prompt_too_long"))([RequestRewrites("p", SEGMENTS, 0, 1)])
    assert (candidate.lost, candidate.score) == ("prompt_too_long", None)


class PromptTooLong(Says):
    """A scorer whose context holds nothing."""

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        yield from enumerate([None for _ in passages])


def test_a_thinking_that_the_scorers_context_cannot_hold_has_no_score() -> None:
    scorer = NllScorer(PromptTooLong(), AS_WRITTEN, PAIRS, PROMPTS, TRIGGERS)
    assert scorer([RequestScores("p", (SEGMENTS,))]) == [[None]]


def test_a_threshold_in_nats_has_a_value_in_each_metric() -> None:
    assert AS_RELEASED.of((0.25,)) == 0.25
    assert AS_WRITTEN.of((0.25,)) == pytest.approx(1.2840254)
    assert AS_WRITTEN.of((1e4,)) == math.inf


def test_a_rewrite_in_a_later_pass_draws_anew_and_the_first_pass_as_ever() -> None:
    first, later = ([Says(), RequestRewrites("p", SEGMENTS, 0, 2, turn)] for turn in (0, 1))
    for model, need in (first, later):
        rewriter(model)([need])  # type: ignore[arg-type, list-item]
    seeds = [request.seed for model, _ in (first, later) for request in model.asked]  # type: ignore[union-attr]
    assert len(set(seeds)) == 4


def test_further_starts_are_drafts_numbered_after_the_first() -> None:
    writer = Says(f" {'a' * 120}.\n\n{'b' * 120}.")
    starter = Starter(Drafter(writer, PROMPTS, TRIGGERS, SAMPLING, DraftRules(0, 2), 0), PAIRS)
    (starts, one) = starter([RequestDrafts("p", 3), RequestDrafts("s", 1)])
    assert (len(starts), len(one), len({request.seed for request in writer.asked})) == (3, 1, 4)
    assert all(start.lost is None and len(start.segments) == 2 for start in starts)


class Noisy(Says):
    """A scorer whose repeats differ by the number of passages asked together."""

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        yield from enumerate([(1.0 + len(passages) / 100,) for _ in passages])


def test_the_noise_of_a_scorer_is_measured_in_the_scores_unit() -> None:
    passages = [
        AS_WRITTEN.passage(PAIR, SEGMENTS, PROMPTS, TRIGGERS),
        AS_WRITTEN.passage(PAIR, ("x",), PROMPTS, TRIGGERS),
    ]
    asked = [passage for passage in passages if passage is not None]
    assert repeat_noise(Says(), AS_RELEASED, asked) == 0.0
    assert repeat_noise(Noisy(), AS_RELEASED, asked) == pytest.approx(0.03)
    assert repeat_noise(Noisy(), AS_WRITTEN, asked) == pytest.approx(math.exp(1.04) - math.exp(1.01))
    assert repeat_noise(PromptTooLong(), AS_WRITTEN, asked) == 0.0
