"""Judgements on disk: every question to a judge with its reply, found again by the question.

The same question is never paid for twice, whichever arm or machine asks it, and with the records every table can be
rebuilt without an API key.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from reer.files import JsonObject, adapter
from reer.logs import AppendLog, Entry
from reer.models.protocols import Completion, Request, Sampling, StopReason
from reer.types import Message


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question to a judge. `judge` identifies the model, the engine and parameters left out; `attempt` counts
    retries after invalid replies; `repeat` distinguishes verdicts that are repeated on purpose."""

    benchmark: str
    item_id: str
    criterion: str
    judge: str
    request: Request
    attempt: int
    repeat: str = ""

    @cached_property
    def key(self) -> str:
        """A hash of everything that the answer depends on: benchmark version, judge, prompt, sampling, seed, schema,
        repeat."""
        request, sampling = self.request, self.request.sampling
        turns = [[message.role, message.content] for message in request.prompt.messages]
        content = [turns, request.prompt.prefill, vars(sampling), request.seed]
        content += [request.schema] if request.schema is not None else []
        payload = json.dumps([self.benchmark, self.judge, content, self.repeat], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(payload.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A question with its reply. `status` is `read`, or why the reply was invalid when it was parsed; `served` is the
    model name that the server reported; `seconds` is None where replies are computed together."""

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
    stopped: StopReason
    status: str
    prompt_tokens: int
    tokens: int
    seconds: float | None
    served: str
    usd: float
    asked_at: str
    schema: str | None = None

    @property
    def completion(self) -> Completion:
        """The reply as the model gave it."""
        return Completion(
            text=self.reply,
            stopped=self.stopped,
            prompt_tokens=self.prompt_tokens,
            tokens=self.tokens,
            seconds=self.seconds,
            served=self.served,
        )


def judgement(question: Question, reply: Completion, status: str, usd: float) -> Judgement:
    """The record of a reply, dated now."""
    request, prompt = question.request, question.request.prompt
    return Judgement(
        key=question.key,
        benchmark=question.benchmark,
        item_id=question.item_id,
        criterion=question.criterion,
        judge=question.judge,
        messages=prompt.messages,
        prefill=prompt.prefill,
        sampling=request.sampling,
        seed=request.seed,
        attempt=question.attempt,
        repeat=question.repeat,
        reply=reply.text,
        stopped=reply.stopped,
        status=status,
        prompt_tokens=reply.prompt_tokens,
        tokens=reply.tokens,
        seconds=reply.seconds,
        served=reply.served,
        usd=usd,
        asked_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        schema=request.schema,
    )


def record_key(question: str, reply: str, stopped: StopReason) -> str:
    """The key of a record: that of its question, where the reply has a text and ended by itself. Anything else (empty,
    cut at the limit, refused, too long, unreadable) is no answer: it has a key of its own, and the question is asked
    again."""
    if stopped == "stop" and reply.strip():
        return question
    return hashlib.sha256(f"{question} {stopped}".encode()).hexdigest()[:32]


def _entry(row: JsonObject) -> Entry:
    """The entry of a row; an attempt without a reply is only counted. Raises KeyError, TypeError or ValueError for what
    is not a judgement, or one whose cost is no finite number from 0 up."""
    usd = float(row["usd"])
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError(f"usd: want a finite number from 0 up, got {usd}")
    if row["stopped"] == "unanswered":
        return Entry("", usd)
    return Entry(record_key(str(row["key"]), str(row["reply"]), row["stopped"]), usd)


class Judgements:
    """The judgements in a folder (see `reer.logs.AppendLog`): their keys are in memory, the records on disk."""

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
        """The first record with a key (see `record_key`), if there is one."""
        row = self._log.get(key)
        return None if row is None else adapter(Judgement).validate_python(row)

    def keep(self, record: Judgement) -> None:
        """Add a record, at once."""
        self._log.append(asdict(record))

    def close(self) -> None:
        """Wait until all records are on the disk."""
        self._log.sync()
