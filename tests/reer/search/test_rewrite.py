"""Rewrites and scores by models: their requests, why a reply is lost, and how a score is computed."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.errors import InputError
from reer.models.protocols import Completion, Nats, Passage, Request, Sampling
from reer.models.scripted import ScriptedSession
from reer.search.methods import RequestRewrites, RequestScores
from reer.search.rewrite import Rewriter, RewriteRules
from reer.search.score import NllScorer, ScoreMetric, repeat_noise
from reer.types import Candidate, Lost, Pair
from tests.fakes.prompts import BOUND, GUARDED, PROMPTS, RELEASED, TRIGGERS

SOLUTION = f"The harbour wakes before the town does. {'a' * 90}\n\nThen the boats go out. {'b' * 100}"
PAIR = Pair(id="p", query="Write about a harbour", solution=SOLUTION, category="others", language="en", source="test")
SHORT = Pair(id="s", query="Write one line", solution="One line.", category="others", language="en", source="test")
PAIRS = {pair.id: pair for pair in (PAIR, SHORT)}
SAMPLING = Sampling(temperature=0.7, top_p=0.95, max_tokens=300)
SEGMENTS = ("First I look at the task.", "Then I plan the piece.", "At last I check it.")
AS_RELEASED = ScoreMetric("clipped_nll", 2.0, skip_first_segment=True, wrap_in_instruction=True)
NLL = ScoreMetric("nll", None, skip_first_segment=False, wrap_in_instruction=True)
AS_WRITTEN = ScoreMetric("perplexity", None, skip_first_segment=False, wrap_in_instruction=False)


class Says:
    """A generator that always gives the same reply, up to the first stop string of a request, and a scorer whose nats
    are the words' lengths."""

    name = "says"

    def __init__(self, text: str = "", stopped: str = "stop") -> None:
        self.reply = Completion(text=text, stopped=stopped, prompt_tokens=1, tokens=5)  # type: ignore[arg-type]
        self.asked: list[Request] = []
        self.scored: list[Passage] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.asked += requests
        yield from enumerate([self._until_stop(request.sampling.stop) for request in requests])

    def _until_stop(self, stops: tuple[str, ...]) -> Completion:
        ends = [self.reply.text.index(stop) for stop in stops if stop in self.reply.text]
        return replace(self.reply, text=self.reply.text[: min(ends)]) if ends else self.reply

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        self.scored += passages
        yield from enumerate([tuple(float(len(word)) for word in p.context.prefill.split()[1:3]) for p in passages])


def rewriter(model: Says | ScriptedSession, rules: RewriteRules = GUARDED) -> Rewriter:
    return Rewriter(generator=model, pairs=PAIRS, prompts=BOUND, sampling=SAMPLING, rules=rules, seed=0)


def candidate_of(reply: str, rules: RewriteRules = GUARDED, stopped: str = "stop") -> Candidate:
    """The candidate that a reply to the edit of the middle segment becomes."""
    request = RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=1)
    ((candidate,),) = rewriter(Says(reply, stopped), rules)([request])
    return candidate


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
        ("I plan <replace>it</replace> now.", False, "edit_tags"),
        ("<analyze>I plan.", False, "edit_tags"),
        ("The sign says 静 and nothing more.", False, None),
        ("我来写那块写着 silence 的牌子。", False, "other_language"),
        ("I plan it.", False, "unchanged"),
        ("The harbour wakes before the town does. aaaaa", False, "copied_solution"),
        ("我来想一想。", False, "other_language"),
        ("word " * 53, False, "too_long"),
        ("word " * 52, False, None),
        ("The harbour wakes", False, None),
        ("I plan it with care.", False, None),
    ],
)
def test_why_a_rewrite_is_lost(text: str | None, cut: bool, reason: str | None) -> None:
    assert GUARDED.lost(text, "I plan it.", PAIR, cut) == reason


