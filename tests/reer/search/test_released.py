"""What the released code does otherwise, each behaviour by name, beside a small port of its rule."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from reer.errors import InputError
from reer.models.local.tokens import Tokens
from reer.models.protocols import Passage, Prompt
from reer.models.replay import _key
from reer.prompts import BoundPrompts
from reer.search.methods import RandomSearch, RequestScores, SegmentSearch
from reer.search.score import NllScorer, ScoreMetric
from reer.text import join_segments
from reer.types import Message, Pair
from tests.fakes.plans import compose
from tests.fakes.prompts import BOUND

RELEASED = ScoreMetric(
    "clipped_nll", 2.0, skip_first_segment=True, wrap_in_instruction=True, boundary_tokens=True, raw_draft=True
)
FIRST, SECOND = f"The harbour wakes. {'a' * 90}.", f"The boats go out. {'b' * 100}."
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[a]"


def pair(solution: str) -> Pair:
    return Pair(id="p", query="Write.", solution=solution, category="others", language="en", source="t")


PAIR = pair(f"{FIRST}\n\n{SECOND}")


def released_pieces(text: str, separator: str) -> list[str]:
    """A port of the released segmenter, for texts without formulas: chunks and what separates them by turns; short and
    blank ones go to the front of the next long one."""
    parts, waiting = list[str](), ""
    for piece in re.split(rf"({separator}\s*)", text):
        if not piece.strip() or len(piece) < 100:
            waiting += piece
        else:
            parts.append(waiting + piece)
            waiting = ""
    return [*parts[:-1], parts[-1] + waiting] if parts else [waiting]


def released_ids(tokenizer: Any, passage: Passage, thinking: str, solution: str) -> list[int]:
    """A port of the released span: tokens of everything as one text, counted from its end."""
    pieces = released_pieces(solution, "\n\n")
    first, *rest = pieces if len(pieces) > 1 else released_pieces(solution, "\n")
    before = f"<think>\n{thinking}\n</think>\n<answer>\n{first}"
    said = before + "".join(rest) + "\n</answer>"
    ends = tokenizer(said, return_offsets_mapping=True)["offset_mapping"]
    back = next(n for n, (begin, _) in enumerate(reversed(ends), 1) if begin <= len(before))
    span = next(n for n, (_, end) in enumerate(ends[-back:], 1) if end >= len(before + "".join(rest)))
    turns = [{"role": m.role, "content": m.content} for m in passage.context.messages]
    opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(opened.removesuffix("<think>\n") + said, add_special_tokens=False)["input_ids"]
    return ids[-back : len(ids) - back + span]


@pytest.fixture(scope="module")
def merging() -> PreTrainedTokenizerFast:
    """Bytes, but a full stop and line breaks are one token, as in large vocabularies."""
    core = Tokenizer(
        models.BPE(
            vocab={
                token: n for n, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĊĊ", ".ĊĊ", ".Ċ"])
            },
            merges=[("Ċ", "Ċ"), (".", "ĊĊ"), (".", "Ċ")],
        )
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def scored(metric: ScoreMetric, solution: str, thinking: Sequence[str] = ("I plan.",)) -> Passage:
    passage = metric.passage(pair(solution), tuple(thinking), BOUND)
    assert passage is not None
    return passage


def test_boundary_tokens_are_scored_with_the_solution(merging: PreTrainedTokenizerFast) -> None:
    passage = scored(RELEASED, PAIR.solution)
    context, answer = Tokens(merging).passage_ids(passage)
    assert answer == released_ids(merging, passage, "I plan.", PAIR.solution)
    assert merging.decode(answer) == f".\n\n{SECOND}\n"
    assert merging.decode(context).endswith(f"<answer>\n{FIRST[:-1]}")


def test_a_solution_of_one_segment_has_its_boundary_scored(merging: PreTrainedTokenizerFast) -> None:
    passage = scored(RELEASED, "One line.")
    _, answer = Tokens(merging).passage_ids(passage)
    assert answer == released_ids(merging, passage, "I plan.", "One line.")
    assert merging.decode(answer) == ".\n"


@pytest.mark.parametrize(
    "solution",
    [
        f"{FIRST}\n\n\n  {SECOND}",
        f"{FIRST}\n{SECOND}\n{FIRST}",
        f"Title\n\n{FIRST}\n\nShort.\n\n{SECOND}\n\nThe end.",
        f"{FIRST}  \n\n{SECOND}",
    ],
)
def test_the_scored_span_is_the_released_one(merging: PreTrainedTokenizerFast, solution: str) -> None:
    passage = scored(RELEASED, solution)
    assert Tokens(merging).passage_ids(passage)[1] == released_ids(merging, passage, "I plan.", solution)


def test_the_span_of_real_texts_is_the_released_one(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "qwen3")
    rows = [json.loads(line) for line in (shared / "pairs" / "demo24.jsonl").read_text().splitlines()]
    beyond = 0
    for solution in (row["answer"].strip() for row in rows):
        passage = scored(RELEASED, solution)
        _, answer = Tokens(tokenizer).passage_ids(passage)
        assert answer == released_ids(tokenizer, passage, "I plan.", solution)
        beyond += tokenizer.decode(answer) != passage.answer
    assert beyond > len(rows) / 2, "most spans reach over an end of the solution"


def test_without_boundary_tokens_the_span_is_the_rest_of_the_solution(merging: PreTrainedTokenizerFast) -> None:
    _, answer = Tokens(merging).passage_ids(scored(compose("scale=smoke").scorer.score, PAIR.solution))
    assert merging.decode(answer) == SECOND


class Records:
    """A scorer that keeps what it was asked."""

    name = "records"

    def __init__(self) -> None:
        self.prefills: list[str] = []

    def score(self, passages: Sequence[Passage]) -> Any:
        self.prefills += [passage.context.prefill for passage in passages]
        yield from enumerate([(1.0,)] * len(passages))


@pytest.mark.parametrize("raw_draft", [True, False])
def test_the_draft_is_scored_as_it_was_generated_and_rewrites_as_they_are_joined(raw_draft: bool) -> None:
    metric = ScoreMetric("nll", None, skip_first_segment=False, wrap_in_instruction=True, raw_draft=raw_draft)
    raw, segments = "I plan.  \n\n\nI write.\n", ("I plan.", "I write.")
    model, bound = Records(), BoundPrompts(BOUND.en, BOUND.zh)
    scorer = NllScorer(model, metric, {"p": PAIR}, bound, {"p": raw})
    scorer([RequestScores("p", (segments,), draft_first=True), RequestScores("p", (segments,))])
    read = raw if raw_draft else join_segments(segments)
    assert model.prefills == [f"<think>\n{text}\n</think>\n<answer>\n" for text in (read, join_segments(segments))]


def test_any_lower_score_wins_without_the_floor_of_the_noise() -> None:
    search = SegmentSearch(max_edits=1, n_candidates=1, threshold=0.25, noise_floor=False)
    assert search.rescaled(lambda nats: nats, noise=0.1).min_gain == 0
    assert compose("scale=smoke", "search=released").search == SegmentSearch(
        max_edits=10, n_candidates=2, threshold=0.25, noise_floor=False
    )
    with pytest.raises(InputError, match="noise_floor False; leave them out"):
        RandomSearch(max_edits=1, n_candidates=1, noise_floor=False)


def test_recorded_scores_keep_their_keys() -> None:
    """A passage without a closing is found under the key that it had before there was one."""
    prompt = Prompt((Message("user", "q"),), "p")
    assert _key("score", "m", Passage(prompt, "a")) == "c853d4803d732177cd03270070171cf0"
    assert _key("score", "m", Passage(prompt, "a", closing="")) != _key("score", "m", Passage(prompt, "a"))
