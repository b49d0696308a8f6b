"""Model calls stored on disk: made once, never mistaken for one another, and never a failure."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.calls import all_of
from reer.errors import Incomplete
from reer.logs import seal
from reer.models.protocols import (
    Completion,
    ConcurrentGenerator,
    ConcurrentScorer,
    Nats,
    Passage,
    Prompt,
    Request,
    Sampling,
)
from reer.models.replay import (
    Journal,
    ReplayedGenerator,
    ReplayedScorer,
    decode_nats,
    encode_nats,
    journal_for,
    replayed_generator,
    replayed_scorer,
)
from reer.types import Message
from tests.fakes.calls import completions, scores
from tests.fakes.virtual_time import in_virtual_time

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=10)


class Model:
    """Records what it is asked, and fails when `broken`."""

    def __init__(self, name: str = "model", broken: bool = False) -> None:
        self.name, self.broken = name, broken
        self.asked: list[list[str]] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self._count([r.prompt.messages[0].content for r in requests])
        for i, request in enumerate(requests):
            text = f"{self.name}: {request.prompt.messages[0].content}/{request.seed} 想\u2028"
            yield i, Completion(text=text, stopped="stop", prompt_tokens=1, tokens=2)

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        self._count([p.answer for p in passages])
        for i, passage in enumerate(passages):
            yield i, None if passage.answer == "too long" else (0.1, float(len(passage.answer)))

    def _count(self, texts: list[str]) -> None:
        self.asked.append(texts)
        if self.broken:
            raise RuntimeError("out of memory")


def request(text: str, seed: int = 0, sampling: Sampling = SAMPLING) -> Request:
    return Request(Prompt((Message("user", text),), "pre"), sampling, seed)


def generator(model: Model, root: Path) -> ReplayedGenerator:
    return ReplayedGenerator(model, journal_for(root, model.name))


def ask(root: Path, *requests: Request, name: str = "model") -> tuple[list[Completion], list[list[str]]]:
    model = Model(name)
    return completions(generator(model, root), requests), model.asked


def test_the_second_call_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    first, asked = ask(tmp_path, request("a"), request("b"))
    assert asked == [["a", "b"]]
    assert ask(tmp_path, request("a"), request("b")) == (first, [])


class Full(Model):
    """Finds every prompt too long."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self._count([r.prompt.messages[0].content for r in requests])
        yield from (
            (i, Completion(text="", stopped="prompt_too_long", prompt_tokens=9, tokens=0)) for i in range(len(requests))
        )


def test_a_prompt_that_was_too_long_is_sent_again(tmp_path: Path) -> None:
    full = Full()
    replies = completions(generator(full, tmp_path), [request("a")])
    assert replies == completions(generator(full, tmp_path), [request("a")])
    assert full.asked == [["a"], ["a"]]
    model, passages = Model(), [Passage(request("a").prompt, text) for text in ("too long", "fits")]
    for _ in range(2):
        assert scores(ReplayedScorer(model, journal_for(tmp_path, "m")), passages) == [None, (0.1, 4.0)]
    assert model.asked == [["too long", "fits"], ["too long"]]


def test_only_the_difference_is_asked_and_the_order_kept(tmp_path: Path) -> None:
    ask(tmp_path, request("b"))
    replies, asked = ask(tmp_path, request("a"), request("b"), request("c"))
    assert asked == [["a", "c"]]
    assert [reply.text[:8] for reply in replies] == ["model: a", "model: b", "model: c"]


def test_an_equal_call_in_one_batch_is_made_once(tmp_path: Path) -> None:
    replies, asked = ask(tmp_path, request("a"), request("b"), request("a"))
    assert asked == [["a", "b"]]
    assert replies[0] == replies[2]


