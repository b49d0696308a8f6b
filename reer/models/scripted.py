"""A scripted model: no weights, instant, deterministic. It answers each role of the pipeline in the expected form, so
that every stage can be run in seconds. Its text is meaningless."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reer.models.protocols import Completion, Device, Nats, Passage, Prompt, Request
from reer.text import language_of, words
from reer.types import Language

# Pieces of four words: sentences of few pieces rarely repeat five words in a row, which the filters look for.
_PIECES = {
    "en": (
        "the reader comes tired",
        "the first line opens",
        "one concrete object returns",
        "the middle turns once",
        "plain order serves better",
        "verbs move the thing",
        "the voice stays calm",
        "two strong particulars suffice",
        "general remarks fall away",
        "the ending stays low",
        "a gesture answers it",
        "something is at stake",
        "the picture comes early",
        "nothing needs explaining here",
    ),
    "zh": (
        "读者很忙",
        "开头有光",
        "先写画面",
        "东西会回来",
        "中间转折",
        "顺序要平实",
        "动词推动",
        "语气安静",
        "细节就够",
        "空话去掉",
        "结尾很低",
        "一个动作",
        "不必解释",
        "留下余地",
    ),
}
_HESITATIONS = {
    "en": ("Hmm, ", "Wait, no: ", "Maybe ", "Let me think. ", "But "),
    "zh": ("嗯，", "等等，不对，", "也许", "让我想想。", "但是"),
}


@dataclass(frozen=True)
class ScriptedModel:
    """Description of the scripted model; `seed` changes all of its text."""

    seed: int = 0

    @property
    def name(self) -> str:
        return f"scripted-s{self.seed}"

    @property
    def follows_schemas(self) -> bool:
        return True

    @contextmanager
    def open(self, device: Device) -> Iterator[ScriptedSession]:
        yield ScriptedSession(self.seed)


class ScriptedSession:
    """Generator, scorer and judge in one; the last words of a prompt determine the role."""

    def __init__(self, seed: int) -> None:
        self.seed, self.name = seed, ScriptedModel(seed).name

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`."""
        for i, request in enumerate(requests):
            yield i, self._reply(request)

    def _reply(self, request: Request) -> Completion:
        prompt = request.prompt
        draw = random.Random(f"{self.seed}|{request.seed}|{prompt}")
        text = _satisfying(request.schema, draw) if request.schema else self._text(prompt, draw)
        cut = [text.index(stop) for stop in request.sampling.stop if stop in text]
        text = text[: min(cut)] if cut else text
        return Completion(
            text=text, stopped="stop", prompt_tokens=len(words(prompt.messages[-1].content)), tokens=len(words(text))
        )

    def _text(self, prompt: Prompt, draw: random.Random) -> str:
        asked, prefill = prompt.messages[-1].content, prompt.prefill
        if prefill.startswith("<think>"):
            return self._thinking(asked, draw, paragraphs=draw.randint(4, 6)) + "\n</think>"
        segment = re.findall(r"<replace>(.*?)</replace>", asked, re.S)
        if segment:
            opening = "" if prefill.rstrip().endswith("<refine>") else "</analyze>\n<refine>"
            start = segment[-1].split(" ", 3)[:3] if language_of(segment[-1]) == "en" else [segment[-1][:6]]
            return f"{opening}{' '.join(start)} {self._thinking(asked, draw, paragraphs=1)}</refine>"
        if '"better"' in asked:
            return f'{{"reason": "scripted", "better": "{draw.choice(("first", "second", "tie"))}"}}'
        if '"score"' in asked or '"score"' in prefill:
            full = f'{{"score": {draw.randint(4, 9)}, "reason": "scripted"}}'
            return full[len(prefill) :] if prefill and full.startswith(prefill) else full
        return self._thinking(asked, draw, paragraphs=3)

    def _thinking(self, asked: str, draw: random.Random, paragraphs: int) -> str:
        language = language_of(asked)
        nouns = sorted({w for w in words(asked) if len(w) > 5 and w.isalpha()}) or ["piece"]

        def english() -> str:
            lines = [_sentence(draw, language, pieces=3) for _ in range(3)]
            return " ".join([*lines, f"I can use {draw.choice(nouns)} and {draw.choice(nouns)} somewhere near here."])

        def chinese() -> str:
            return "".join(_sentence(draw, language, pieces=6) for _ in range(4))

        paragraph = chinese if language == "zh" else english
        return "\n\n".join(paragraph() for _ in range(paragraphs))

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """One number per word of the answer, lower where the prefill contains the word, plus a little noise that
        depends on the prefill."""
        for i, passage in enumerate(passages):
            yield i, self._score(passage)

    def _score(self, passage: Passage) -> tuple[float, ...]:
        context = set(words(passage.context.prefill))
        noise = int(hashlib.sha256(passage.context.prefill.encode()).hexdigest()[:4], 16) / 2**16 / 10
        return tuple(0.8 + noise if word in context else 1.6 + noise for word in words(passage.answer) or ["."])


def _satisfying(schema: str, draw: random.Random) -> str:
    """An object of a schema whose properties are texts, or one of several values."""
    properties: dict[str, dict[str, list[object]]] = json.loads(schema)["properties"]
    return json.dumps({name: draw.choice(kind.get("enum", ["scripted"])) for name, kind in properties.items()})


def _sentence(draw: random.Random, language: Language, pieces: int) -> str:
    """A sentence of some pieces, which may begin with a hesitation."""
    hesitation = draw.choice(_HESITATIONS[language]) if draw.random() < 0.25 else ""
    chosen = draw.sample(_PIECES[language], pieces)
    if language == "zh":
        return f"{hesitation}{'，'.join(chosen)}。"
    line = ", ".join(chosen)
    begins = not hesitation or hesitation.rstrip().endswith(".")
    return f"{hesitation}{line[0].upper() + line[1:] if begins else line}."
