"""Model calls remembered on disk: the same call to the same model is made once, ever.

A killed stage replays what it had; another arm, a larger K or a higher step cap pays only the difference. Failures
are never stored. Each process appends to a file of its own, what a backend answers together in one write; readers
take them all.
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

from reer.models.protocols import Completion, Generator, Heard, Nats, Passage, Request, Scorer, unheard


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
        self, keys: Sequence[str], ask: Callable[[Sequence[int], Heard], Sequence[Any]], lasts: Callable[[Any], bool]
    ) -> list[Any]:
        """The answers to all keys; `ask` is called once with the positions of those not known yet, and what it hears
        on the way is kept at once. An answer that does not `last` is given and forgotten."""
        missing = sorted({key: i for i, key in reversed(list(enumerate(keys))) if key not in self.answers}.values())
        self.misses += len(missing)
        self.hits += len(keys) - len(missing)
        fresh: dict[str, Any] = {}

        def heard(positions: Sequence[int], answers: Sequence[Any]) -> None:
            rows = {keys[missing[at]]: answer for at, answer in zip(positions, answers, strict=True)}
            fresh.update(rows)
            self._store([(key, answer) for key, answer in rows.items() if lasts(answer)])

        if missing:
            answers = ask(missing, heard)
            rest = [at for at, i in enumerate(missing) if keys[i] not in fresh]
            heard(rest, [answers[at] for at in rest])
        return [fresh[key] if key in fresh else self.answers[key] for key in keys]

    def _store(self, rows: Sequence[tuple[str, Any]]) -> None:
        if not rows:
            return
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
    """A Generator that asks the model only what the journal does not hold.
    A prompt that found no room, or was refused, is asked again next time: that may be the server's doing, which no
    key knows."""

    def __init__(self, inner: Generator, journal: Journal) -> None:
        self.inner, self.journal, self.name = inner, journal, inner.name

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        def ask(missing: Sequence[int], heard: Heard) -> list[Any]:
            def plain(positions: Sequence[int], replies: Sequence[Any]) -> None:
                heard(positions, [asdict(reply) for reply in replies])

            return [asdict(reply) for reply in self.inner.generate([requests[i] for i in missing], plain)]

        keys = [_key("generate", self.name, request) for request in requests]
        found = self.journal.answer(keys, ask, lambda answer: answer["stopped"] not in ("no_room", "refused"))
        return [Completion(**answer) for answer in found]


class ReplayedScorer:
    """A Scorer that asks the model only what the journal does not hold."""

    def __init__(self, inner: Scorer, journal: Journal) -> None:
        self.inner, self.journal, self.name = inner, journal, inner.name

    def score(self, passages: Sequence[Passage], heard: Heard = unheard) -> list[Nats | None]:
        def ask(missing: Sequence[int], heard: Heard) -> Sequence[Nats | None]:
            return self.inner.score([passages[i] for i in missing], heard)

        keys = [_key("score", self.name, passage) for passage in passages]
        found = self.journal.answer(keys, ask, lambda answer: answer is not None)
        return [answer and tuple(answer) for answer in found]
