"""The chat format of training, generation and serving: ChatML with every content verbatim, and its tokens.

One template of our own, because the models' own ones silently delete parts of thinking (ecosystem notes on the Qwen3
template: repeated `</think>`, earlier turns, list contents). It is saved with the tokenizer, so that whoever serves
the model sees what training saw.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reer.errors import InputError
from reer.text import control_tokens
from reer.types import Drop, Message, Sample

END_OF_TURN = "<|im_end|>"
MASKED = -100


def template(end: str) -> str:
    """The chat template whose assistant turns end with the token `end`, all others with ChatML's."""
    return (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
        "{{ '" + end + "' if message['role'] == 'assistant' else '" + END_OF_TURN + "' }}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


CHATML = template(END_OF_TURN)


@dataclass(frozen=True)
class ChatFormat:
    """How thinking and answer become the assistant's turn, and what happens to rows that are too long.

    `end` is what ends that turn: ChatML's token, or the token the tokenizer itself ends texts with. A base model knows
    the latter only; adapters cannot teach it the former, whose embedding they leave untrained.
    """

    answer_tags: bool
    overlong: Literal["error", "drop", "truncate"]
    end: Literal["turn", "text"] = "turn"

    def end_token(self, tokenizer: Any) -> str:
        """The token an assistant's turn ends with. Raises InputError where the tokenizer has none such."""
        token = END_OF_TURN if self.end == "turn" else tokenizer.eos_token
        if token is None or tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
            raise InputError(
                f"train.chat_format.end={self.end}: the tokenizer has no such token ({token}); a model trained with it "
                "could not end a turn"
            )
        return token

    def completion(self, thinking: str, answer: str) -> str:
        """The assistant's content; without thinking the answer stands alone (no empty block is taught)."""
        body = f"<answer>\n{answer}\n</answer>" if self.answer_tags else answer
        return f"<think>\n{thinking}\n</think>\n\n{body}" if thinking else body


@dataclass(frozen=True)
class Rendered:
    """One training row: `labels` equals `input_ids` on the assistant's turn and is -100 elsewhere."""

    id: str
    source: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Rendering:
    """All rows, what was left out, and the token account of the rows kept."""

    rows: tuple[Rendered, ...]
    dropped: tuple[Drop, ...]
    trained_tokens: int
    masked_tokens: int
    truncated_rows: int


def render(samples: Sequence[Sample], tokenizer: Any, chat: ChatFormat, max_length: int) -> Rendering:
    """Tokenise every sample once, prompt and completion apart, and prove that nothing was lost on the way.

    Raises InputError when a row exceeds `max_length` under `overlong: error`, when the tokenizer has no token to end a
    turn with, or when decoding a row's labels does not give its completion back verbatim.
    """
    end = chat.end_token(tokenizer)
    specials: list[str] = tokenizer.all_special_tokens
    truncated = 0
    rows: list[Rendered] = []
    dropped: list[Drop] = []
    for sample in samples:
        texts = [text for turn in sample.messages[:-1] for text in _texts(turn)] + [sample.thinking, sample.answer]
        if any(control_tokens(text) or any(token in text for token in specials) for text in texts):
            dropped.append(Drop(sample.id, "control_tokens"))
            continue
        whole = _render_one(sample, tokenizer, chat, end)
        if whole is None:
            dropped.append(Drop(sample.id, "changed_by_tokenizer"))
            continue
        row = _answer_alone(whole, sample, tokenizer, chat, end) if sample.without_thinking else whole
        if len(whole.input_ids) <= max_length:
            rows.append(row)
        elif chat.overlong == "drop":
            dropped.append(Drop(sample.id, "overlong"))
        elif chat.overlong == "truncate":
            cut = replace(row, input_ids=row.input_ids[:max_length], labels=row.labels[:max_length])
            if cut.labels[-1] == MASKED:
                dropped.append(Drop(sample.id, "prompt_overlong"))
            else:
                rows.append(cut)
                truncated += 1
        else:
            raise InputError(
                f"row {sample.id} ({sample.source}) has {len(row.input_ids)} tokens, scale.train_tokens is "
                f"{max_length}; raise it, or set train.chat_format.overlong=drop to leave such rows out and count them "
                "(or truncate, which teaches answers without an end)"
            )
    trained = sum(label != MASKED for row in rows for label in row.labels)
    masked = sum(len(row.labels) for row in rows) - trained
    return Rendering(tuple(rows), tuple(dropped), trained, masked, truncated)


def _texts(turn: Message) -> tuple[str, ...]:
    """What is said in a turn before the last: an assistant's thinking and answer are parted at one block's ends."""
    block = re.fullmatch(r"\s*<think>(.*?)</think>(.*)", turn.content, re.S) if turn.role == "assistant" else None
    return block.groups() if block else (turn.content,)


def _render_one(sample: Sample, tokenizer: Any, chat: ChatFormat, end: str) -> Rendered | None:
    """The row of a sample, None where the tokenizer normalises its text to another one."""
    turns = [{"role": m.role, "content": m.content} for m in sample.messages[:-1]]
    prompt = tokenizer.apply_chat_template(
        turns, chat_template=template(end), tokenize=False, add_generation_prompt=True
    )
    context = _tokens(prompt, tokenizer, sample.id)
    target = _tokens(chat.completion(sample.thinking, sample.answer) + end, tokenizer, sample.id)
    if context is None or target is None:
        return None
    return Rendered(sample.id, sample.source, (*context, *target), (*(MASKED for _ in context), *target))


def _answer_alone(whole: Rendered, sample: Sample, tokenizer: Any, chat: ChatFormat, end: str) -> Rendered:
    """The row of the same sample without its thinking."""
    row = _render_one(replace(sample, thinking=""), tokenizer, chat, end)
    return whole if row is None else row  # its texts are those that were given back already


def _tokens(text: str, tokenizer: Any, where: str) -> list[int] | None:
    """The tokens of a text, which must give it back; None where they give back its composed Unicode form (NFC), as
    Qwen's do. Raises InputError where they give back anything else."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    if back == text:
        return ids
    if back == unicodedata.normalize("NFC", text):
        return None
    at = next((i for i, (a, b) in enumerate(zip(back, text, strict=False)) if a != b), min(len(back), len(text)))
    raise InputError(f"row {where}: tokens do not give the text back from character {at}: {back[at : at + 40]!r}")
