"""Prompts as token ids, with the tokenizer and chat template of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reer.errors import InputError
from reer.models.protocols import Passage, Prompt


def load_tokenizer(folder: Path, gguf_file: str | None = None) -> Any:
    """The tokenizer of a local folder, or of a GGUF file in it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False)
    # transformers would save it with the tokenizer, and its value depends on HF_HUB_OFFLINE.
    tokenizer.init_kwargs.pop("local_files_only", None)
    return tokenizer


@dataclass(frozen=True)
class Tokens:
    """A loaded tokenizer."""

    tokenizer: Any

    def context_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of the rendered conversation, the opening of the assistant's turn, and the prefill."""
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        # Some templates open the thinking themselves, and the prefill contains `<think>` too (as in the released code).
        return self.ids(rendered.removesuffix("<think>\n").removesuffix("<think>") + prompt.prefill)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def completion(self, ids: Sequence[int], stops: Sequence[str]) -> str:
        """The text of these tokens without special ones, up to the first of the stop strings."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        cuts = [text.index(stop) for stop in stops if stop in text]
        return text[: min(cuts)] if cuts else text

    def passage_ids(self, passage: Passage) -> tuple[list[int], list[int]]:
        """Context and answer, tokenised separately, so that no token spans the boundary. Raises InputError for an
        answer without tokens."""
        answer = self.ids(passage.answer)
        if not answer:
            raise InputError("nothing to score: the answer has no tokens")
        return self.context_ids(passage.context), answer
