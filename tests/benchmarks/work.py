"""Parts of the benchmarks: timing, other implementations of scoring, and the operations of a forward pass."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from typing import Any

from reer.models.local.size import Size

Ids = list[int]
Passages = list[tuple[Ids, Ids]]
NatsOf = list[list[float]]


@dataclass
class Timed:
    """Wall-clock seconds of interleaved repeats, by variant."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return result

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, first: str, second: str) -> float:
        """The median over repeats of first / second: the two alternate, so that a slow minute slows both."""
        return statistics.median(a / b for a, b in zip(self.seconds[first], self.seconds[second], strict=True))

    def shown(self, name: str) -> str:
        taken = self.seconds[name]
        return f"{statistics.median(taken):7.2f} s ({min(taken):.2f}-{max(taken):.2f})"


def environment() -> str:
    import torch

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "lm-eval"))
    return f"{platform.platform()}, Python {platform.python_version()}, {torch.get_num_threads()} threads; {packages}"


def naive(model: Any, passages: Passages) -> NatsOf:
    """A plain transformers loop: candidates one at a time, all tokens, logits of every row."""
    import torch
    from torch.nn.functional import cross_entropy

    results = []
    with torch.inference_mode():
        for context, answer in passages:
            logits = model(input_ids=torch.tensor([context + answer]), use_cache=False).logits[0].float()
            nats = cross_entropy(logits[len(context) - 1 : -1], torch.tensor(answer), reduction="none")
            results.append(nats.tolist())
    return results


def rows_of_the_answer(model: Any, passages: Passages) -> NatsOf:
    """The naive loop with the LM head on the answer's rows only."""
    import torch
    from torch.nn.functional import cross_entropy

    results = []
    with torch.inference_mode():
        for context, answer in passages:
            out = model(input_ids=torch.tensor([context + answer]), use_cache=False, logits_to_keep=len(answer) + 1)
            results.append(cross_entropy(out.logits[0, :-1].float(), torch.tensor(answer), reduction="none").tolist())
    return results


def wasted_decode(model: Any, passages: Passages, tokens: int) -> int:
    """Decode tokens after each score and discard them, as the released scorer does. Returns their number."""
    import torch

    written = 0
    with torch.inference_mode():
        for context, answer in passages:
            ids = torch.tensor([context + answer])
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                do_sample=True,
                temperature=1.0,
                pad_token_id=0,
            )
            written += out.shape[1] - ids.shape[1]
    return written


def hflm_scorer(model: Any, tokenizer: Any) -> Callable[[Passages], list[float]]:
    """lm-eval's log-likelihood of the same ids, one sum for each passage."""
    from lm_eval.models.huggingface import HFLM

    build: Any = HFLM
    lm = build(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu", max_length=8192)
    return lambda passages: [
        -found[0] for found in lm._loglikelihood_tokens([(("", ""), c, a) for c, a in passages], disable_tqdm=True)
    ]


def ctranslate_scorer(folder: str, converted: str, tokenizer: Any) -> Callable[[Passages], list[float]] | None:
    """CTranslate2's score_batch in fp32, or None where the package is not installed."""
    try:
        import ctranslate2  # type: ignore[import-not-found]
    except ImportError:
        return None
    ctranslate2.converters.TransformersConverter(folder).convert(converted, force=True)
    generator = ctranslate2.Generator(converted, device="cpu", compute_type="float32", intra_threads=2)

    def score(passages: Passages) -> list[float]:
        batch = [tokenizer.convert_ids_to_tokens(c + a) for c, a in passages]
        found = generator.score_batch(batch, max_batch_size=1, max_input_length=0)
        return [-sum(f.log_probs[-len(a) :]) for f, (_, a) in zip(found, passages, strict=True)]

    return score


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a decoder: two for each weight and token, and attention to earlier tokens."""

    body: int
    attention: int
    head: int

    @classmethod
    def of(cls, size: Size) -> Flops:
        attention = 4 * size.layers * size.heads * size.head_dim
        return cls(2 * size.layers * size.layer_parameters, attention, 2 * size.vocabulary * size.hidden)

    def run(self, fresh: int, before: int, head_rows: int) -> int:
        """`fresh` tokens after `before` others, the head on some rows."""
        pairs = fresh * before + fresh * (fresh + 1) // 2
        return self.body * fresh + self.attention * pairs + self.head * head_rows


@dataclass(frozen=True)
class Step:
    """One step of a search: k candidates for one segment, and the thinking before it."""

    before: tuple[Ids, Ids]
    candidates: Passages
    shared: int

    def minimal_flops(self, flops: Flops, kept: bool) -> int:
        """Each distinct prefix computed once; `kept` means that the previous step has computed the shared prefix."""
        total = 0 if kept else flops.run(self.shared, 0, 0)
        return total + sum(flops.run(len(c + a) - self.shared, self.shared, len(a)) for c, a in self.candidates)

    def naive_flops(self, flops: Flops) -> int:
        return sum(flops.run(len(c + a), 0, len(c + a)) for c, a in self.candidates)

    def minimal_tokens(self, kept: bool) -> int:
        return (0 if kept else self.shared) + sum(len(c + a) - self.shared for c, a in self.candidates)


def step_of(words: Sequence[int], x: int, segments: int, size: int, y: int, k: int, at: int) -> Step:
    """A step at segment `at` over real text, split into pieces; the candidates start with different tokens."""
    text = iter(words)

    def take(count: int) -> Ids:
        return [next(text) for _ in range(count)]

    query, thinking, answer = take(x), [take(size) for _ in range(segments)], take(y)
    rewrites: list[Ids] = []
    while len(rewrites) < k:
        rewrite = take(size)
        if rewrite[0] not in {thinking[at][0], *(other[0] for other in rewrites)}:
            rewrites.append(rewrite)
    contexts = [[*query, *chain(*thinking[:at], new, *thinking[at + 1 :])] for new in rewrites]
    return Step(([*query, *chain(*thinking)], answer), [(c, answer) for c in contexts], x + at * size)
