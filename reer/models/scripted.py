"""A scripted model: no weights, instant, deterministic. It answers each role of the pipeline in the expected form, so
that every stage can be run in seconds. Its text is meaningless."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reer.models.protocols import Completion, Device, Nats, Passage, Prompt, Request
from reer.text import language_of, words

_THOUGHTS = {
    "en": (
        "the reader comes to this with little time, so the first line has to carry a picture and not a promise",
        "hmm, maybe the plain order of events serves better than a frame, because the details do the work here",
        "wait, the request asks for a calm voice, so I keep the adjectives few and let the verbs move the thing",
        "the middle needs one turn where something is at stake, and a concrete object that can come back later",
        "let me think about what to leave out, since two strong particulars say more than five general remarks",
        "the ending stays close to the ground, with a gesture that answers the opening and explains nothing",
    ),
    "zh": (
        "读者没有多少时间，所以第一句话就要有画面，先把人带到现场，再慢慢说清楚事情的来由和分寸",
        "嗯，也许按照事情发生的先后来写更好，因为这里真正起作用的是细节，而不是什么巧妙的框架和修辞",
        "等等，对方要的是平静的语气，那么形容词要少，让动词去推动整件事情，把力气用在看得见的地方",
        "中间要有一个转折，有一样具体的东西，后面还可以再出现一次，让前后两处彼此照应，显得自然完整",
        "结尾要贴着地面，用一个动作回应开头，不必解释，让读者自己停下来想一想这件事情的味道和余地",
    ),
}


@dataclass(frozen=True)
class ScriptedModel:
    """Description of the scripted model; `seed` changes all of its text."""

    seed: int = 0

    @property
    def name(self) -> str:
        return f"scripted-s{self.seed}"

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
        text = self._text(prompt, draw)
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
        thoughts = _THOUGHTS[language_of(asked)]
        stop, space = ("。", "") if language_of(asked) == "zh" else (".", " ")
        nouns = sorted({w for w in words(asked) if len(w) > 5 and w.isalpha()}) or ["piece"]

        def paragraph() -> str:
            lines = draw.sample(thoughts, 2 if stop == "." else 3)
            if stop == ".":
                lines.append(f"I can use {draw.choice(nouns)} and {draw.choice(nouns)} somewhere near here")
            return space.join(line[0].upper() + line[1:] + stop for line in lines)

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
