"""Nats per token of answers given their contexts; shared prefixes are computed once, the LM head runs on answers only.

Passages of one group (the candidates of a step, and of earlier steps) share prefixes. Their common tokens are computed
once, and the prefixes that a later step may need are cached, within a memory budget.
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
HEAD_ROWS = 512  # rows of logits computed at a time; a row is as wide as the vocabulary


@dataclass(frozen=True)
class CachedPrefix:
    """The cache of a group: the tokens that its last passages shared, and the rest of the context of each."""

    shared: Ids
    shared_kv: Kv
    branches: tuple[tuple[Ids, Kv], ...]

    @property
    def bytes(self) -> int:
        return self.shared_kv.bytes + sum(kv.bytes for _, kv in self.branches)

    def longest_prefix_of(self, ids: Ids) -> Kv:
        """Keys and values of the longest prefix of `ids` that is cached here."""
        same = shared_tokens(self.shared, ids)
        if same < len(self.shared):
            return self.shared_kv.first(same)
        lengths = [shared_tokens(own, ids[same:]) for own, _ in self.branches]
        best = max(lengths, default=0)
        return self.shared_kv.then(self.branches[lengths.index(best)][1].first(best)) if best else self.shared_kv


@dataclass
class Counts:
    """What scoring cost, in counts that are the same on any machine."""

    forwarded_tokens: int = 0
    head_rows: int = 0
    passages: int = 0


@dataclass(kw_only=True)
class PrefixScorer:
    """Scores token ids with a loaded causal model. `rows` passages run together; between calls up to `budget_bytes` of
    prefixes are cached, those of the most recent groups."""

    model: Any
    rows: int
    budget_bytes: int
    counts: Counts = field(default_factory=Counts)
    cached: OrderedDict[str, CachedPrefix] = field(default_factory=OrderedDict)

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
            return self._group(groups[0], passages) if len(groups) == 1 else self._singles(groups, passages)

    def _batches(self, by_group: dict[str, list[int]], passages: Sequence[tuple[Ids, Ids]]) -> list[list[str]]:
        """Which groups run together. A group with a prefix to share runs alone; single passages without a cached prefix
        run with others of similar length."""
        single = [group for group, members in by_group.items() if len(members) == 1 and group not in self.cached]
        single.sort(key=lambda group: sum(map(len, passages[by_group[group][0]])))
        chunks = [single[start : start + self.rows] for start in range(0, len(single), self.rows)]
        return chunks + [[group] for group in by_group if group not in set(single)]

    def _singles(self, groups: Sequence[str], passages: Sequence[tuple[Ids, Ids]]) -> list[Nats]:
        """One passage of each group; none of them shares a prefix."""
        share = can_share(self.model.config) and any(group[0] != "#" for group in groups)
        nats, branches = self._part(passages, NOTHING, share)
        for group, (ids, kv) in zip(
            groups, branches, strict=False
        ):  # there are no branches where nothing can be shared
            if group[0] != "#":
                self._cache(group, CachedPrefix([], NOTHING, ((ids, kv.copy()),)))
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
            self._cache(group, CachedPrefix(passages[0][0][: prefix.tokens], prefix, tuple(branches)))
        return nats

    def _part(
        self, part: Sequence[tuple[Ids, Ids]], prefix: Kv, share: bool
    ) -> tuple[list[Nats], list[tuple[Ids, Kv]]]:
        """The nats of passages run together after one prefix, and the rest of each context, to be shared later."""
        keep = max(len(context) for context, _ in part) - prefix.tokens if share else 0
        hidden, made = self._forward([(c + a)[prefix.tokens :] for c, a in part], prefix, keep)
        nats: list[Nats] = []
        branches: list[tuple[Ids, Kv]] = []
        for row, (context, answer) in enumerate(part):
            at = len(context) - prefix.tokens - 1  # a token is predicted by the output at the one before it
            nats.append(self._nats(hidden[row, at : at + len(answer)], answer))
            if keep:
                branches.append((context[prefix.tokens :], made.row(row, len(context) - prefix.tokens)))
        return nats, branches

    def _prefix(self, group: str, passages: Sequence[tuple[Ids, Ids]]) -> Kv:
        """The common prefix of all passages, computed where it is not cached. It excludes the last token of a context,
        whose output predicts the answer's first token."""
        ids = passages[0][0]
        most = min(len(context) for context, _ in passages) - 1
        cached = self.cached.pop(group, None)
        known = cached.longest_prefix_of(ids[:most]) if cached else NOTHING
        if len(passages) == 1:
            return known
        common = min(most, *(shared_tokens(ids, context) for context, _ in passages[1:]))
        known = known.first(common)
        if known.tokens == common:
            return known
        _, made = self._forward([ids[known.tokens : common]], known, common - known.tokens)
        return known.then(made)

    def _forward(self, rows: Sequence[Ids], prefix: Kv, keep: int) -> tuple[Tensor, Kv]:
        """Hidden states of the rows, padded on the right, which is safe because no token attends to later ones."""
        import torch

        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        self.counts.forwarded_tokens += ids.numel()
        if can_share(self.model.config):
            return hidden_after(self.model, ids, prefix, keep)
        return self.model.model(input_ids=ids, use_cache=False).last_hidden_state, NOTHING

    def _nats(self, hidden: Tensor, answer: Ids) -> Nats:
        """The LM head on the answer's rows only, a bounded number of rows at a time."""
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

    def _cache(self, group: str, prefix: CachedPrefix) -> None:
        self.cached[group] = prefix
        while sum(one.bytes for one in self.cached.values()) > self.budget_bytes:
            self.cached.popitem(last=False)


def shared_tokens(a: Ids, b: Ids) -> int:
    """The number of leading tokens that two sequences have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