@pytest.mark.parametrize(
    "other",
    [
        request("a", seed=1),
        request("A"),
        request("a", sampling=Sampling(temperature=0.8, top_p=0.9, max_tokens=10)),
        request("a", sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=10, stop=("x",))),
        Request(Prompt((Message("system", "a"),), "pre"), SAMPLING, 0),
        Request(Prompt((Message("user", "a"),)), SAMPLING, 0),
    ],
)
def test_any_difference_in_a_call_is_another_call(tmp_path: Path, other: Request) -> None:
    ask(tmp_path, request("a"))
    assert len(ask(tmp_path, other)[1]) == 1


def test_another_model_never_hits(tmp_path: Path) -> None:
    ask(tmp_path, request("a"), name="one/float32")
    replies, asked = ask(tmp_path, request("a"), name="one/bfloat16")
    assert asked == [["a"]]
    assert replies[0].text.startswith("one/bfloat16")


def test_another_model_does_not_hit_even_in_the_same_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        model = Model(name)
        completions(ReplayedGenerator(model, Journal(tmp_path)), [request("a")])
        assert model.asked == [["a"]]


OLD_ROW = b'{"key": "%032d", "answer": [0.5]}\n' % 0


@pytest.mark.parametrize(
    "tail",
    [b'{"key": "torn', b'{"key": "k", "answer": "\xe6\x83', b"\x00" * 64, b"[1]\n7\n", b'{"key": "k"}\n', OLD_ROW],
)
def test_a_torn_or_foreign_last_line_is_skipped(tmp_path: Path, tail: bytes) -> None:
    ask(tmp_path, request("a"))
    (file,) = tmp_path.glob("*/*.jsonl")
    file.write_bytes(file.read_bytes() + tail)
    assert ask(tmp_path, request("a"), request("b"))[1] == [["b"]]


def test_a_line_torn_within_an_answer_is_asked_again(tmp_path: Path) -> None:
    ask(tmp_path, request("a"), request("b"))
    (file,) = tmp_path.glob("*/*.jsonl")
    file.write_bytes(file.read_bytes()[:-9])
    assert ask(tmp_path, request("a"), request("b"))[1] == [["b"]]


