"""Many requests to one generator: a server always has as many as it may, a model in this process gets whole batches."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from reer.calls import event_loop
from reer.errors import Incomplete
from reer.models.protocols import Completion, Request, generated
from tests.fakes.http import request
from tests.fakes.virtual_time import VirtualTimeLoop


def said(request: Request) -> Completion:
    return Completion(text=request.prompt.messages[0].content, stopped="stop", prompt_tokens=1, tokens=1)


class InProcess:
    """Records the batches that it gets."""

    name = "in process"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.batches.append([said(request).text for request in requests])
        yield from reversed([(i, said(request)) for i, request in enumerate(requests)])


class Server(InProcess):
    """Answers after the seconds that a prompt names; 13 has no answer. Records the most requests at a time."""

    now = most = begun = 0

    async def complete(self, request: Request) -> Completion:
        self.begun, self.now = self.begun + 1, self.now + 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(float(said(request).text))
        finally:
            self.now -= 1
        if said(request).text == "13":
            raise Incomplete("no answer")
        return said(request)


def test_a_model_in_this_process_gets_batches_in_order() -> None:
    model = InProcess()
    replies = list(generated(model, [request(str(n)) for n in range(5)], 2))
    assert model.batches == [["0", "1"], ["2", "3"], ["4"]]
    assert sorted((at, reply.text) for at, reply in replies) == [(n, str(n)) for n in range(5)]


def test_a_slow_answer_of_a_server_holds_up_no_other() -> None:
    server, seconds = Server(), [90, 3, 2, 1, 4, 5]
    with event_loop(VirtualTimeLoop) as runner:
        replies = list(generated(server, [request(str(n)) for n in seconds], 2))
        assert runner.get_loop().time() == 90
    assert [at for at, _ in replies] == [1, 2, 3, 4, 5, 0]
    assert (server.most, server.batches) == (2, [])


def test_a_call_without_an_answer_ends_the_work_after_those_in_flight() -> None:
    server, came = Server(), list[str]()
    with event_loop(VirtualTimeLoop), pytest.raises(Incomplete, match="no answer"):
        came += [reply.text for _, reply in generated(server, [request(n) for n in ("1", "13", "2", "30", "4")], 2)]
    assert (server.begun, server.now) == (4, 0)


def test_an_iterator_that_is_dropped_leaves_no_call_in_flight() -> None:
    server = Server()
    with event_loop(VirtualTimeLoop):
        replies = iter(generated(server, [request(str(n)) for n in (1, 50, 60)], 3))
        assert next(replies)[0] == 0
        del replies
        assert server.now == 0