@pytest.mark.parametrize(
    "text", ["", "a <think> b", "<replace>a</replace>", SOLUTION[:60], "我来想一想。", "word " * 500], ids=str.split
)
def test_the_released_rules_lose_no_rewrite(text: str) -> None:
    assert RELEASED.lost(text, "I plan it.", PAIR, False) is None


def test_a_chinese_pair_accepts_a_chinese_rewrite_of_a_latin_quotation() -> None:
    pair = replace(PAIR, language="zh", query="写一篇文章")
    assert GUARDED.lost("我引用那句话，再说明它。", '"To be, or not to be"', pair, False) is None
    assert GUARDED.lost("To be, or not to be, as it was.", '"To be, or not to be"', pair, False) is None


@pytest.mark.parametrize(
    ("reply", "text", "lost"),
    [
        ("so</analyze>\n<refine>Better now.</refine> bye", "Better now.", None),
        ("</analyze><refine>First</refine><refine> Second try. </refine>", "Second try.", None),
        ("</analyze><refine>Stopped at the tag.", "Stopped at the tag.", None),
        ("</analyze><refine></refine>", "", "empty"),
        ("I would rather not.", "", "no_tag"),
        (f"</analyze><refine>{SEGMENTS[1]}</refine>", SEGMENTS[1], "unchanged"),
        (f"</analyze><refine>{SOLUTION[:60]}</refine>", SOLUTION[:60], "copied_solution"),
        ("It goes between <refine> and </refine>.</analyze><refine>Better now.</refine>", "Better now.", None),
        ("I will use <refine></refine>.</analyze>\n<refine>Better now.</refine>", "Better now.", None),
        ("It goes between <refine> and </refine>.", "", "no_tag"),
        ("</analyze><refine>Better </refine> now.</refine>", "Better", None),
        ("</analyze></refine><refine>Better now.</refine>", "Better now.", None),
        ("</analyze><refine><replace>Better now.</replace></refine>", "Better now.", None),
        ("</analyze><refine>I <replace>plan</replace> it.</refine>", "I <replace>plan</replace> it.", "edit_tags"),
    ],
)
def test_a_reply_becomes_a_candidate_with_its_reason(reply: str, text: str, lost: str | None) -> None:
    candidate = candidate_of(reply)
    assert (candidate.text, candidate.lost, candidate.score, candidate.tokens) == (text, lost, None, 5)


def test_a_block_is_closed_by_its_own_tag() -> None:
    assert GUARDED.block("</analyze><refine>a</refine>") == ("a", True)
    assert GUARDED.block("</analyze></refine><refine>a") == ("a", False)
    assert GUARDED.block("</refine>") == (None, False)


@pytest.mark.parametrize(
    ("reply", "text", "lost"),
    [
        ("</analyze><refine>Better, but", "", "cut_by_limit"),
        ("</analyze><refine>Better now. And th", "Better now.", None),
        ("</analyze><refine>Better now. And more</refine> bye", "Better now. And more", None),
        ("no tag", "", "no_tag"),
    ],
)
def test_a_reply_cut_by_its_limit_keeps_its_complete_sentences(reply: str, text: str, lost: str | None) -> None:
    candidate = candidate_of(reply, stopped="length")
    assert (candidate.text, candidate.lost) == (text, lost)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<refine></refine>", ""),
        ("It goes between <refine> and </refine>.", "and"),
        ("</analyze><refine>First</refine><refine>Second</refine>", "Second"),
        ("</analyze><refine><replace>It.</replace></refine>", "<replace>It.</replace>"),
    ],
)
def test_under_the_released_rules_the_last_block_counts_as_it_stands(reply: str, text: str) -> None:
    candidate = candidate_of(reply, RELEASED)
    assert (candidate.text, candidate.lost) == (text, None)


