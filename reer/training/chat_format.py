"""The chat format of training, generation and serving: ChatML with verbatim contents, and its tokens.

One template for all models, because models' own templates silently delete parts of the thinking (Qwen3's: a repeated
`</think>`, earlier turns, contents given as lists). It is saved with the tokenizer, so that servers of the model use
the template of its training.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from reer.errors import InputError
from reer.text import control_tokens
from reer.types import Drop, Message, Sample

END_OF_TURN = "<|im_end|>"
MASKED = -100  # the label that PyTorch's cross entropy ignores


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that rendering uses."""

    @property
    def eos_token(self) -> str | None: ...
    @property
    def unk_token_id(self) -> int | None: ...
    @property
    def all_special_tokens(self) -> list[str]: ...
    def __call__(self, text: str, *, add_special_tokens: bool) -> Mapping[str, Sequence[int]]: ...
    def decode(self, token_ids: Sequence[int], *, clean_up_tokenization_spaces: bool) -> str: ...
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, str]],
        *,
        chat_template: str,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> str: ...


def template(end: str) -> str:
    """The chat template whose assistant turns end with the token `end` and all other turns with ChatML's."""
    return (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
        "{{ '" + end + "' if message['role'] == 'assistant' else '" + END_OF_TURN + "' }}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


FOREIGN_END = "\n### end\n"
FOREIGN_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] + '\n### end\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"""A template in plain text, whose turns end with no special token."""


@dataclass(frozen=True)
class ChatFormat:
    """How thinking and answer form the assistant's turn, and what happens to rows that are too long."""

    answer_tags: bool
    """Put `<answer>` tags around the answer."""

    overlong: Literal["error", "drop", "truncate"]
    """What happens to a row longer than `scale.train_tokens`: fail, leave it out and count it, or cut it (the answer
    then loses its end token)."""

    end: Literal["turn", "text"] = "turn"
    """The end of the assistant's turn: ChatML's token, or the token that ends a text in the tokenizer. A base model
    knows only the latter, and adapters cannot teach it the former, whose embedding they leave untrained."""

    template: Literal["chatml", "foreign"] = "chatml"
    """The template of the training rows. The trained model is always saved with, and asked in, ChatML: `foreign`
    reproduces the failure of training in one template and asking in another."""

    def row_template(self, end: str) -> tuple[str, str]:
        """The template of the training rows, and what ends an assistant's turn in them; `end` is ChatML's end."""
        return (FOREIGN_TEMPLATE, FOREIGN_END) if self.template == "foreign" else (template(end), end)

    def end_token(self, tokenizer: Tokenizer) -> str:
        """The token that ends an assistant's turn. Raises InputError if the tokenizer has no such token."""
        token = END_OF_TURN if self.end == "turn" else tokenizer.eos_token
        if token is None or tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
            raise InputError(
                f"train.chat_format.end={self.end}: the tokenizer has no such token ({token}), so a model trained with "
                "it could not end a turn; choose train.chat_format.end=turn or text, whichever token it has"
            )
        return token

    @property
    def opening(self) -> str:
        """What is put before an answer."""
        return "<answer>\n" if self.answer_tags else ""

    def completion(self, thinking: str, answer: str) -> str:
        """The assistant's content. Without thinking it is the answer alone: no empty block is trained."""
        body = f"{self.opening}{answer}" + ("\n</answer>" if self.answer_tags else "")
        return f"<think>\n{thinking}\n</think>\n\n{body}" if thinking else body


@dataclass(frozen=True)
class Rendered:
    """One training row: `labels` equals `input_ids` in the assistant's turn and is MASKED elsewhere."""

    id: str
    source: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """All rendered rows, the samples left out with their reasons, and token counts of the rows."""

    rows: tuple[Rendered, ...]
    dropped: tuple[Drop, ...]
    trained_tokens: int
    masked_tokens: int
    truncated_rows: int


