"""Draws the next token of several rows at once, on the device that holds their logits.

The random numbers of a row are its own, so its text does not depend on the rows beside it. Only they go to the device,
and only the tokens come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reer.models.protocols import Sampling

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LIKELIEST = 256  # tokens searched for the nucleus first: sorting a whole vocabulary costs more than a small model


@dataclass(frozen=True)
class Settings:
    """The settings of rows as columns with a number for each row; `top_k` 0 is without a bound."""

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    widest: int
    """The largest top_k."""

    @classmethod
    def of(cls, rows: Sequence[Sampling], where: torch.device | str) -> Settings:
        """The settings of rows, on a device."""
        import torch

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=where)[:, None]

        return cls(
            column([row.temperature for row in rows]),
            column([row.top_p for row in rows]),
            column([row.top_k for row in rows]),
            max(row.top_k for row in rows),
        )

    def select(self, rows: Tensor) -> Settings:
        """The settings of some rows."""
        return Settings(self.temperature[rows], self.top_p[rows], self.top_k[rows], self.widest)


def draw(logits: Tensor, settings: Settings, uniforms: Sequence[float]) -> list[int]:
    """A token for each row by temperature, top-k and top-p, from a number between 0 and 1 for each."""
    import torch

    numbers = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None]
    greedy = settings.temperature == 0
    probs = torch.softmax(logits.float() / torch.where(greedy, 1.0, settings.temperature).float(), dim=-1)
    top, ids = probs.topk(min(max(LIKELIEST, settings.widest), probs.shape[1]))
    tokens = _chosen(top, ids, settings, numbers)
    beyond = ((settings.top_k == 0) & ~greedy & (top.double().sum(1, keepdim=True) < settings.top_p)).flatten()
    if bool(beyond.any()):
        top, ids = probs[beyond].sort(descending=True)
        tokens[beyond] = _chosen(top, ids, settings.select(beyond), numbers[beyond])
    return torch.where(greedy, logits.argmax(1, keepdim=True), tokens).flatten().tolist()


def _chosen(top: Tensor, ids: Tensor, settings: Settings, numbers: Tensor) -> Tensor:
    """The token of each row among its likeliest, `top` in descending order: the first whose cumulative probability
    exceeds the row's number."""
    import torch

    ranks = torch.arange(top.shape[1], device=top.device)
    top = torch.where((settings.top_k > 0) & (ranks >= settings.top_k), 0.0, top.double())
    mass = torch.where(settings.top_k > 0, top.sum(1, keepdim=True), 1.0)
    within = (top.cumsum(1) - top < settings.top_p * mass) & (top > 0)
    cumulative = torch.where(within, top, 0.0).cumsum(1)
    place = (cumulative <= numbers * cumulative[:, -1:]).sum(1, keepdim=True)
    return ids.gather(1, torch.minimum(place, within.sum(1, keepdim=True) - 1))
