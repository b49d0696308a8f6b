"""Model calls stored on disk: the same call to the same model is made only once.

A stage that was killed replays the calls it had made; another arm, a larger K or a higher step limit makes only the
calls that are new. Failures, and scores that are not finite, are never stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from reer.files import JsonObject, adapter
from reer.logs import AppendLog, Entry
from reer.models.protocols import (
    Completion,
    ConcurrentGenerator,
    ConcurrentScorer,
    Generator,
    Nats,
    Passage,
    Request,
    Scorer,
)

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Codec(Generic[Answer]):
    """How answers of one kind are stored: under `field` of a row, and only if `cacheable`. `decode` raises ValueError,
    TypeError or KeyError for what `encode` did not make."""

    field: str
    encode: Callable[[Answer], JsonObject]
    decode: Callable[[JsonObject], Answer]
    cacheable: Callable[[Answer], bool]


class Journal:
    """Stored answers of one model, by the hash of the call (see `reer.logs.AppendLog`).

    A row is `{"key": ..., "completion": {...}}` with the fields of a Completion, or `{"key": ..., "nats": {...}}` with
    one of `float32` and `float64`: the numbers as little-endian bytes in base64. They are stored as float32 where that
    loses nothing, which holds for what models compute, and as float64 otherwise, so that a replayed score always equals
    the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.log = AppendLog(folder, _entry)
        self.hits = self.misses = 0
        self._in_flight: dict[str, asyncio.Future[Any]] = {}

    def answers(
        self, keys: Sequence[str], codec: Codec[Answer], ask: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]]
    ) -> Iterator[tuple[int, Answer]]:
        """An answer for each key, with its index: those that are stored first, then those that `ask` gets for the
        indexes it is given (once for equal keys), each stored before it is handed on."""
        positions: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            positions.setdefault(key, []).append(i)
        missing: list[str] = []
        for key, indexes in positions.items():
            stored = self._stored(key, codec)
            if stored is None:
                missing.append(key)
            else:
                self.hits += len(indexes)
                yield from ((i, stored) for i in indexes)
        if not missing:
            return
        self.misses += len(missing)
        self.hits += sum(len(positions[key]) - 1 for key in missing)
        try:
            for at, answer in ask([positions[key][0] for key in missing]):
                self._store(missing[at], codec, answer)
                yield from ((i, answer) for i in positions[missing[at]])
        finally:
            self.log.sync()

    async def answer(self, key: str, codec: Codec[Answer], ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of one key: the stored one, that of an equal call in flight, or else what `ask` gets, stored as
        soon as it is there."""
        stored = self._stored(key, codec)
        if stored is not None:
            self.hits += 1
            return stored
        if (same := self._in_flight.get(key)) is not None:
            self.hits += 1
            return await same
        self.misses += 1
        asked = self._in_flight[key] = asyncio.ensure_future(self._asked(key, codec, ask))
        try:
            return await asked
        finally:
            del self._in_flight[key]

    async def _asked(self, key: str, codec: Codec[Answer], ask: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await ask()
        self._store(key, codec, answer)
        return answer

    def _store(self, key: str, codec: Codec[Answer], answer: Answer) -> None:
        if codec.cacheable(answer):
            self.log.append({"key": key, codec.field: codec.encode(answer)})

    def _stored(self, key: str, codec: Codec[Answer]) -> Answer | None:
        row = self.log.get(key)
        if row is None:
            return None
        try:
            return codec.decode(row[codec.field])
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s: the call %s is made again, because its row is unreadable: %s", self.log.folder, key, error)
            return None


def _entry(row: JsonObject) -> Entry:
    """The entry of a row. Raises KeyError or TypeError for what is not a row of a journal."""
    if not isinstance(row["completion"] if "completion" in row else row["nats"], dict):
        raise TypeError("want an object")
    return Entry(row["key"])


def journal_for(root: Path, model: str) -> Journal:
    """The journal of one model under a store's root."""
    return Journal(root / hashlib.sha256(model.encode()).hexdigest()[:16])


def _key(kind: str, model: str, call: Request | Passage) -> str:
    content = {name: value for name, value in asdict(call).items() if name != "group" and value is not None}
    payload = json.dumps([kind, model, content], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(payload.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def encode_nats(nats: Nats) -> JsonObject:
    """Numbers as base64 of little-endian bytes: float32 where all of them are float32 values, else float64."""
    single, double = array("f", nats), array("d", nats)
    exact = list(single) == list(double)
    numbers = single if exact else double
    if sys.byteorder == "big":
        numbers.byteswap()
    return {"float32" if exact else "float64": b64encode(numbers.tobytes()).decode("ascii")}


def decode_nats(stored: JsonObject) -> Nats:
    """The finite numbers of `encode_nats`. Raises KeyError, TypeError or ValueError for anything else."""
    ((name, text),) = stored.items()
    numbers = array({"float32": "f", "float64": "d"}[name])
    numbers.frombytes(b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a score is not finite")
    return tuple(numbers)


def _decode_completion(stored: JsonObject) -> Completion:
    try:
        return adapter(Completion).validate_python(stored)
    except ValidationError as error:
        raise ValueError(str(error).splitlines()[0]) from None


_COMPLETIONS = Codec[Completion]("completion", asdict, _decode_completion, lambda c: c.stopped in ("stop", "length"))
_NATS = Codec["Nats | None"](
    "nats",
    lambda nats: encode_nats(nats or ()),
    decode_nats,
    lambda nats: nats is not None and all(map(math.isfinite, nats)),
)


class ReplayedGenerator:
    """A Generator that makes only the calls its journal does not hold. A prompt that was too long, or was refused, is
    sent again next time: the cause may be a server's setting, which is no part of the key."""

    def __init__(self, inner: Generator, journal: Journal) -> None:
        self.inner, self.journal, self.name = inner, journal, inner.name

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`; an answer is handed to the operating system before it is handed on."""
        keys = [_key("generate", self.name, request) for request in requests]
        yield from self.journal.answers(
            keys, _COMPLETIONS, lambda missing: self.inner.generate([requests[i] for i in missing])
        )


class ReplayedScorer:
    """A Scorer that makes only the calls its journal does not hold; a passage that is too long is sent again."""

    def __init__(self, inner: Scorer, journal: Journal) -> None:
        self.inner, self.journal, self.name = inner, journal, inner.name

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`; an answer is handed to the operating system before it is handed on."""
        keys = [_key("score", self.name, passage) for passage in passages]
        yield from self.journal.answers(keys, _NATS, lambda missing: self.inner.score([passages[i] for i in missing]))


class ReplayedConcurrentGenerator(ReplayedGenerator):
    """A ReplayedGenerator that takes requests one at a time, too."""

    def __init__(self, inner: ConcurrentGenerator, journal: Journal) -> None:
        super().__init__(inner, journal)
        self.concurrent = inner

    async def complete(self, request: Request) -> Completion:
        """See `ConcurrentGenerator`."""
        key = _key("generate", self.name, request)
        return await self.journal.answer(key, _COMPLETIONS, lambda: self.concurrent.complete(request))


class ReplayedConcurrentScorer(ReplayedScorer):
    """A ReplayedScorer that takes passages one at a time, too."""

    def __init__(self, inner: ConcurrentScorer, journal: Journal) -> None:
        super().__init__(inner, journal)
        self.concurrent = inner

    async def nats_of(self, passage: Passage) -> Nats | None:
        """See `ConcurrentScorer`."""
        key = _key("score", self.name, passage)
        return await self.journal.answer(key, _NATS, lambda: self.concurrent.nats_of(passage))


def replayed_generator(inner: Generator, journal: Journal) -> ReplayedGenerator:
    """A generator that makes only the calls its journal does not hold, and takes requests as `inner` does."""
    if isinstance(inner, ConcurrentGenerator):
        return ReplayedConcurrentGenerator(inner, journal)
    return ReplayedGenerator(inner, journal)


def replayed_scorer(inner: Scorer, journal: Journal) -> ReplayedScorer:
    """A scorer that makes only the calls its journal does not hold, and takes passages as `inner` does."""
    if isinstance(inner, ConcurrentScorer):
        return ReplayedConcurrentScorer(inner, journal)
    return ReplayedScorer(inner, journal)