def test_a_failure_stores_nothing(tmp_path: Path) -> None:
    model = Model(broken=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        completions(generator(model, tmp_path), [request("a")])
    assert list(tmp_path.glob("**/*.jsonl")) == []
    assert ask(tmp_path, request("a"))[1] == [["a"]]


class Halting(Model):
    """Answers one call after another, and fails at the one that says `break`."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for i, request in enumerate(requests):
            if request.prompt.messages[0].content == "break":
                raise RuntimeError("killed")
            yield from ((i, reply) for _, reply in super().generate([request]))

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        for i, passage in enumerate(passages):
            if passage.answer == "break":
                raise RuntimeError("killed")
            yield from ((i, nats) for _, nats in super().score([passage]))


def test_only_the_call_in_flight_is_lost(tmp_path: Path) -> None:
    known, halting = ask(tmp_path, request("b"))[0], Halting()
    with pytest.raises(RuntimeError, match="killed"):
        completions(generator(halting, tmp_path), [request(text) for text in ("a", "b", "c", "break", "d")])
    replies, asked = ask(tmp_path, *(request(text) for text in ("a", "b", "c", "d")))
    assert asked == [["d"]]
    assert replies[1:2] == known


def test_only_the_score_in_flight_is_lost(tmp_path: Path) -> None:
    passages = [Passage(request("q").prompt, answer) for answer in ("one", "too long", "three", "break", "four")]
    with pytest.raises(RuntimeError, match="killed"):
        scores(ReplayedScorer(Halting(), journal_for(tmp_path, "model")), passages)
    model = Model()
    scores(ReplayedScorer(model, journal_for(tmp_path, "model")), passages)
    assert model.asked == [["too long", "break", "four"]]


def test_an_answer_is_stored_once(tmp_path: Path) -> None:
    completions(generator(Halting(), tmp_path), [request("a"), request("b")])
    (file,) = tmp_path.glob("*/*.jsonl")
    assert len(file.read_text(encoding="utf-8").strip().split("\n")) == 2


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    ask(tmp_path, request("a"))
    replay = generator(Model(), tmp_path)
    completions(replay, [request("a"), request("b"), request("b")])
    assert (replay.journal.hits, replay.journal.misses) == (2, 1)


def test_two_processes_write_apart_and_read_together(tmp_path: Path) -> None:
    left, right = generator(Model(), tmp_path), generator(Model(), tmp_path)
    completions(left, [request("a")])
    completions(right, [request("b")])
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 2
    assert ask(tmp_path, request("a"), request("b"))[1] == []


def test_no_requests_ask_nothing_and_write_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_scores_are_replayed_to_the_last_digit(tmp_path: Path) -> None:
    passages = [Passage(Prompt((Message("user", "q"),), "z"), answer) for answer in ("one", "three", "one")]
    first, second = Model(), Model()
    computed = scores(ReplayedScorer(first, journal_for(tmp_path, "model")), passages)
    assert first.asked == [["one", "three"]]
    assert scores(ReplayedScorer(second, journal_for(tmp_path, "model")), passages) == computed
    assert second.asked == []


def test_a_score_is_no_completion(tmp_path: Path) -> None:
    ask(tmp_path, request("a"))
    model = Model()
    scores(ReplayedScorer(model, journal_for(tmp_path, "model")), [Passage(request("a").prompt, "a")])
    assert model.asked == [["a"]]


def test_nothing_is_called_before_the_iterator_is_consumed(tmp_path: Path) -> None:
    model = Model()
    replies = generator(model, tmp_path).generate([request("a")])
    assert model.asked == []
    next(replies)
    assert model.asked == [["a"]]


def test_an_iterator_that_is_closed_half_way_keeps_what_it_yielded_and_closes_the_models(tmp_path: Path) -> None:
    closed: list[bool] = []

    class Watched(Model):
        def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
            try:
                yield from super().generate(requests)
            finally:
                closed.append(True)

    replies = generator(Watched(), tmp_path).generate([request(text) for text in "abc"])
    next(replies)
    replies.close()
    assert closed == [True]
    assert ask(tmp_path, *(request(text) for text in "abc"))[1] == [["b", "c"]]


def test_stored_answers_come_first_and_need_no_model(tmp_path: Path) -> None:
    ask(tmp_path, request("b"))
    replies = generator(Model(broken=True), tmp_path).generate([request("a"), request("b")])
    assert next(replies)[0] == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        next(replies)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from reer.models.replay import ReplayedGenerator, journal_for
from tests.reer.models.test_replay import Model, request
replies = ReplayedGenerator(Model(), journal_for(Path(sys.argv[1]), "model")).generate([request(t) for t in "abcd"])
next(replies), next(replies)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_arrived_before_a_kill_is_on_disk(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert ask(tmp_path, *(request(text) for text in "abcd"))[1] == [["c", "d"]]


def test_rows_of_another_form_are_skipped_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ask(tmp_path, request("a"))
    (file,) = tmp_path.glob("*/*.jsonl")
    (file.parent / "old.jsonl").write_bytes(b'{"key": "%032x", "answer": [0.5]}\n' % 5)
    with caplog.at_level(logging.WARNING):
        assert ask(tmp_path, request("a"))[1] == []
        assert ask(tmp_path, request("a"))[1] == []
    assert [message.partition("old")[2] for message in caplog.messages] == [
        ".jsonl: 1 lines are damaged; they are left out, with a copy in old.damaged"
    ], "reported once, however often the log is opened"
    assert (file.parent / "old.damaged").read_bytes() == (file.parent / "old.jsonl").read_bytes()


@pytest.mark.parametrize(
    "damage",
    ['"float32": "AAA="', '"float64": "AAAA"', '"float16": "AAAA"', '"float32": 3', "", '"float32": "AACAfw=="'],
)
def test_a_score_that_cannot_be_read_is_computed_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    passage = Passage(request("q").prompt, "one")
    scores(ReplayedScorer(Model(), journal_for(tmp_path, "model")), [passage])
    (file,) = tmp_path.glob("*/*.jsonl")
    stored = json.loads(file.read_bytes())
    file.write_bytes(seal({"key": stored["key"], "nats": json.loads(f"{{{damage}}}")}))
    model = Model()
    assert scores(ReplayedScorer(model, journal_for(tmp_path, "model")), [passage]) == [(0.1, 3.0)]
    assert model.asked == [["one"]]
    assert any("made again" in message for message in caplog.messages)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1).map(tuple))
def test_what_a_model_computes_is_stored_in_four_bytes_and_equal(nats: Nats) -> None:
    stored = encode_nats(nats)
    assert set(stored) == {"float32"}
    assert decode_nats(stored) == nats


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1).map(tuple))
def test_any_score_is_replayed_as_it_was(nats: Nats) -> None:
    """A comparison of a replayed run can never end differently, because no digit is lost."""
    assert decode_nats(encode_nats(nats)) == nats
    assert ("float32" in encode_nats(nats)) == (tuple(array("f", nats)) == nats)


class Serving(Model):
    """Answers single requests, after a second; those with `fail` in their text not at all."""

    async def complete(self, request: Request) -> Completion:
        text = request.prompt.messages[0].content
        self._count([text])
        await asyncio.sleep(1)
        if "fail" in text:
            raise Incomplete("no answer")
        stopped = "refused" if "bad" in text else "stop"
        return Completion(text=text, stopped=stopped, prompt_tokens=1, tokens=2)

    async def nats_of(self, passage: Passage) -> Nats | None:
        self._count([passage.answer])
        return None if passage.answer == "too long" else (0.1, float(len(passage.answer)))


def completed(model: Serving, root: Path, *texts: str) -> list[Completion]:
    """The completions of requests that are in flight together."""
    session = replayed_generator(model, journal_for(root, model.name))
    assert isinstance(session, ConcurrentGenerator)
    return in_virtual_time(lambda: all_of(session.complete(request(text)) for text in texts))


def test_equal_calls_in_flight_are_made_once_and_stored_ones_never_again(tmp_path: Path) -> None:
    first, second = Serving(), Serving()
    replies = completed(first, tmp_path, "a", "b", "a")
    assert sorted(first.asked) == [["a"], ["b"]]
    assert replies[0] == replies[2] != replies[1]
    assert completed(second, tmp_path, "a", "b", "c")[:2] == replies[:2]
    assert second.asked == [["c"]]


def test_a_call_in_flight_that_fails_is_not_stored_and_costs_no_other(tmp_path: Path) -> None:
    with pytest.raises(Incomplete):
        completed(Serving(), tmp_path, "a", "fail", "bad", "fail", "b")
    model = Serving()
    with pytest.raises(Incomplete):
        completed(model, tmp_path, "a", "fail", "bad", "b")
    assert sorted(model.asked) == [["bad"], ["fail"]]


def test_calls_in_flight_and_calls_in_batches_share_their_answers(tmp_path: Path) -> None:
    """What was asked in one way is replayed in the other: the key is that of the call."""
    passages = [Passage(request("q").prompt, text) for text in ("one", "too long", "three")]
    first, second = Serving(), Serving()
    session = replayed_scorer(first, journal_for(tmp_path, "model"))
    assert isinstance(session, ConcurrentScorer)
    nats = in_virtual_time(lambda: all_of(session.nats_of(passage) for passage in passages))
    assert scores(ReplayedScorer(second, journal_for(tmp_path, "model")), passages) == nats
    assert second.asked == [["too long"]]


def test_a_model_that_takes_batches_is_replayed_in_batches(tmp_path: Path) -> None:
    assert not isinstance(replayed_generator(Model(), journal_for(tmp_path, "m")), ConcurrentGenerator)
    assert not isinstance(replayed_scorer(Model(), journal_for(tmp_path, "m")), ConcurrentScorer)