def render(samples: Sequence[Sample], tokenizer: Tokenizer, chat_format: ChatFormat, max_length: int) -> Rendering:
    """Tokenise every sample once, prompt and completion apart, and check that no text is lost.

    Raises InputError if a row exceeds `max_length` under `overlong: error`, if the tokenizer has no token to end a
    turn, or if decoding a row's labels does not return its completion verbatim.
    """
    end = chat_format.end_token(tokenizer)
    special_tokens = tokenizer.all_special_tokens
    truncated = 0
    rows: list[Rendered] = []
    dropped: list[Drop] = []
    for sample in samples:
        texts = [text for turn in sample.messages[:-1] for text in _texts(turn)] + [sample.thinking, sample.answer]
        if any(control_tokens(text) or any(token in text for token in special_tokens) for text in texts):
            dropped.append(Drop(sample.id, "control_tokens"))
            continue
        whole = _render_one(sample, tokenizer, chat_format, end)
        if whole is None:
            dropped.append(Drop(sample.id, "changed_by_tokenizer"))
            continue
        row = _without_thinking(whole, sample, tokenizer, chat_format, end) if sample.without_thinking else whole
        if len(whole.input_ids) <= max_length:
            rows.append(row)
        elif chat_format.overlong == "drop":
            dropped.append(Drop(sample.id, "overlong"))
        elif chat_format.overlong == "truncate":
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
                "(or truncate: answers lose their end token)"
            )
    trained = sum(label != MASKED for row in rows for label in row.labels)
    masked = sum(len(row.labels) for row in rows) - trained
    return Rendering(
        rows=tuple(rows),
        dropped=tuple(dropped),
        trained_tokens=trained,
        masked_tokens=masked,
        truncated_rows=truncated,
    )


def _texts(turn: Message) -> tuple[str, ...]:
    """The texts in a turn before the last: its content, or an assistant's thinking and answer."""
    block = re.fullmatch(r"\s*<think>(.*?)</think>(.*)", turn.content, re.S) if turn.role == "assistant" else None
    return block.groups() if block else (turn.content,)


def _render_one(sample: Sample, tokenizer: Tokenizer, chat_format: ChatFormat, end: str) -> Rendered | None:
    """The row of a sample, or None if the tokenizer normalises its text to a different one."""
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages[:-1]]
    turn_template, turn_end = chat_format.row_template(end)
    prompt = tokenizer.apply_chat_template(
        turns, chat_template=turn_template, tokenize=False, add_generation_prompt=True
    )
    context = _tokens(prompt, tokenizer, sample.id)
    target = _tokens(chat_format.completion(sample.thinking, sample.answer) + turn_end, tokenizer, sample.id)
    if context is None or target is None:
        return None
    return Rendered(sample.id, sample.source, (*context, *target), (*(MASKED for _ in context), *target))


def _without_thinking(
    whole: Rendered, sample: Sample, tokenizer: Tokenizer, chat_format: ChatFormat, end: str
) -> Rendered:
    """The row of the same sample without its thinking."""
    row = _render_one(replace(sample, thinking=""), tokenizer, chat_format, end)
    return whole if row is None else row  # never None: the same texts have passed the check in `whole`


def _tokens(text: str, tokenizer: Tokenizer, row_id: str) -> list[int] | None:
    """The tokens of a text, checked by decoding them.

    None if they decode to the text's composed Unicode form (NFC) instead, as Qwen's do. Raises InputError if they
    decode to anything else.
    """
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    if decoded == text:
        return ids
    if decoded == unicodedata.normalize("NFC", text):
        return None
    pairs = enumerate(zip(decoded, text, strict=False))
    start = next((index for index, (got, wanted) in pairs if got != wanted), min(len(decoded), len(text)))
    raise InputError(
        f"row {row_id}: the tokens decode to another text from character {start}: got {decoded[start : start + 40]!r}, "
        f"expected {text[start : start + 40]!r}; choose a tokenizer that preserves text"
    )
