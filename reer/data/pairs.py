"""Raw rows become Pairs: they are selected by length, deduplicated, and given queries and categories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from pydantic import PositiveInt

from reer.data.duplicates import Duplicates, SameRow
from reer.data.rows import OnBadRow, Problems
from reer.errors import InputError
from reer.models.protocols import Generator, Request, Sampling, in_order
from reer.prompts import PromptChoice
from reer.taxonomy import Taxonomy, classify
from reer.text import control_tokens, fill, language_of, ngrams, split_segments, words
from reer.types import Drop, Pair, RawPair, content_id, count_reasons

BENCHMARK_NGRAM = 8
EPSILON = 1e-9  # shares are sums and products of decimal fractions


Quotas = Mapping[tuple[str, str], float]
"""The share of the pairs by source and category; the category '' is all that no other share names."""
EVERY: Quotas = {}


@runtime_checkable
class Source(Protocol):
    """A choice of `source=`: yields raw rows."""

    @property
    def name(self) -> str: ...

    @property
    def on_bad_row(self) -> OnBadRow: ...

    @property
    def quotas(self) -> Quotas:
        """The shares in which rows are selected; empty: in order."""
        ...

    @property
    def same_row(self) -> SameRow:
        """Which rows count as the same row."""
        ...

    def rows(self, problems: Problems) -> Iterable[RawPair]:
        """Rows in a fixed order; bad rows are reported to `problems`."""
        ...


@dataclass(frozen=True)
class Selection:
    """Bounds on the solutions, and the number of pairs to select (None: all)."""

    pairs: PositiveInt | None
    min_words: PositiveInt
    max_words: PositiveInt
    min_segments: PositiveInt = 1

    def __post_init__(self) -> None:
        if (self.pairs is not None and self.pairs < 1) or not 0 < self.min_words <= self.max_words:
            raise InputError(f"scale: want pairs >= 1 or null and 0 < min_words <= solution_words, got {self}")


def selected(source: Source, selection: Selection, problems: Problems) -> list[RawPair]:
    """The rows of a source that become pairs; see `select`."""
    return select(source.rows(problems), selection, problems, source.quotas, source.same_row)


def select(
    rows: Iterable[RawPair],
    selection: Selection,
    problems: Problems,
    quotas: Quotas = EVERY,
    same_row: SameRow = "solution",
) -> list[RawPair]:
    """The first rows in order that pass every rule, of each quota its share; the others are listed in `problems` with
    their reasons.

    Raises InputError if no row passes, or fewer than a quota wants.
    """
    kept: list[RawPair] = []
    duplicates, room = Duplicates(same_row), Room(quotas, selection.pairs)
    for row in rows:
        reason = _reason(row, selection) or room.reason(row) or duplicates.reason(row)
        if reason:
            problems.drops.append(Drop(row.where, reason))
        else:
            kept.append(row)
            room.take(row)
        if len(kept) == selection.pairs:
            break
    if not kept:
        counts = count_reasons(problems.drops)
        why = ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "it has no rows"
        first = "".join(
            f"; for example {problems.examples[reason]}" for reason in counts if reason in problems.examples
        )
        raise InputError(
            f"no pairs are left of this source ({why}{first}); relax source.min_votes, scale.min_words "
            f"({selection.min_words}), scale.solution_words ({selection.max_words}) or scale.solution_segments "
            f"({selection.min_segments}), or give another source"
        )
    room.refuse_shortfall()
    return kept


class Room:
    """How many rows each quota still takes. Raises InputError for quotas of an unknown number of pairs."""

    def __init__(self, quotas: Quotas, pairs: int | None) -> None:
        if quotas and pairs is None:
            raise InputError("scale.pairs: want a number, because the source has shares; got null")
        self.wanted = apportioned(quotas, pairs or 0)
        self.left = dict(self.wanted)

    def _quota(self, row: RawPair) -> tuple[str, str]:
        own = (row.source, row.category or "")
        return own if own in self.left else (row.source, "")

    def reason(self, row: RawPair) -> str | None:
        """Why there is no room for a row; None if there is."""
        if not self.wanted:
            return None
        left = self.left.get(self._quota(row))
        return "not_in_mix" if left is None else None if left else "share_full"

    def take(self, row: RawPair) -> None:
        if self.wanted:
            self.left[self._quota(row)] -= 1

    def refuse_shortfall(self) -> None:
        """Raise InputError for a quota that the rows did not fill."""
        short = {quota: left for quota, left in self.left.items() if left}
        for (source, category), left in short.items():
            wanted = self.wanted[source, category]
            of = f"part {source!r}" + (f", category {category!r}" if category else "")
            raise InputError(
                f"source: {of}: {wanted - left} rows passed every rule, its share is {wanted} pairs; lower the share "
                "or scale.pairs, or give the part more rows"
            )


def apportioned(quotas: Quotas, total: int) -> dict[tuple[str, str], int]:
    """Whole numbers in these shares that add up to the total, by largest remainder."""
    whole = {quota: int(share * total + EPSILON) for quota, share in quotas.items()}
    by_remainder = sorted(quotas, key=lambda quota: whole[quota] - quotas[quota] * total)
    for quota in by_remainder[: total - sum(whole.values())] if quotas else ():
        whole[quota] += 1
    return whole


def _reason(row: RawPair, selection: Selection) -> str | None:
    size = len(words(row.solution))
    if size < selection.min_words:
        return "solution_too_short"
    if size > selection.max_words:
        return "solution_too_long"
    if control_tokens(row.solution) or control_tokens(row.query or ""):
        return "control_tokens"
    if len(split_segments(row.solution)) < selection.min_segments:
        return "solution_few_segments"
    return None


@dataclass(frozen=True, kw_only=True)
class Completed:
    """Complete pairs, the thinking that the source provides for some by pair id, and how many gaps were filled by the
    model and by rule."""

    pairs: tuple[Pair, ...]
    thinking: Mapping[str, str]
    queries_reversed: int
    queries_by_template: int
    categories_by_model: int
    categories_by_rule: int


def complete(
    rows: Sequence[RawPair], taxonomy: Taxonomy, prompts: PromptChoice, generator: Callable[[], Generator]
) -> Completed:
    """Rows as Pairs. A model, opened only if needed, writes missing queries and assigns unknown categories."""
    rows = [replace(row, category=taxonomy.resolve(row.category)) for row in rows]
    no_query = [i for i, row in enumerate(rows) if row.query is None]
    by_template = 0
    if no_query:
        queries, by_template = reverse_queries([rows[i].solution for i in no_query], generator(), prompts)
        for i, query in zip(no_query, queries, strict=True):
            rows[i] = replace(rows[i], query=query)
    no_category = [i for i, row in enumerate(rows) if row.category is None]
    by_rule = 0
    if no_category:
        categories, by_rule = classify([str(rows[i].query) for i in no_category], taxonomy, generator(), prompts)
        for i, category in zip(no_category, categories, strict=True):
            rows[i] = replace(rows[i], category=category)
    pairs = _pairs(rows)
    return Completed(
        pairs=pairs,
        thinking={pair.id: row.thinking for pair, row in zip(pairs, rows, strict=True) if row.thinking},
        queries_reversed=len(no_query) - by_template,
        queries_by_template=by_template,
        categories_by_model=len(no_category) - by_rule,
        categories_by_rule=by_rule,
    )


def _pairs(rows: Sequence[RawPair]) -> tuple[Pair, ...]:
    """The rows as pairs. Where rows hold several trajectories of one pair, the id of each but the first is also of its
    thinking."""
    pairs, thinking = list[Pair](), dict[str, str | None]()
    for row in rows:
        pair = _pair(row)
        if thinking.setdefault(pair.id, row.thinking) != row.thinking:
            pair = replace(pair, id=content_id(pair.id, row.thinking or ""))
        pairs.append(pair)
    return tuple(pairs)


def _pair(row: RawPair) -> Pair:
    query = str(row.query).strip()
    return Pair(
        id=content_id(*(turn.content for turn in row.context), query, row.solution),
        query=query,
        solution=row.solution,
        category=str(row.category),
        language=language_of(query),
        source=row.source,
        context=row.context,
    )


def reverse_queries(solutions: Sequence[str], generator: Generator, prompts: PromptChoice) -> tuple[list[str], int]:
    """The query that each solution answers, written by the model, and the number of replies that were replaced. A reply
    of under 4 or over 120 words, cut by its limit or with control tokens is replaced by the prompts' fallback text with
    the opening words of the solution. A solution's language chooses its prompt."""
    sampling = Sampling(temperature=0, top_p=1, max_tokens=120)
    texts = [prompts.for_language(language_of(solution)) for solution in solutions]
    requests = [
        Request(text.render("reverse", {"solution": solution}), sampling, 0)
        for text, solution in zip(texts, solutions, strict=True)
    ]
    queries, templated = list[str](), 0
    replies = in_order(generator.generate(requests), len(requests))
    for text, solution, reply in zip(texts, solutions, replies, strict=True):
        query = reply.text.strip()
        if not 4 <= len(words(query)) <= 120 or control_tokens(query) or reply.stopped == "length":
            opening = solution[:80].split("\n")[0].strip()
            query, templated = fill(text.reverse_fallback, {"opening": opening}), templated + 1
        queries.append(query)
    return queries, templated


def benchmark_overlap(pairs: Sequence[Pair], prompts: Iterable[str]) -> list[str]:
    """Ids of the pairs whose query shares a word 8-gram with a benchmark prompt, or equals a shorter prompt."""
    whole = {tuple(words(prompt)) for prompt in prompts}
    grams = {gram for tokens in whole for gram in ngrams(tokens, BENCHMARK_NGRAM)}
    return [
        pair.id
        for pair in pairs
        if tuple(words(pair.query)) in whole
        or any(gram in grams for gram in ngrams(words(pair.query), BENCHMARK_NGRAM))
    ]
