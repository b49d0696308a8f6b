"""A model is loaded once for all who open it, and kept only as long as nothing else wants the machine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel, LocalSession
from reer.models.protocols import Device, Passage, Prompt, Request, Sampling
from reer.models.shared import Shared, kept, release
from reer.types import Message
from tests.fakes.calls import completions, scores
from tests.fakes.engines import device, processes, tiny
from tests.fakes.memory import is_freed, weights

HERE, OTHER = LocalModel(TinyModel()), LocalModel(TinyModel(seed=1))
ASKED = [Request(Prompt((Message("user", "a question"),)), Sampling(temperature=1.0, top_p=1.0, max_tokens=9), seed=3)]
WANTED = [Passage(Prompt((Message("user", "a question"),)), "an answer")]


def test_a_model_in_this_process_is_loaded_once_for_stages_that_follow_one_another() -> None:
    with kept():
        first = weights(HERE)
        assert weights(HERE)() is first() is not None
        other = weights(OTHER)
        assert is_freed(first), "another model wants the machine"
        release()
        assert is_freed(other), "the training wants it"
    assert is_freed(weights(HERE)), "nobody keeps it"


def test_what_it_says_does_not_depend_on_who_opened_it_before() -> None:
    def said() -> tuple[Any, Any]:
        with HERE.open(Device("cpu")) as session:
            return completions(session, ASKED), scores(session, WANTED)

    alone = said()
    with kept():
        assert [said(), said()] == [alone, alone]


def test_two_at_a_time_share_the_weights_and_the_first_to_end_takes_none_away() -> None:
    with HERE.open(Device("cpu")) as stays:
        with HERE.open(Device("cpu")) as ends:
            assert isinstance(stays, LocalSession)
            assert isinstance(ends, LocalSession)
            assert ends.model is stays.model
        assert completions(stays, ASKED)


def test_a_server_and_a_model_in_this_process_make_room_for_each_other() -> None:
    with kept():
        here = weights(HERE)
        with tiny().open(device()):
            assert is_freed(here)
        assert processes()
        here = weights(HERE)
        assert not processes()
        assert not is_freed(here)
    assert is_freed(here)


def test_what_cannot_be_loaded_is_not_shared_and_ends_nothing_else() -> None:
    shared, closed = Shared[str, str](), list[str]()

    @contextmanager
    def loaded(name: str) -> Iterator[str]:
        if name == "broken":
            raise OSError("cannot be read")
        yield name
        closed.append(name)

    with kept(), shared.opened("whole", lambda: loaded("whole")):
        for _ in range(2):
            with pytest.raises(OSError, match="cannot be read"), shared.opened("broken", lambda: loaded("broken")):
                pass
        assert shared.all() == ("whole",)
        assert closed == []
    assert closed == ["whole"]


def test_one_that_cannot_be_closed_keeps_no_other_open() -> None:
    shared, closed = Shared[str, str](), list[str]()

    @contextmanager
    def loaded(name: str) -> Iterator[str]:
        try:
            yield name
        finally:
            closed.append(name)
        if name == "broken":
            raise OSError("its folder cannot be removed")

    def opened(name: str) -> AbstractContextManager[str]:
        return shared.opened(name, lambda: loaded(name))

    with kept():
        with opened("first"), opened("broken"), opened("last"):
            pass
        with pytest.raises(OSError, match="cannot be removed"):
            release()
        assert sorted(closed) == ["broken", "first", "last"]
        assert shared.all() == ()