def test_the_stop_strings_of_an_edit_come_from_the_prompt_texts() -> None:
    model = Says("x")
    texts = replace(PROMPTS.en, edit_prefill="<analyze>So.</analyze><refine>", edit_stops=("</refine>", "\n\n"))
    bound = replace(PROMPTS, en=texts).with_triggers(TRIGGERS)
    replace(rewriter(model), prompts=bound)([RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=1)])
    assert model.asked[0].sampling == replace(SAMPLING, stop=("</refine>", "\n\n"))


def test_a_rewrite_continues_the_prefill_of_its_pairs_language() -> None:
    chinese = replace(PROMPTS.zh, edit_prefill="<analyze>好。</analyze><refine>")
    bound = replace(PROMPTS, zh=chinese).with_triggers(TRIGGERS)
    pairs = {"p": replace(PAIR, language="zh")}
    request = RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=1)
    ((candidate,),) = replace(rewriter(Says("我再想一想。</refine>")), prompts=bound, pairs=pairs)([request])
    assert (candidate.text, candidate.lost) == ("我再想一想。", None)


def test_an_edit_does_not_stop_at_a_tag_that_its_analysis_may_name() -> None:
    with pytest.raises(InputError, match="edit_stops has </refine>"):
        replace(PROMPTS.en, edit_stops=("</refine>",))


def test_the_marked_segment_stands_between_what_is_before_and_after() -> None:
    model = Says("x")
    rewriter(model)([RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=1)])
    asked = model.asked[0].prompt
    assert f"{SEGMENTS[0]}<replace>{SEGMENTS[1]}</replace>{SEGMENTS[2]}" in asked.messages[-1].content
    assert asked.prefill.endswith("<analyze>")


def test_every_sample_has_its_own_seed_whatever_shares_its_batch() -> None:
    alone, together = Says("x"), Says("x")
    request, other = (
        RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=3),
        RequestRewrites(pair_id="s", segments=SEGMENTS, index=0, n=2),
    )
    rewriter(alone)([request])
    replies = rewriter(together)([other, request])
    assert [len(reply) for reply in replies] == [2, 3]
    assert together.asked[2:] == alone.asked
    assert len({request.seed for request in together.asked}) == 5


def test_more_candidates_include_those_of_fewer() -> None:
    two, four = Says("x"), Says("x")
    rewriter(two)([RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=2)])
    rewriter(four)([RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=4)])
    assert four.asked[:2] == two.asked


def test_the_scripted_model_gives_usable_candidates() -> None:
    (candidates,) = rewriter(ScriptedSession(0))([RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=4)])
    assert [candidate.lost for candidate in candidates] == [None] * 4
    assert len({candidate.text for candidate in candidates}) > 1


@pytest.mark.parametrize(
    ("metric", "score"),
    [(AS_RELEASED, 1.5), (AS_WRITTEN, math.exp(3.0)), (NLL, 3.0)],
)
def test_the_score_is_the_mean_clipped_or_exponentiated(metric: ScoreMetric, score: float) -> None:
    assert metric.from_nats([1.0, 5.0]) == pytest.approx(score)


@settings(deadline=None)
@given(st.lists(st.floats(0, 50), min_size=1))
def test_a_clipped_score_is_bounded_by_the_clip_and_by_the_plain_mean(nats: list[float]) -> None:
    clipped, plain = AS_RELEASED.from_nats(nats), NLL.from_nats(nats)
    assert clipped <= min(2.0, plain + 1e-9)


def test_nan_stays_nan_under_a_clip() -> None:
    assert math.isnan(AS_RELEASED.from_nats([1.0, math.nan]))


@pytest.mark.parametrize(("metric", "clip"), [("nll", 2.0), ("perplexity", 1.0), ("clipped_nll", None)])
def test_a_clip_is_for_the_clipped_metric_only(metric: str, clip: float | None) -> None:
    with pytest.raises(InputError) as wrong:
        ScoreMetric(metric, clip, True, True)  # type: ignore[arg-type]
    assert str(wrong.value) == f"scorer: metric {metric!r} with clip {clip}; clip goes with clipped_nll alone"


