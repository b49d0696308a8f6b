"""How near two texts are in meaning: the cosine of their embeddings by a small model, where one is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import InstanceOf, PositiveInt

from reer.models.local.checkpoints import Checkpoint
from reer.models.local.model import pick_device
from reer.models.local.tokens import load_tokenizer
from reer.models.local.weights import load_complete
from reer.models.protocols import Device
from reer.models.shared import release
from reer.parts import Name

Vector = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """A model whose last hidden states, averaged over the tokens of a text, place texts of like meaning near one
    another, as those of sentence-transformers do. A model of another kind gives numbers without that meaning."""

    name: Name
    checkpoint: InstanceOf[Checkpoint] | None = None
    """None: nothing is embedded."""
    window: PositiveInt = 256
    """Tokens that are read together; a longer text is read in several windows."""

    @contextmanager
    def open(self, device: Device) -> Iterator[Embedder | None]:
        """The model loaded; None where there is none."""
        if self.checkpoint is None:
            yield None
            return
        folder = self.checkpoint.fetch()
        release()  # what nobody uses, for its memory
        model = load_complete(folder, "base").to(pick_device(device)).eval()
        yield Embedder(model, load_tokenizer(folder), self.window)


NO_EMBEDDING = TextEmbedding(name="none")


class Embedder:
    """A loaded embedding model."""

    def __init__(self, model: Any, tokenizer: Any, window: int) -> None:
        self.model, self.tokenizer, self.window = model, tokenizer, window

    def vector(self, text: str) -> Vector:
        """The mean of the last hidden states over all tokens of a text; empty for a text without tokens."""
        import torch

        windows = self.tokenizer(
            text, truncation=True, max_length=self.window, return_overflowing_tokens=True, verbose=False
        )["input_ids"]
        states: list[Any] = []
        for ids in filter(None, windows):
            with torch.inference_mode():
                read = self.model(input_ids=torch.tensor([ids], device=self.model.device))
            states.append(read.last_hidden_state[0])
        if not states:
            return ()
        return tuple(torch.cat(states).float().mean(dim=0).tolist())


def cosine(one: Vector, other: Vector) -> float | None:
    """The cosine of two vectors; None where one is empty or zero."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else None


def mean_of_others(thinkings: Sequence[Vector], solutions: Sequence[Vector], at: int) -> float | None:
    """The mean cosine of one thinking with the solutions of all other pairs: what texts of this set have in common."""
    cosines = [cosine(thinkings[at], solution) for other, solution in enumerate(solutions) if other != at]
    known = [value for value in cosines if value is not None]
    return math.fsum(known) / len(known) if known else None
