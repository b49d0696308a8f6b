"""Nats per token of answers after their contexts, each distinct beginning computed once and the head on answers only.

Passages of one group (the candidates of a step, and of the steps before) share beginnings. Their common tokens are run
once, and what a later step will begin with is kept, as far as the memory set aside for it reaches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from reer.models.local.prefix import NOTHING, Kv, can_share, hidden_after
from reer.models.protocols import Nats

if TYPE_CHECKING:
    from torch import Tensor

Ids = list[int]
HEAD_ROWS = 512  # rows of logits that exist at a time: a vocabulary wide each


@dataclass(frozen=True)
class CachedPrefix:
    """What is kept of a group: the tokens its last passages shared, and the rest of each one's context."""

    shared: Ids
    shared_kv: Kv
    branches: tuple[tuple[Ids, Kv], ...]

    @property
    def bytes(self) -> int:
        return self.shared_kv.bytes + sum(kv.bytes for _, kv in self.branches)

    def beginning_of(self, ids: Ids) -> Kv:
        """Keys and values of the longest beginning of `ids` that is known here."""
        same = shared_tokens(self.shared, ids)
        if same < len(self.shared):
            return self.shared_kv.first(same)
        lengths = [shared_tokens(own, ids[same:]) for own, _ in self.branches]
        best = max(lengths, default=0)
        return self.shared_kv.then(self.branches[lengths.index(best)][1].first(best)) if best else self.shared_kv


@dataclass
class Counts:
    """What scoring cost, in numbers that hold on any machine."""

    forwarded_tokens: int = 0
    head_rows: int = 0
    passages: int = 0


@dataclass
class PrefixScorer:
    """Scores token ids with a loaded causal model. `rows` passages run together; up to `budget_bytes` of
    beginnings are kept between calls, those of the groups asked for last."""

    model: Any
    rows: int
    budget_bytes: int
    counts: Counts = field(default_factory=Counts)
    kept: OrderedDict[str, CachedPrefix] = field(default_factory=OrderedDict)

    def score(self, passages: Sequence[tuple[Ids, Ids]], groups: Sequence[str]) -> Iterator[tuple[int, Nats]]:
        """The nats of each (context, answer), with its index. Passages that are computed together come one after
        another, with no computation in between. A passage of group '' shares nothing."""
        by_group: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            by_group.setdefault(group or f"#{i}", []).append(i)
        for together in self._batches(by_group, passages):
            members = [i for group in together for i in by_group[group]]
            yield from zip(members, self._together(together, [passages[i] for i in members]), strict=True)

    def _together(self, groups: Sequence[str], passages: Sequence[tuple[Ids, Ids]]) -> list[Nats]:
        import torch

        with torch.inference_mode():  # never left open while a caller's code runs
            return self._group(groups[0], passages) if len(groups) == 1 else self._loners(groups, passages)

    def _batches(self, by_group: dict[str, list[int]], passages: Sequence[tuple[Ids, Ids]]) -> list[list[str]]:
        """Which groups run together: those with a beginning to share alone, the first passages of many side by side
        with others of like length."""
        lone = [group for group, members in by_group.items() if len(members) == 1 and group not in self.kept]
        lone.sort(key=lambda group: sum(map(len, passages[by_group[group][0]])))
        chunks = [lone[start : start + self.rows] for start in range(0, len(lone), self.rows)]
        return chunks + [[group] for group in by_group if group not in set(lone)]

    def _loners(self, groups: Sequence[str], passages: Sequence[tuple[Ids, Ids]]) -> list[Nats]:
        """One passage of each group, none of which begins like another."""
        share = can_share(self.model.config) and any(group[0] != "#" for group in groups)
        nats, branches = self._part(passages, NOTHING, share)
        for group, (ids, kv) in zip(groups, branches, strict=False):  # nothing is kept where nothing can be shared
            if group[0] != "#":
                self._keep(group, CachedPrefix([], NOTHING, ((ids, kv.copy()),)))
        return nats

    def _group(self, group: str, passages: Sequence[tuple[Ids, Ids]]) -> list[Nats]:
        share = can_share(self.model.config)
        prefix = self._prefix(group, passages) if share else NOTHING
        nats: list[Nats] = []
        branches: list[tuple[Ids, Kv]] = []
        for start in range(0, len(passages), self.rows):
            more, made = self._part(passages[start : start + self.rows], prefix, share and group[0] != "#")
            nats, branches = nats + more, branches + made
        if branches:
            self._keep(group, CachedPrefix(passages[0][0][: prefix.tokens], prefix, tuple(branches)))
        return nats

    def _part(
        self, part: Sequence[tuple[Ids, Ids]], prefix: Kv, share: bool
    ) -> tuple[list[Nats], list[tuple[Ids, Kv]]]:
        """Passages run together after one prefix; what of each context may be shared later."""
        keep = max(len(context) for context, _ in part) - prefix.tokens if share else 0
        hidden, made = self._forward([(c + a)[prefix.tokens :] for c, a in part], prefix, keep)
        nats: list[Nats] = []
        branches: list[tuple[Ids, Kv]] = []
        for row, (context, answer) in enumerate(part):
            at = len(context) - prefix.tokens - 1  # the output of the token before is what predicts a token
            nats.append(self._nats(hidden[row, at : at + len(answer)], answer))
            if keep:
                branches.append((context[prefix.tokens :], made.row(row, len(context) - prefix.tokens)))
        return nats, branches

    def _prefix(self, group: str, passages: Sequence[tuple[Ids, Ids]]) -> Kv:
        """What all passages begin with, computed as far as it is not kept. The last token of a context stays fresh."""
        ids = passages[0][0]
        most = min(len(context) for context, _ in passages) - 1
        kept = self.kept.pop(group, None)
        known = kept.beginning_of(ids[:most]) if kept else NOTHING
        if len(passages) == 1:
            return known
        common = min(most, *(shared_tokens(ids, context) for context, _ in passages[1:]))
        known = known.first(common)
        if known.tokens == common:
            return known
        _, made = self._forward([ids[known.tokens : common]], known, common - known.tokens)
        return known.then(made)

    def _forward(self, rows: Sequence[Ids], prefix: Kv, keep: int) -> tuple[Tensor, Kv]:
        """Hidden states of the rows, padded on the right: nothing attends to what comes after it."""
        import torch

        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        self.counts.forwarded_tokens += ids.numel()
        if can_share(self.model.config):
            return hidden_after(self.model, ids, prefix, keep)
        return self.model.model(input_ids=ids, use_cache=False).last_hidden_state, NOTHING

    def _nats(self, hidden: Tensor, answer: Ids) -> Nats:
        """The head on the answer's rows alone, a bounded number of rows at a time."""
        import torch
        from torch.nn.functional import cross_entropy

        target = torch.tensor(answer, device=hidden.device)
        if hidden.shape[0] != len(answer):
            raise RuntimeError(f"scored {hidden.shape[0]} tokens of an answer of {len(answer)}")
        self.counts.passages += 1
        self.counts.head_rows += len(answer)
        head = self.model.get_output_embeddings()
        parts = zip(hidden.split(HEAD_ROWS), target.split(HEAD_ROWS), strict=True)
        nats = [cross_entropy(head(states).float(), tokens, reduction="none") for states, tokens in parts]
        return tuple(torch.cat(nats).tolist())

    def _keep(self, group: str, kept: CachedPrefix) -> None:
        self.kept[group] = kept
        while sum(one.bytes for one in self.kept.values()) > self.budget_bytes:
            self.kept.popitem(last=False)


def shared_tokens(a: Ids, b: Ids) -> int:
    """How many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
