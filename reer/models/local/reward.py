"""A reward model as a scorer: what it thinks of a thinking, as the reply to the query alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import InstanceOf

from reer.errors import InputError
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.model import DType, pick_device
from reer.models.local.tokens import load_tokenizer
from reer.models.local.weights import load_complete
from reer.models.protocols import Device, Nats, Passage
from reer.models.shared import release
from reer.text import split_thinking


@dataclass(frozen=True)
class RewardModel:
    """A sequence classifier with one number, trained on preferences (Bradley and Terry), run by transformers."""

    checkpoint: InstanceOf[Checkpoint]
    dtype: DType = "float32"
    center: float = 0.0
    """The reward of a thinking that is neither good nor bad: rewards of each model have a zero of their own."""

    @property
    def name(self) -> str:
        """Weights, precision and zero; sessions have the same name."""
        return f"{self.checkpoint.name}/{self.dtype}/reward-{self.center:g}"

    @contextmanager
    def open(self, device: Device) -> Iterator[RewardSession]:
        """The model loaded into this process. Raises InputError for one that gives no reward."""
        import torch

        folder, where = self.checkpoint.fetch(), pick_device(device)
        release()  # what nobody uses, for its memory
        _require_one_number(folder)
        model = load_complete(folder, head="reward", dtype=getattr(torch, self.dtype)).to(where).eval()
        yield RewardSession(self.name, model, load_tokenizer(folder), self.center)


def _require_one_number(folder: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.num_labels != 1:
        raise InputError(
            f"model folder {folder}: it has {config.num_labels} labels; want a reward model, a sequence classifier "
            "with one"
        )


class RewardSession:
    """A loaded reward model; see `Scorer`. Thinkings are read one at a time, so that none depends on a batch."""

    def __init__(self, name: str, model: Any, tokenizer: Any, center: float) -> None:
        self.name, self.model, self.tokenizer, self.center = name, model, tokenizer, center
        self.limit: int = model.config.max_position_embeddings

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """One number for each passage: −ln of the probability that its thinking is preferred to one of the centre's
        reward. The query is the last turn of the context, the thinking stands in its prefill; the text to score is not
        read."""
        import torch

        for index, passage in enumerate(passages):
            ids = self._ids(passage)
            if len(ids) > self.limit:
                yield index, None
                continue
            with torch.inference_mode():
                reward = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0, 0].item()
            yield index, (_softplus(self.center - reward),)

    def _ids(self, passage: Passage) -> list[int]:
        thinking, _, _ = split_thinking(passage.context.prefill)
        turns = [
            {"role": "user", "content": passage.context.messages[-1].content},
            {"role": "assistant", "content": thinking or ""},
        ]
        text: str = self.tokenizer.apply_chat_template(turns, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _softplus(value: float) -> float:
    """ln(1 + exp(value))."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
