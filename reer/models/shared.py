"""Models that are loaded once: an engine's servers, and models in this process.

Whoever opens the same one shares it. Within `kept()` it stays after its last use until something else wants the
machine: a run whose next stage wants the same model does not load it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Loaded = TypeVar("Loaded")


@dataclass
class _Held(Generic[Loaded]):
    """What is loaded, how it is closed, and how many use it."""

    loaded: Loaded
    opened: ExitStack
    users: int = 0


@dataclass
class _Process:
    """All that this process shares, and how many want it kept."""

    shared: list[Shared[Any, Any]] = field(default_factory=list["Shared[Any, Any]"])
    keeps: int = 0
    lock: RLock = field(default_factory=RLock)


_process = _Process()


@contextmanager
def kept() -> Iterator[None]:
    """In this context what has no user stays loaded until `release` or the end of the context."""
    _process.keeps += 1
    try:
        yield
    finally:
        _process.keeps -= 1
        _release_unless_kept()


def release() -> None:
    """Close all that nobody uses, so that something else can have the memory."""
    with _process.lock, ExitStack() as unused:
        for shared in _process.shared:
            for opened in shared.take_unused():
                unused.push(opened)  # all are closed, also where closing one fails


def _release_unless_kept() -> None:
    if not _process.keeps:
        release()


class Shared(Generic[Key, Loaded]):
    """Loaded things of one kind by what they are. One without users counts only while it `is_usable`."""

    def __init__(self, is_usable: Callable[[Loaded], bool] = lambda _: True) -> None:
        self._held: dict[Key, _Held[Loaded]] = {}
        self._is_usable = is_usable
        _process.shared.append(self)

    @contextmanager
    def opened(self, key: Key, load: Callable[[], AbstractContextManager[Loaded]]) -> Generator[Loaded]:
        """The one with this key; where there is none, what nobody uses is closed first, and it is loaded."""
        with _process.lock:
            found = self._held.get(key)
            if found is None or not (found.users or self._is_usable(found.loaded)):
                release()
                with ExitStack() as opening:
                    found = self._held[key] = _Held(opening.enter_context(load()), ExitStack())
                    found.opened = opening.pop_all()
            found.users += 1
        try:
            yield found.loaded
        finally:
            with _process.lock:
                found.users -= 1
            del found
            _release_unless_kept()

    def take_unused(self) -> list[ExitStack]:
        """Give away those without a user: what closes each, and no longer what is loaded, so that this frees memory."""
        return [self._held.pop(key).opened for key, held in list(self._held.items()) if not held.users]

    def all(self) -> tuple[Loaded, ...]:
        """Those that are loaded now, used or kept."""
        return tuple(held.loaded for held in self._held.values())