def test_context_and_answer_hold_the_whole_solution_once() -> None:
    passage = AS_RELEASED.passage(PAIR, SEGMENTS, BOUND)
    assert passage is not None
    assert (
        passage.context.prefill
        == "<think>\n" + "\n\n".join(SEGMENTS) + "\n</think>\n<answer>\n" + SOLUTION.split("Then")[0]
    )
    assert passage.context.prefill.endswith("\n\n")
    assert passage.answer.startswith("Then the boats")


def test_a_query_in_the_instruction_is_in_the_inference_prompt() -> None:
    passage = NLL.passage(PAIR, SEGMENTS, BOUND)
    assert passage is not None
    assert passage.context.messages[-1].content == f"Think: {PAIR.query} Think Hmm; Wait."


def test_as_written_scores_all_of_the_solution_under_the_bare_query() -> None:
    passage = AS_WRITTEN.passage(PAIR, SEGMENTS, BOUND)
    assert passage is not None
    assert passage.answer == SOLUTION
    assert passage.context.messages[-1].content == PAIR.query


def test_a_solution_of_one_segment_leaves_nothing_to_score_after_its_first() -> None:
    assert AS_RELEASED.passage(SHORT, SEGMENTS, BOUND) is None
    assert AS_WRITTEN.passage(SHORT, SEGMENTS, BOUND) is not None
    bounded = replace(AS_RELEASED, boundary_tokens=True).passage(replace(SHORT, solution=""), ("a",), BOUND)
    assert bounded is not None
    assert (bounded.context.prefill, bounded.answer) == ("<think>\na\n</think>\n<answer>\n", "")


def test_scores_are_in_the_order_of_the_requests_with_none_for_what_cannot_be_scored() -> None:
    scorer = NllScorer(Says(), AS_RELEASED, PAIRS, BOUND)
    requests = [
        RequestScores("p", (("a b",), ("aaaa bbbb",))),
        RequestScores("s", (SEGMENTS,)),
        RequestScores("p", (("a bbb",),)),
    ]
    assert scorer(requests) == [[1.0, 2.0], [None], [1.5]]


def test_passages_that_cannot_be_scored_are_not_sent_to_the_scorer() -> None:
    model = Says()
    assert NllScorer(model, AS_RELEASED, PAIRS, BOUND)([RequestScores("s", (SEGMENTS,))]) == [[None]]
    assert model.scored == []


@pytest.mark.parametrize(
    ("stopped", "reason"),
    [("prompt_too_long", "prompt_too_long"), ("refused", "refused_by_server"), ("unreadable", "unreadable_reply")],
)
def test_what_is_no_rewrite_is_lost_without_a_text_or_tokens(stopped: str, reason: Lost) -> None:
    """The text of a refusal is the server's message."""
    assert candidate_of("</analyze><refine>I refuse this.</refine>", stopped=stopped) == Candidate("", 0, None, reason)


class PromptTooLong(Says):
    """A scorer for which every passage exceeds the context."""

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        yield from enumerate([None for _ in passages])


def test_a_passage_that_exceeds_the_scorers_context_has_no_score() -> None:
    scorer = NllScorer(PromptTooLong(), AS_WRITTEN, PAIRS, BOUND)
    assert scorer([RequestScores("p", (SEGMENTS,))]) == [[None]]


def test_a_threshold_in_nats_has_a_value_in_each_metric() -> None:
    assert AS_RELEASED.from_nats((0.25,)) == 0.25
    assert AS_WRITTEN.from_nats((0.25,)) == pytest.approx(1.2840254)
    assert AS_WRITTEN.from_nats((1e4,)) == math.inf


