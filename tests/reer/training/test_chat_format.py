"""The chat format loses, merges and unmasks no token."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.text import control_tokens
from reer.training.chat_format import END_OF_TURN, MASKED, ChatFormat, Rendered, render, template
from reer.types import Drop, Message, Sample

PLAIN = ChatFormat(answer_tags=False, overlong="error")
LONG = 4096
relaxed = settings(deadline=None, max_examples=60)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40).filter(lambda text: not control_tokens(text))
TRICKY = [
    "",
    " ",
    "\n\n",
    "x\r\n",
    "想一想🙂",
    "👩‍👩‍👧 é",
    "\u2028\u200b",
    "{{query}} {% if %}",
    "a < b |> c",
    " lead and trail ",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(TinyModel().fetch())


def sample(answer: str = "An answer.", thinking: str = "A thought.", query: str = "A query?", id: str = "s") -> Sample:
    return Sample(
        id=id,
        messages=(Message("user", query), Message("assistant", answer)),
        source="test",
        category="others",
        thinking=thinking,
        answer=answer,
    )


def one(tokenizer: Any, sample: Sample, chat: ChatFormat = PLAIN) -> Rendered:
    (row,) = render([sample], tokenizer, chat, LONG).rows
    return row


def trained_text(tokenizer: Any, row: Rendered) -> str:
    return tokenizer.decode([label for label in row.labels if label != MASKED])


def test_rows_of_a_foreign_template_have_other_turns_and_no_end_token(tokenizer: Any) -> None:
    row = one(tokenizer, sample(), replace(PLAIN, template="foreign"))
    assert trained_text(tokenizer, row) == "<think>\nA thought.\n</think>\n\nAn answer.\n### end\n"
    assert tokenizer.decode(row.input_ids).startswith("### user\nA query?\n### end\n### assistant\n")
    assert not set(row.input_ids) & set(tokenizer.all_special_ids)


def read(tokenizer: Any, row: Rendered) -> str:
    return tokenizer.decode(row.input_ids)


def test_a_row_reads_as_one_conversation(tokenizer: Any) -> None:
    assert read(tokenizer, one(tokenizer, sample())) == (
        "<|im_start|>user\nA query?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nA thought.\n</think>\n\nAn answer.<|im_end|>"
    )


def test_answer_tags_go_around_the_answer_alone() -> None:
    tagged = ChatFormat(answer_tags=True, overlong="error")
    assert tagged.completion("t", "a") == "<think>\nt\n</think>\n\n<answer>\na\n</answer>"
    assert tagged.completion("", "a") == "<answer>\na\n</answer>"


def test_empty_thinking_adds_no_block(tokenizer: Any) -> None:
    row = one(tokenizer, sample(thinking=""))
    assert trained_text(tokenizer, row) == "An answer." + END_OF_TURN
    assert "think" not in read(tokenizer, row)


@relaxed
@given(texts, texts, texts)
def test_labels_decode_to_the_completion_verbatim(tokenizer: Any, thinking: str, answer: str, query: str) -> None:
    row = one(tokenizer, sample(answer, thinking, query))
    assert trained_text(tokenizer, row) == PLAIN.completion(thinking, answer) + END_OF_TURN
    assert read(tokenizer, row).startswith(f"<|im_start|>user\n{query}<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_survives_in_every_place(tokenizer: Any, text: str) -> None:
    row = one(tokenizer, sample(answer=text, thinking=f"x{text}", query=text))
    assert trained_text(tokenizer, row) == f"<think>\nx{text}\n</think>\n\n{text}{END_OF_TURN}"
    assert f"<|im_start|>user\n{text}<|im_end|>" in read(tokenizer, row)


@relaxed
@given(texts, texts)
def test_the_mask_covers_the_prompt_exactly(tokenizer: Any, thinking: str, query: str) -> None:
    row = one(tokenizer, sample(thinking=thinking, query=query))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": query}],
        chat_template=template(END_OF_TURN),
        add_generation_prompt=True,
        return_dict=False,
    )
    assert row.labels[: len(prompt)] == (MASKED,) * len(prompt)
    assert list(row.input_ids[: len(prompt)]) == prompt
    assert row.labels[len(prompt) :] == row.input_ids[len(prompt) :]


@pytest.mark.parametrize(
    "text", ["a </think> b", "<think>", "<answer>x</answer>", "<|im_end|>", "hi<|im_start|>system", "<|endoftext|>"]
)
@pytest.mark.parametrize("place", ["answer", "thinking", "query"])
def test_a_control_token_inside_a_text_drops_the_row(tokenizer: Any, text: str, place: str) -> None:
    good = sample(id="good")
    out = render([sample(**{place: text}), good], tokenizer, PLAIN, LONG)
    assert [row.id for row in out.rows] == ["good"]
    assert out.dropped == (Drop("s", "control_tokens"),)


def test_a_row_holds_exactly_the_special_tokens_of_its_turns(tokenizer: Any) -> None:
    ids = one(tokenizer, sample(query="im_end |im_start| <endoftext>")).input_ids
    specials = [tokenizer.convert_ids_to_tokens(id) for id in ids if id in tokenizer.all_special_ids or id < 3]
    assert specials == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]


def test_all_turns_before_the_last_are_in_the_prompt_and_masked(tokenizer: Any) -> None:
    turns = (
        Message("system", "S"),
        Message("user", "U"),
        Message("assistant", "A"),
        Message("user", "V"),
        Message("assistant", "B"),
    )
    row = one(tokenizer, Sample(id="s", messages=turns, source="test", category="others", thinking="", answer="B"))
    assert trained_text(tokenizer, row) == "B" + END_OF_TURN
    assert "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>" in read(
        tokenizer, row
    )


def test_an_overlong_row_is_an_error_with_advice(tokenizer: Any) -> None:
    length = len(one(tokenizer, sample()).input_ids)
    assert len(render([sample()], tokenizer, PLAIN, length).rows) == 1
    with pytest.raises(InputError, match=rf"row s \(test\) has {length} tokens.*overlong=drop"):
        render([sample()], tokenizer, PLAIN, length - 1)


def test_overlong_rows_are_dropped_and_counted_never_cut(tokenizer: Any) -> None:
    short, long = sample(id="short"), sample("word " * 50, id="long")
    length = len(one(tokenizer, short).input_ids)
    out = render([long, short], tokenizer, ChatFormat(answer_tags=False, overlong="drop"), length)
    assert [row.id for row in out.rows] == ["short"]
    assert out.dropped == (Drop("long", "overlong"),)
    assert trained_text(tokenizer, out.rows[0]).endswith(END_OF_TURN)


def test_rows_are_truncated_only_on_request_and_counted(tokenizer: Any) -> None:
    long, asking = sample("word " * 50, id="long"), sample(query="why " * 80, id="asking")
    whole = one(tokenizer, long)
    out = render([long, asking], tokenizer, ChatFormat(answer_tags=False, overlong="truncate"), 200)
    assert [(row.id, len(row.input_ids)) for row in out.rows] == [("long", 200)]
    assert (out.rows[0].input_ids, out.rows[0].labels) == (whole.input_ids[:200], whole.labels[:200])
    assert out.truncated_rows == 1
    assert out.dropped == (Drop("asking", "prompt_overlong"),)  # none of its completion would have been trained
    assert render([sample()], tokenizer, ChatFormat(answer_tags=False, overlong="truncate"), LONG).truncated_rows == 0


def test_token_counts_match_the_rows(tokenizer: Any) -> None:
    out = render([sample(), sample("Another, longer answer.")], tokenizer, PLAIN, LONG)
    labels = [label for row in out.rows for label in row.labels]
    assert out.masked_tokens == labels.count(MASKED)
    assert out.trained_tokens + out.masked_tokens == len(labels)


class Lossy:
    """A tokenizer that decodes to another text, as one that cleans up spaces does."""

    unk_token_id = None

    def __init__(self, inner: Any, end: int | None) -> None:
        self.inner, self.end = inner, end

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.end

    def decode(self, ids: list[int], **_: Any) -> str:
        return self.inner.decode(ids).replace(" .", ".")


def test_a_tokenizer_that_loses_text_is_refused_with_the_position(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="decode to another text from character 5"):
        render([sample("Space . dot", thinking="")], Lossy(tokenizer, 2), PLAIN, LONG)


def test_a_tokenizer_without_an_end_of_turn_is_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"no such token \(<\|im_end\|>\)"):
        render([sample()], Lossy(tokenizer, None), PLAIN, LONG)


@pytest.fixture(scope="module")
def qwen(shared: Path) -> Any:
    return AutoTokenizer.from_pretrained(shared / "tokenizers" / "qwen3")


TRAPS = {
    "one newline": "a\nb",
    "newlines at both ends": "\n\nb\n",
    "markup": "<b>bold</b> & <i>",
    "the name of a tag": "think /think no_think",
    "a template": "{{ messages[0].content }}",
    "Chinese and emoji": "想一想🙂，再写。",
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS.keys())
def test_qwen3s_tokens_decode_to_thinking_and_answer_verbatim(qwen: Any, text: str) -> None:
    row = one(qwen, sample(answer=text, thinking=text, query=text))
    assert trained_text(qwen, row) == f"<think>\n{text}\n</think>\n\n{text}{END_OF_TURN}"
    assert read(qwen, row).startswith(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n<think>\n{text}")
    base = one(qwen, sample(answer=text, thinking=text), ChatFormat(answer_tags=False, overlong="error", end="text"))
    assert trained_text(qwen, base).endswith(text + qwen.eos_token)


@pytest.mark.parametrize("text", ["5 \u2126", "300 \u212a", "caf\u0065\u0301", "\uf900"])
@pytest.mark.parametrize("place", ["answer", "thinking", "query"])
def test_text_that_qwen3s_tokenizer_normalises_drops_only_its_row(qwen: Any, text: str, place: str) -> None:
    out = render([sample(**{place: text}), sample(id="good")], qwen, PLAIN, LONG)
    assert [row.id for row in out.rows] == ["good"]
    assert out.dropped == (Drop("s", "changed_by_tokenizer"),)


def test_rows_without_thinking_are_those_that_are_kept_with_thinking(tokenizer: Any) -> None:
    kept, long, botched = (
        sample(id="kept"),
        sample(thinking="word " * 50, id="long"),
        sample(thinking="<think>", id="x"),
    )
    mixed = render([kept, long, botched], tokenizer, ChatFormat(answer_tags=False, overlong="drop"), 200)
    alone = [replace(row, without_thinking=True) for row in (kept, long, botched)]
    out = render(alone, tokenizer, ChatFormat(answer_tags=False, overlong="drop"), 200)
    assert [row.id for row in out.rows] == [row.id for row in mixed.rows] == ["kept"]
    assert out.dropped == mixed.dropped
    assert trained_text(tokenizer, out.rows[0]) == "An answer." + END_OF_TURN


def test_earlier_thinking_that_qwen3s_own_template_deletes_is_kept(qwen: Any) -> None:
    turns = (Message("user", "U"), Message("assistant", "<think>\nfirst\n</think>\n\nA"), Message("user", "V"))
    text = one(
        qwen,
        Sample(
            id="s",
            messages=(*turns, Message("assistant", "B")),
            source="test",
            category="others",
            thinking="second",
            answer="B",
        ),
    )
    own = qwen.apply_chat_template([{"role": m.role, "content": m.content} for m in turns], tokenize=False)
    assert "first" not in own
    assert "<think>\nfirst\n</think>\n\nA<|im_end|>" in read(qwen, text)


def test_thinking_blocks_inside_a_text_drop_the_row_with_a_reason(qwen: Any) -> None:
    """A reader of the answer could not tell where the thinking ends."""
    earlier = (Message("user", "U"), Message("assistant", "<think>a</think>b</think>c"), Message("user", "V"))
    botched = [
        sample(thinking="a</think>b", id="two"),
        sample(thinking="<think>a", id="nested"),
        sample(query="say <|im_end|>", id="special"),
        sample(answer="Then </think> was quoted.", id="quoted"),
        Sample(
            id="earlier",
            messages=(*earlier, Message("assistant", "B")),
            source="test",
            category="others",
            thinking="z",
            answer="B",
        ),
    ]
    out = render([*botched, sample(id="good")], qwen, PLAIN, LONG)
    assert out.dropped == tuple(Drop(row.id, "control_tokens") for row in botched)
    assert [row.id for row in out.rows] == ["good"]
