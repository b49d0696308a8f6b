"""Model calls remembered on disk: made once, never mistaken, and never a failure."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reer.models.protocols import Completion, Heard, Nats, Passage, Prompt, Request, Sampling, unheard
from reer.models.replay import Journal, ReplayedGenerator, ReplayedScorer, journal_for
from reer.types import Message

SAMPLING = Sampling(0.7, 0.9, 10)


class Model:
    """Counts what it is asked, and breaks down when told to."""

    def __init__(self, name: str = "model", broken: bool = False) -> None:
        self.name, self.broken = name, broken
        self.asked: list[list[str]] = []

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        self._count([r.prompt.messages[0].content for r in requests])
        return [
            Completion(f"{self.name}: {r.prompt.messages[0].content}/{r.seed} 想\u2028", "stop", 1, 2) for r in requests
        ]

    def score(self, passages: Sequence[Passage], heard: Heard = unheard) -> list[Nats | None]:
        self._count([p.answer for p in passages])
        return [None if p.answer == "too long" else (0.1, float(len(p.answer))) for p in passages]

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
    return generator(model, root).generate(requests), model.asked


def test_the_second_call_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    first, asked = ask(tmp_path, request("a"), request("b"))
    assert asked == [["a", "b"]]
    assert ask(tmp_path, request("a"), request("b")) == (first, [])


class Full(Model):
    """Has no room for anything."""

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        self._count([r.prompt.messages[0].content for r in requests])
        return [Completion("", "no_room", 9, 0) for _ in requests]


def test_what_found_no_room_is_asked_again(tmp_path: Path) -> None:
    full = Full()
    replies = generator(full, tmp_path).generate([request("a")])
    assert replies == generator(full, tmp_path).generate([request("a")])
    assert full.asked == [["a"], ["a"]]
    model, passages = Model(), [Passage(request("a").prompt, text) for text in ("too long", "fits")]
    for _ in range(2):
        assert ReplayedScorer(model, journal_for(tmp_path, "m")).score(passages) == [None, (0.1, 4.0)]
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
        request("a", sampling=Sampling(0.8, 0.9, 10)),
        request("a", sampling=Sampling(0.7, 0.9, 10, stop=("x",))),
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
        ReplayedGenerator(model, Journal(tmp_path)).generate([request("a")])
        assert model.asked == [["a"]]


@pytest.mark.parametrize(
    "tail", [b'{"key": "torn', b'{"key": "k", "answer": "\xe6\x83', b"\x00" * 64, b"[1]\n7\n", b'{"key": "k"}\n']
)
def test_a_torn_or_foreign_last_line_is_passed_over(tmp_path: Path, tail: bytes) -> None:
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
        generator(model, tmp_path).generate([request("a")])
    assert list(tmp_path.glob("**/*.jsonl")) == []
    assert ask(tmp_path, request("a"))[1] == [["a"]]


class Halting(Model):
    """Answers one call after another, and breaks down at one that says so."""

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        replies: list[Completion] = []
        for at, request in enumerate(requests):
            if request.prompt.messages[0].content == "break":
                raise RuntimeError("killed")
            replies += super().generate([request])
            heard([at], replies[-1:])
        return replies

    def score(self, passages: Sequence[Passage], heard: Heard = unheard) -> list[Nats | None]:
        scores: list[Nats | None] = []
        for at, passage in enumerate(passages):
            if passage.answer == "break":
                raise RuntimeError("killed")
            scores += super().score([passage])
            heard([at], scores[-1:])
        return scores


def test_only_the_call_in_flight_is_lost(tmp_path: Path) -> None:
    known, halting = ask(tmp_path, request("b"))[0], Halting()
    with pytest.raises(RuntimeError, match="killed"):
        generator(halting, tmp_path).generate([request(text) for text in ("a", "b", "c", "break", "d")])
    replies, asked = ask(tmp_path, *(request(text) for text in ("a", "b", "c", "d")))
    assert asked == [["d"]]
    assert replies[1:2] == known


def test_only_the_score_in_flight_is_lost(tmp_path: Path) -> None:
    passages = [Passage(request("q").prompt, answer) for answer in ("one", "too long", "three", "break", "four")]
    with pytest.raises(RuntimeError, match="killed"):
        ReplayedScorer(Halting(), journal_for(tmp_path, "model")).score(passages)
    model = Model()
    ReplayedScorer(model, journal_for(tmp_path, "model")).score(passages)
    assert model.asked == [["too long", "break", "four"]]


def test_what_was_heard_is_not_stored_twice(tmp_path: Path) -> None:
    generator(Halting(), tmp_path).generate([request("a"), request("b")])
    (file,) = tmp_path.glob("*/*.jsonl")
    assert len(file.read_text(encoding="utf-8").strip().split("\n")) == 2


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    ask(tmp_path, request("a"))
    replay = generator(Model(), tmp_path)
    replay.generate([request("a"), request("b"), request("b")])
    assert (replay.journal.hits, replay.journal.misses) == (2, 1)


def test_two_processes_write_apart_and_read_together(tmp_path: Path) -> None:
    left, right = generator(Model(), tmp_path), generator(Model(), tmp_path)
    left.generate([request("a")])
    right.generate([request("b")])
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 2
    assert ask(tmp_path, request("a"), request("b"))[1] == []


def test_no_requests_ask_nothing_and_write_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_scores_are_replayed_to_the_last_digit(tmp_path: Path) -> None:
    passages = [Passage(Prompt((Message("user", "q"),), "z"), answer) for answer in ("one", "three", "one")]
    first, second = Model(), Model()
    scores = ReplayedScorer(first, journal_for(tmp_path, "model")).score(passages)
    assert first.asked == [["one", "three"]]
    assert ReplayedScorer(second, journal_for(tmp_path, "model")).score(passages) == scores
    assert second.asked == []


def test_a_score_is_no_completion(tmp_path: Path) -> None:
    ask(tmp_path, request("a"))
    model = Model()
    ReplayedScorer(model, journal_for(tmp_path, "model")).score([Passage(request("a").prompt, "a")])
    assert model.asked == [["a"]]
