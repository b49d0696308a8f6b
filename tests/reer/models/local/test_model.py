"""The transformers backend against naive loops, with a tiny random model."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch

from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel, LocalSession
from reer.models.placement import EngineName, Precision
from reer.models.protocols import BatchProgress, Device, Passage, Prompt, Request, Sampling, report_batches
from reer.types import Message
from tests.fakes.calls import completions, scores
from tests.fakes.texts import passages, prompt, random_text

FREE = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)


@pytest.fixture(scope="module")
def session() -> Iterator[LocalSession]:
    with LocalModel(TinyModel()).open(Device("cpu", generate_rows=16, score_rows=1)) as opened:
        yield opened


def wide(session: LocalSession, rows: int) -> LocalSession:
    return LocalSession(session.name, session.model, session.tokenizer, Device("cpu", rows, rows))


def naive(session: LocalSession, passage: Passage) -> list[float]:
    """One full forward pass for every token of the answer, nothing kept, nothing padded."""
    context, answer = session.tokens.context_ids(passage.context), session.tokens.ids(passage.answer)
    nats = []
    for i, token in enumerate(answer):
        logits = session.model(input_ids=torch.tensor([context + answer[:i]])).logits[0, -1]
        nats.append(-float(torch.log_softmax(logits.float(), dim=-1)[token]))
    return nats


def test_scores_are_those_of_a_naive_loop(session: LocalSession) -> None:
    asked = passages(8)
    with torch.inference_mode():
        for passage, nats in zip(asked, scores(session, asked), strict=True):
            assert nats == pytest.approx(naive(session, passage), abs=1e-4)


def test_one_row_at_a_time_scores_like_four(session: LocalSession) -> None:
    asked = passages(30)
    for alone, together in zip(scores(session, asked), scores(wide(session, 4), asked), strict=True):
        assert alone == pytest.approx(together, abs=1e-4)


def test_exactly_the_tokens_of_the_answer_are_scored(session: LocalSession) -> None:
    asked = passages(12)
    assert [len(nats) for nats in scores(wide(session, 4), asked)] == [len(session.tokens.ids(p.answer)) for p in asked]
    assert len(scores(session, [Passage(prompt("q", "no space at the seam"), "想")])[0]) == 3


def test_an_answer_without_tokens_is_refused(session: LocalSession) -> None:
    with pytest.raises(InputError, match="the answer has no tokens"):
        scores(session, [Passage(prompt("q"), "")])


def test_nothing_asked_is_nothing_answered(session: LocalSession) -> None:
    assert scores(session, []) == []
    assert completions(session, []) == []


def requests(count: int, sampling: Sampling = FREE) -> list[Request]:
    draw = Random(1)
    return [Request(prompt(random_text(draw, 0, 50), random_text(draw, 0, 9)), sampling, seed) for seed in range(count)]


@pytest.mark.parametrize(
    "sampling",
    [
        FREE,
        Sampling(temperature=0.0, top_p=1.0, max_tokens=16),
        Sampling(temperature=0.8, top_p=0.9, max_tokens=16, top_k=20),
    ],
)
def test_a_row_says_alone_what_it_says_among_others(session: LocalSession, sampling: Sampling) -> None:
    asked = requests(7, sampling)
    together = completions(session, asked)
    assert [completions(session, [request])[0] for request in asked] == together
    assert completions(wide(session, 3), asked[::-1])[::-1] == together


def test_the_seed_decides_what_a_row_says(session: LocalSession) -> None:
    texts = [completions(session, [Request(prompt("q"), FREE, seed)])[0].text for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_greedy_decoding_is_that_of_a_naive_loop(session: LocalSession) -> None:
    request = Request(prompt("Hello", "so"), Sampling(temperature=0.0, top_p=1.0, max_tokens=12), 0)
    ids = session.tokens.context_ids(request.prompt)
    start = len(ids)
    while len(ids) < start + 12 and not session.ends & set(ids[start:]):
        ids.append(int(session.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert completions(session, [request])[0].text == session.tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_the_token_limit_stops_a_row(session: LocalSession) -> None:
    reply = completions(session, [Request(prompt("q"), Sampling(temperature=1.0, top_p=1.0, max_tokens=5), 3)])[0]
    assert (reply.stopped, reply.tokens) == ("length", 5)
    assert reply.prompt_tokens == len(session.tokens.context_ids(prompt("q")))


def test_an_end_token_stops_a_row_and_is_no_text(session: LocalSession) -> None:
    replies = completions(
        session,
        [Request(prompt("q"), Sampling(temperature=1.0, top_p=1.0, max_tokens=100), seed) for seed in range(16)],
    )
    ended = [reply for reply in replies if reply.tokens < 100]
    assert ended
    assert all(reply.stopped == "stop" for reply in ended)
    assert not any("<|im_end|>" in reply.text for reply in replies)


def test_a_stop_string_ends_a_row_and_is_cut_off(session: LocalSession) -> None:
    free = completions(session, [Request(prompt("q"), FREE, 5)])[0]
    stop = next(ch for ch in free.text[2:] if ch.isascii() and ch.isprintable())
    reply = completions(
        session,
        [Request(prompt("q"), Sampling(temperature=1.0, top_p=1.0, max_tokens=24, stop=("never this", stop)), 5)],
    )[0]
    assert reply.text == free.text[: free.text.index(stop)]
    assert reply.stopped == "stop"
    assert reply.tokens < free.tokens


def test_equal_prompts_are_read_once_and_shared(session: LocalSession) -> None:
    shapes: list[tuple[int, ...]] = []
    hook = session.model.model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    shared = completions(session, [Request(prompt("q"), FREE, seed) for seed in range(4)])
    hook.remove()
    assert [rows for rows, width in shapes if width > 1] == [1]
    assert shared == [completions(session, [Request(prompt("q"), FREE, seed)])[0] for seed in range(4)]


def small(session: LocalSession, limit: int) -> LocalSession:
    opened = wide(session, 4)
    opened.limit = limit
    return opened


def test_a_completion_ends_where_the_models_context_does(session: LocalSession) -> None:
    asked = prompt("q")
    used = len(session.tokens.context_ids(asked))
    (reply,) = completions(small(session, used + 3), [Request(asked, FREE, 5)])
    (whole,) = completions(session, [Request(asked, FREE, 5)])
    assert (reply.stopped, reply.tokens) == ("length", 3)
    assert whole.text.startswith(reply.text.rstrip("\ufffd"))


def test_a_prompt_without_room_has_no_completion_and_its_neighbours_have(session: LocalSession) -> None:
    requests = [Request(prompt(text), FREE, 1) for text in ("x" * 300, "q", "y" * 300)]
    long, short, other = completions(small(session, 100), requests)
    assert [reply.stopped for reply in (long, other)] == ["prompt_too_long", "prompt_too_long"]
    assert (long.text, long.tokens, long.prompt_tokens > 100) == ("", 0, True)
    assert short == completions(session, requests[1:2])[0]


def test_a_passage_without_room_has_no_score_and_its_neighbours_have(session: LocalSession) -> None:
    asked = [Passage(prompt("q"), "x" * 200), Passage(prompt("q"), "short")]
    assert scores(small(session, 100), asked) == [None, *scores(session, asked[1:])]


def test_weights_go_when_the_block_ends() -> None:
    with LocalModel(TinyModel()).open(Device("cpu")) as opened:
        assert opened.model is not None
    assert not hasattr(opened, "model")


def test_weights_go_when_the_block_fails() -> None:
    with pytest.raises(KeyError), LocalModel(TinyModel()).open(Device("cpu")) as opened:
        raise KeyError
    assert not hasattr(opened, "model")


def test_a_half_consumed_iterator_does_not_leave_inference_mode_on(session: LocalSession) -> None:
    for answers in (session.score(passages(3)), session.generate([Request(prompt("q"), FREE, 1)] * 2)):
        next(answers)
        assert not torch.is_inference_mode_enabled()
        answers.close()


def test_the_context_is_the_conversation_and_the_prefill(session: LocalSession) -> None:
    asked = Prompt((Message("system", "S"), Message("user", "U")), "<think>\nSo")
    assert session.tokenizer.decode(session.tokens.context_ids(asked)) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n<think>\nSo"
    )


class Opens:
    """The tiny tokenizer under a template that opens the thinking itself, as reasoning models' templates do."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
        return self.inner.apply_chat_template(*args, **kwargs) + "<think>\n"


