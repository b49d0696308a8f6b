"""Judgements on disk: what a judge was asked and what it said, found again by what was asked.

The same question is never paid twice, whichever arm or machine asks it; whoever has the records can make every table
anew without a key. Each process appends to a file of its own; readers take them all.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reer.files import AppendLog, Entry, JsonObject
from reer.models.protocols import Completion, Request, Sampling
from reer.types import Message


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


def _entry(row: JsonObject) -> Entry:
    """The entry of a row; one that holds no answer is not found again. Raises KeyError, TypeError or ValueError for
    what is not a judgement."""
    lasts = row["stopped"] in ("stop", "length")
    return Entry(str(row["key"]) if lasts else "", float(row["usd"]))


class Judgements:
    """The judgements in a folder (see `reer.files.AppendLog`): their keys are in memory, the records on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = AppendLog(folder, _entry)

    @property
    def usd(self) -> float:
        """What all records in the folder have cost together."""
        return self._log.amount

    def refresh(self) -> None:
        """Learn of records that other processes have written since."""
        self._log.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._log

    def __len__(self) -> int:
        return len(self._log)

    def find(self, key: str) -> Judgement | None:
        """The first answer to a question, if there is one."""
        row = self._log.get(key)
        return None if row is None else _RECORD.validate_python(row)

    def keep(self, record: Judgement) -> None:
        """Add a record, at once."""
        self._log.append(asdict(record))

    def close(self) -> None:
        """Wait until all records are on the disk."""
        self._log.sync()