def test_rewrites_in_a_later_pass_have_seeds_of_their_own() -> None:
    model = Says()
    rewriter(model)(
        [RequestRewrites(pair_id="p", segments=SEGMENTS, index=0, n=2, pass_index=pass_index) for pass_index in (0, 1)]
    )
    assert len({request.seed for request in model.asked}) == 4


class Noisy(Says):
    """A scorer whose scores depend on the size of the batch."""

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        yield from enumerate([(1.0 + len(passages) / 100,) for _ in passages])


def test_the_noise_of_a_scorer_is_in_the_unit_of_the_score() -> None:
    passages = [
        AS_WRITTEN.passage(PAIR, SEGMENTS, BOUND),
        AS_WRITTEN.passage(PAIR, ("x",), BOUND),
    ]
    asked = [passage for passage in passages if passage is not None]
    assert repeat_noise(Says(), AS_RELEASED, asked) == 0.0
    assert repeat_noise(Noisy(), AS_RELEASED, asked) == pytest.approx(0.03)
    assert repeat_noise(Noisy(), AS_WRITTEN, asked) == pytest.approx(math.exp(1.04) - math.exp(1.01))
    assert repeat_noise(PromptTooLong(), AS_WRITTEN, asked) == 0.0


class OneAtATime(Says):
    """A generator and scorer of batches or of single calls, whose replies name the request's seed."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for at, request in enumerate(requests):
            yield at, self._answer(request)

    async def complete(self, request: Request) -> Completion:
        return self._answer(request)

    def _answer(self, request: Request) -> Completion:
        self.asked.append(request)
        return replace(self.reply, text=f"</analyze><refine>Rewrite {request.seed}.</refine>")

    async def nats_of(self, passage: Passage) -> Nats | None:
        ((_, nats),) = self.score([passage])
        return nats


def test_rewrites_are_the_same_one_at_a_time_as_in_a_batch() -> None:
    alone, together = OneAtATime(), OneAtATime()
    request = RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=3)
    (batch,) = rewriter(together)([request])
    assert asyncio.run(rewriter(alone).handle(alone, request)) == batch
    assert alone.asked == together.asked
    assert len({candidate.text for candidate in batch}) == 3


def test_scores_are_the_same_one_at_a_time_as_in_a_batch() -> None:
    model = OneAtATime()
    scorer = NllScorer(model, AS_RELEASED, PAIRS, BOUND)
    request, unscorable = RequestScores("p", (("a b",), ("aaaa bbbb",))), RequestScores("s", (SEGMENTS,))
    assert asyncio.run(scorer.handle(model, request)) == scorer([request])[0] == [1.0, 2.0]
    assert asyncio.run(scorer.handle(model, unscorable)) == [None]


def test_seeds_of_rewrites_never_change() -> None:
    """A recorded rewrite is found under its seed."""
    model = Says()
    request = RequestRewrites(pair_id="p", segments=SEGMENTS, index=1, n=2)
    rewriter(model)([request, replace(request, n=1, pass_index=1)])
    assert [asked.seed for asked in model.asked] == [276984036, 726794875, 1389816497]
    assert {asked.group for asked in model.asked} == {"p"}


def test_a_mean_of_700_nats_and_more_is_an_infinite_perplexity() -> None:
    assert AS_WRITTEN.from_nats([699.5]) == math.exp(699.5)
    assert AS_WRITTEN.from_nats([700.0]) == math.inf
    assert NLL.from_nats([700.0]) == 700


def test_the_noise_is_between_a_passage_alone_and_in_a_batch_of_its_group() -> None:
    class Remembers(Says):
        def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
            groups.append([passage.group for passage in passages])
            return super().score(passages)

    groups = list[list[str]]()
    passage = NLL.passage(PAIR, SEGMENTS, BOUND)
    assert passage is not None
    repeat_noise(Remembers(), NLL, [passage, replace(passage, group="q")])
    assert groups == [[""], [""], ["p", "q", "q", "p"]]