def test_a_template_that_opens_thinking_does_not_open_it_twice(session: LocalSession) -> None:
    opened = LocalSession("x", session.model, Opens(session.tokenizer), session.device)
    assert opened.tokens.context_ids(prompt("q", "<think>\nSo")) == session.tokens.context_ids(
        prompt("q", "<think>\nSo")
    )


def test_the_name_says_weights_precision_and_engine(session: LocalSession) -> None:
    assert session.name == "tiny-qwen3-64x2-s0/float32/transformers"


@pytest.mark.parametrize(("engine", "dtype", "other"), [("transformers", "fp8", "vllm"), ("sglang", "float32", "vllm")])
def test_a_precision_that_an_engine_does_not_compute_in_is_refused(
    engine: EngineName, dtype: Precision, other: str
) -> None:
    with pytest.raises(
        InputError, match=f"{engine} does not compute in {dtype}; choose dtype bfloat16.*engine={other}"
    ):
        LocalModel(TinyModel(), dtype, engine)
    assert LocalModel(TinyModel(), dtype, "vllm").dtype == dtype


def test_a_batch_is_followed_while_it_is_computed() -> None:
    seen: list[BatchProgress] = []
    short = Sampling(temperature=1.0, top_p=1.0, max_tokens=2)
    with LocalModel(TinyModel()).open(Device("cpu", generate_rows=2)) as opened:
        report_batches(opened, seen.append)
        replies = completions(opened, [Request(prompt("q"), sampling, 3) for sampling in (FREE, short)])
    assert [batch.rows for batch in seen] == [2] * max(reply.tokens for reply in replies)
    assert [batch.tokens for batch in seen[:3]] == [2, 4, 5], "the short row ends after two tokens"
    assert [batch.ended for batch in (seen[0], seen[1], seen[-1])] == [0, 1, 2]
    assert seen[-1].tokens == sum(reply.tokens for reply in replies)
