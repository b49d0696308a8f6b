"""Shared beginnings are computed once, kept as far as memory reaches, and change no score."""

from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen3Config

from reer.models.local import prefix
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.local.prefix import NOTHING, can_share, hidden_after
from reer.models.local.scoring import PrefixScorer, shared_tokens
from reer.models.protocols import Device, Nats, in_order

DRAW = Random(3)
MIB = 2**20


def ids(count: int) -> list[int]:
    return [DRAW.randrange(3, 250) for _ in range(count)]


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    with LocalModel(TinyModel()).open(Device("cpu")) as session:
        yield session.model


def naive(model: Any, passages: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
    """One whole forward pass for each passage, logits of every token."""
    with torch.inference_mode():
        logits = [
            model(input_ids=torch.tensor([c + a]), use_cache=False).logits[0].log_softmax(-1) for c, a in passages
        ]
    return [
        [-float(rows[len(c) + i - 1, t]) for i, t in enumerate(a)]
        for rows, (c, a) in zip(logits, passages, strict=True)
    ]


def nats_of(scorer: PrefixScorer, passages: Sequence[tuple[list[int], list[int]]], groups: Sequence[str]) -> list[Nats]:
    return in_order(scorer.score(passages, groups), len(passages))


def close(found: Any, wanted: Any) -> bool:
    return all(list(a) == pytest.approx(b, abs=1e-4) for a, b in zip(found, wanted, strict=True))


def search_of(x: int, segments: int, size: int, y: int, k: int) -> list[list[tuple[list[int], list[int]]]]:
    """The calls of one search: the draft, then k candidates for each segment, the first of which is accepted. Rewrites
    begin with tokens that no other text holds, so that nothing is shared by chance."""
    query, z, answer = ids(x), [ids(size) for _ in range(segments)], ids(y)
    calls = [[([*query, *chain(*z)], answer)]]
    for i in range(segments):
        rewrites = [[250 + n, *ids(size - 1)] for n in range(k)]
        calls.append([([*query, *chain(*z[:i], new, *z[i + 1 :])], answer) for new in rewrites])
        z[i] = rewrites[0]
    return calls


def distinct_beginnings(calls: list[list[tuple[list[int], list[int]]]]) -> int:
    """The least number of tokens that any exact method must run: every distinct beginning once."""
    return len({tuple((c + a)[: n + 1]) for call in calls for c, a in call for n in range(len(c + a))})


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_whole_search_scores_like_the_naive_loop(model: Any, rows: int) -> None:
    scorer = PrefixScorer(model=model, rows=rows, budget_bytes=64 * MIB)
    for call in search_of(x=20, segments=4, size=9, y=40, k=3):
        assert close(nats_of(scorer, call, ["p"] * len(call)), naive(model, call))


def test_every_distinct_beginning_is_run_once_and_the_head_on_answers_only(model: Any) -> None:
    calls = search_of(x=20, segments=4, size=9, y=40, k=3)
    scorer = PrefixScorer(model=model, rows=1, budget_bytes=64 * MIB)
    for call in calls:
        nats_of(scorer, call, ["p"] * len(call))
    # The last token of a context is always fresh, so that there is an output to predict the answer from.
    assert scorer.counts.forwarded_tokens == distinct_beginnings(calls)
    assert (scorer.counts.passages, scorer.counts.head_rows) == (13, 13 * 40)


def test_without_memory_candidates_of_one_call_still_share(model: Any) -> None:
    calls = search_of(x=20, segments=3, size=9, y=40, k=3)
    scorer = PrefixScorer(model=model, rows=1, budget_bytes=0)
    for call in calls:
        assert close(nats_of(scorer, call, ["p"] * len(call)), naive(model, call))
    assert scorer.counts.forwarded_tokens == sum(distinct_beginnings([call]) for call in calls)
    assert not scorer.cached


def test_many_searches_side_by_side_keep_what_fits_and_score_the_same(model: Any) -> None:
    searches = [search_of(x=20, segments=3, size=9, y=30, k=2) for _ in range(6)]
    scorer = PrefixScorer(model=model, rows=2, budget_bytes=90_000)
    for round in range(4):
        call = [passage for search in searches for passage in search[round]]
        groups = [f"p{n}" for n, search in enumerate(searches) for _ in search[round]]
        assert close(nats_of(scorer, call, groups), naive(model, call))
    assert 0 < len(scorer.cached) < 6
    assert sum(kept.bytes for kept in scorer.cached.values()) <= 90_000


def test_passages_of_no_group_share_and_keep_nothing(model: Any) -> None:
    scorer = PrefixScorer(model=model, rows=4, budget_bytes=64 * MIB)
    call = search_of(x=20, segments=1, size=9, y=30, k=3)[1]
    assert close(nats_of(scorer, call, [""] * 3), naive(model, call))
    assert scorer.counts.forwarded_tokens == sum(len(c + a) for c, a in call)
    assert not scorer.cached


def test_contexts_and_answers_of_other_lengths_and_equal_passages(model: Any) -> None:
    shared, scorer = ids(15), PrefixScorer(model=model, rows=4, budget_bytes=64 * MIB)
    call = [(shared + ids(n), ids(3 * n + 1)) for n in (0, 1, 7)] + [(shared, ids(2))] * 2 + [(shared[:1], ids(4))]
    for _ in range(2):
        assert close(nats_of(scorer, call, ["p"] * len(call)), naive(model, call))


def test_what_a_group_kept_of_another_text_is_not_used(model: Any) -> None:
    scorer = PrefixScorer(model=model, rows=1, budget_bytes=64 * MIB)
    for _ in range(3):
        call = [(ids(12), ids(9)) for _ in range(2)]
        assert close(nats_of(scorer, call, ["p", "p"]), naive(model, call))


def test_the_two_attentions_agree(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, fresh = torch.tensor([ids(11)]), torch.tensor([ids(7), ids(7)])
    with torch.inference_mode():
        _, kv = hidden_after(model, before, NOTHING, keep=11)
        split, _ = hidden_after(model, fresh, kv, keep=0)
        monkeypatch.setattr(prefix, "_split", prefix._joined)
        joined, _ = hidden_after(model, fresh, kv, keep=0)
        whole = model.model(input_ids=torch.cat([before.expand(2, -1), fresh], 1), use_cache=False).last_hidden_state
    assert torch.allclose(split, joined, atol=1e-5)
    assert torch.allclose(split, whole[:, 11:], atol=1e-5)


def test_models_whose_layers_see_a_window_share_nothing() -> None:
    assert can_share(Qwen3Config())
    assert can_share(Qwen2Config())
    assert not can_share(Qwen2Config(use_sliding_window=True, sliding_window=64, max_window_layers=0))


def test_a_model_that_cannot_share_is_scored_all_the_same(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reer.models.local.scoring.can_share", lambda config: False)
    scorer = PrefixScorer(model=model, rows=2, budget_bytes=64 * MIB)
    call = search_of(x=20, segments=2, size=9, y=30, k=3)[1]
    assert close(nats_of(scorer, call, ["p"] * 3), naive(model, call))
    assert not scorer.cached


@pytest.mark.parametrize(
    ("a", "b", "same"), [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2, 4], 2), ([1], [1, 2], 1), ([2], [1], 0)]
)
def test_shared_tokens(a: list[int], b: list[int], same: int) -> None:
    assert shared_tokens(a, b) == same


def test_first_passages_of_many_pairs_run_side_by_side(model: Any) -> None:
    """Rows of unlike length, each with a group of its own; what they leave behind is shared by what comes after."""
    calls = [search_of(10, 3, size, 12, 2) for size in (4, 9, 6)]
    firsts, groups = [call[0][0] for call in calls], ["a", "b", "c"]
    scorer = PrefixScorer(model=model, rows=2, budget_bytes=64 * MIB)
    assert close(nats_of(scorer, firsts, groups), naive(model, firsts))
    assert set(scorer.cached) == set(groups)
    before = scorer.counts.forwarded_tokens
    assert close(nats_of(scorer, calls[1][1], ["b", "b"]), naive(model, calls[1][1]))
    fresh = PrefixScorer(model=model, rows=2, budget_bytes=64 * MIB)
    nats_of(fresh, calls[1][1], ["b", "b"])
    assert scorer.counts.forwarded_tokens - before < fresh.counts.forwarded_tokens
