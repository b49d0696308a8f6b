"""Model calls remembered on disk: the same call to the same model is made once, ever.

A killed stage replays what it had; another arm, a larger K or a higher step cap pays only the difference. Failures
are never stored. Each process appends to a file of its own, a batch of answers in one write; readers take them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reer.models.protocols import Completion, Generator, Nats, Passage, Request, Scorer


class Journal:
    """Answers by key, for one model. Opening it reads what all earlier processes wrote; a torn last line, left by a
    kill, is passed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Any] = {}
        self.hits = self.misses = 0
        for file in sorted(folder.glob("*.jsonl")):
            self._read(file)
        self._file: Path | None = None

    def _read(self, file: Path) -> None:
        for line in file.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                self.answers[row["key"]] = row["answer"]
            except (ValueError, KeyError, TypeError):
                continue

    def answer(
        self, keys: Sequence[str], ask: Callable[[Sequence[int]], Sequence[Any]], lasts: Callable[[Any], bool]
    ) -> list[Any]:
        """The answers to all keys; `ask` is called once with the positions of those not known yet. An answer that does
        not `last` is given and forgotten."""
        missing = list({key: i for i, key in reversed(list(enumerate(keys))) if key not in self.answers}.values())
        missing.sort()
        self.misses += len(missing)
        self.hits += len(keys) - len(missing)
        fresh = {keys[i]: answer for i, answer in zip(missing, ask(missing), strict=True)} if missing else {}
        kept = [(key, answer) for key, answer in fresh.items() if lasts(answer)]
        if kept:
            self._store(kept)
        return [fresh[key] if key in fresh else self.answers[key] for key in keys]

    def _store(self, rows: Sequence[tuple[str, Any]]) -> None:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.folder / f"{uuid.uuid4().hex}.jsonl"
        lines = "".join(json.dumps({"key": k, "answer": a}, ensure_ascii=False) + "\n" for k, a in rows)
        with self._file.open("ab") as stream:
            stream.write(lines.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        self.answers.update(rows)


def _key(kind: str, model: str, call: Any) -> str:
    content = {name: value for name, value in asdict(call).items() if name != "group"}
    payload = json.dumps([kind, model, content], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(payload.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def journal_for(root: Path, model: str) -> Journal:
    """The journal of one model under a store's root."""
    return Journal(root / hashlib.sha256(model.encode()).hexdigest()[:16])


class ReplayedGenerator:
    """A Generator that asks the model only what the journal does not hold; `rows` bounds what one kill can lose.
    A prompt that found no room is asked again next time: that limit may be the server's, which no key knows."""

    def __init__(self, inner: Generator, journal: Journal, rows: int) -> None:
        self.inner, self.journal, self.rows, self.name = inner, journal, rows, inner.name

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        replies: list[Completion] = []
        for start in range(0, len(requests), self.rows):
            part = requests[start : start + self.rows]
            keys = [_key("generate", self.name, request) for request in part]

            def ask(missing: Sequence[int], part: Sequence[Request] = part) -> list[Any]:
                return [asdict(reply) for reply in self.inner.generate([part[i] for i in missing])]

            found = self.journal.answer(keys, ask, lambda answer: answer["stopped"] != "no_room")
            replies += [Completion(**answer) for answer in found]
        return replies


class ReplayedScorer:
    """A Scorer that asks the model only what the journal does not hold."""

    def __init__(self, inner: Scorer, journal: Journal, rows: int) -> None:
        self.inner, self.journal, self.rows, self.name = inner, journal, rows, inner.name

    def score(self, passages: Sequence[Passage]) -> list[Nats | None]:
        scores: list[Nats | None] = []
        for start in range(0, len(passages), self.rows):
            part = passages[start : start + self.rows]
            keys = [_key("score", self.name, passage) for passage in part]

            def ask(missing: Sequence[int], part: Sequence[Passage] = part) -> list[Any]:
                return [nats and list(nats) for nats in self.inner.score([part[i] for i in missing])]

            found = self.journal.answer(keys, ask, lambda answer: answer is not None)
            scores += [answer and tuple(answer) for answer in found]
        return scores
