"""Judgements on disk: what a judge was asked and what it said, found again by what was asked.

The same question is never paid twice, whichever arm or machine asks it; whoever has the records can make every table
anew without a key. Each process appends to a file of its own; readers take them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reer.models.protocols import Completion, Request, Sampling
from reer.types import Message

SYNC_SECONDS = 1.0  # a power cut loses at most this; a killed process loses nothing that was written


@dataclass(frozen=True)
class Question:
    """One thing asked of a judge. `judge` names weights or model, engine, and what is left unsent; `attempt` counts
    asks after replies that were no verdict, `repeat` tells verdicts apart that are meant to be repeated."""

    benchmark: str
    item_id: str
    criterion: str
    judge: str
    request: Request
    attempt: int
    repeat: str = ""

    @cached_property
    def key(self) -> str:
        """What the answer depends on, hashed: benchmark version, judge, messages, sampling, seed, repeat."""
        request, sampling = self.request, self.request.sampling
        turns = [[message.role, message.content] for message in request.prompt.messages]
        asked = [turns, request.prompt.prefill, vars(sampling), request.seed]
        payload = json.dumps([self.benchmark, self.judge, asked, self.repeat], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(payload.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Judgement:
    """A question with its answer. `status` is `read`, or why the reply is no verdict, as it was parsed then; `served`
    is the model that the server says answered; `seconds` None where answers are computed together."""

    key: str
    benchmark: str
    item_id: str
    criterion: str
    judge: str
    messages: tuple[Message, ...]
    prefill: str
    sampling: Sampling
    seed: int
    attempt: int
    repeat: str
    reply: str
    stopped: str
    status: str
    prompt_tokens: int
    tokens: int
    seconds: float | None
    served: str
    usd: float
    asked_at: str

    @property
    def lasts(self) -> bool:
        """False for what was no answer: the server had no room, or refused; it is asked again another time."""
        return self.stopped in ("stop", "length")

    @property
    def completion(self) -> Completion:
        """The answer as the model gave it."""
        stopped: Any = self.stopped
        return Completion(self.reply, stopped, self.prompt_tokens, self.tokens, self.seconds, self.served)


def judgement(question: Question, reply: Completion, status: str, usd: float) -> Judgement:
    """The record of an answer."""
    request, prompt, now = question.request, question.request.prompt, time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return Judgement(
        question.key,
        question.benchmark,
        question.item_id,
        question.criterion,
        question.judge,
        prompt.messages,
        prompt.prefill,
        request.sampling,
        request.seed,
        question.attempt,
        question.repeat,
        reply.text,
        reply.stopped,
        status,
        reply.prompt_tokens,
        reply.tokens,
        reply.seconds,
        reply.served,
        usd,
        now,
    )


_RECORD = TypeAdapter(Judgement)


@dataclass(frozen=True)
class _Place:
    file: Path
    start: int
    length: int


class Judgements:
    """The records in a folder. In memory are their places alone; `usd` is what they have cost in all. A torn or foreign
    line is passed over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.usd = folder, 0.0
        self._places: dict[str, _Place] = {}
        self._read_to: dict[Path, int] = {}
        self._synced = time.monotonic()
        self._file = folder / f"{uuid.uuid4().hex}.jsonl"
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since, by whatever process."""
        for file in sorted(self.folder.glob("*.jsonl")):
            at = self._read_to.setdefault(file, 0)
            if file != self._file and file.stat().st_size > at:
                self._read(file, at)

    def _read(self, file: Path, at: int) -> None:
        with file.open("rb") as stream:
            stream.seek(at)
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # still being written, or torn
                self._note(line, _Place(file, at, len(line)))
                at += len(line)
        self._read_to[file] = at

    def _note(self, line: bytes, place: _Place) -> None:
        try:
            row = json.loads(line)
            key, usd, stopped = row["key"], float(row["usd"]), row["stopped"]
        except (ValueError, KeyError, TypeError):
            return
        self.usd += usd
        if stopped in ("stop", "length"):
            self._places.setdefault(key, place)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: str) -> Judgement | None:
        """The first answer to a question, if there is one."""
        if key not in self._places:
            return None
        place = self._places[key]
        with place.file.open("rb") as stream:
            stream.seek(place.start)
            return _RECORD.validate_python(json.loads(stream.read(place.length)))

    def keep(self, found: Judgement) -> None:
        """Add a record, at once."""
        line = (json.dumps(vars(found), ensure_ascii=False, default=vars) + "\n").encode("utf-8", "surrogatepass")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as stream:
            place = _Place(self._file, stream.tell(), len(line))
            stream.write(line)
            stream.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._synced = time.monotonic()
                os.fsync(stream.fileno())
        self._note(line, place)

    def close(self) -> None:
        """Make sure that all of it is on the disk."""
        if self._file.exists():
            with self._file.open("ab") as stream:
                os.fsync(stream.fileno())
