"""How far the thinking leans on the solutions: what the stage measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.store.metrics import Detail, RowMetrics, number
from experiments.store.step import StageKey


@dataclass(frozen=True)
class CategoryAnchoring:
    """The thinking of one category: rows, lexical recall of the solution, and the share of 13-grams that it copies from
    the solution."""

    rows: int
    lexical_recall: float | None
    leak: float


@dataclass(frozen=True, kw_only=True)
class SurprisalAnchoring:
    """One pair as the scorer sees it: the share of the solution's surprisal that is removed by the thinking, by one
    written without the solution (blind), and by the solution itself; and by how many nats a token of either thinking
    is less surprising beside the solution. None where the scorer's context is too short."""

    pair_id: str
    removed: float | None
    removed_blind: float | None
    removed_by_solution: float | None
    gap: float | None
    gap_blind: float | None


@dataclass(frozen=True, kw_only=True)
class MeaningAnchoring:
    """How near the thinking of one pair is in meaning to its own solution, to the solutions of the other sampled pairs
    (what all texts of the set have in common), and how near a thinking written without the solution is to it."""

    pair_id: str
    similarity: float | None
    similarity_others: float | None
    similarity_blind: float | None


@dataclass(frozen=True, kw_only=True)
class AnchoringMetrics(RowMetrics):
    """How far the thinking leans on the solutions: words of all rows, surprisal of `scored` rows; see
    `SurprisalAnchoring`. Means are None without a row. `unscorable` rows leave nothing to score. `similarity` is of the
    sampled rows, where an embedding is chosen; see `MeaningAnchoring`."""

    lexical_recall: float | None
    leak: float | None
    scored: int
    unscorable: int
    removed: float | None
    removed_blind: float | None
    removed_by_solution: float | None
    gap: float | None
    gap_blind: float | None
    by_category: Mapping[str, CategoryAnchoring]
    similarity: float | None = None
    similarity_others: float | None = None
    similarity_blind: float | None = None

    def headline(self) -> str:
        return (
            f"lexical recall {number(self.lexical_recall)}; the solution's surprisal removed {number(self.removed)} "
            f"(blind {number(self.removed_blind)}, by the solution {number(self.removed_by_solution)})"
        )

    def details(self) -> list[Detail]:
        return [
            Detail("lexical recall of the solution (rows)", f"{number(self.lexical_recall)} ({self.rows})"),
            Detail("13-grams of the solution", number(self.leak)),
            Detail("surprisal of the solution removed (rows)", f"{number(self.removed)} ({self.scored})"),
            Detail("… by a blind thinking", number(self.removed_blind)),
            Detail("… by the solution as thinking", number(self.removed_by_solution)),
            Detail("thinking less surprising beside the solution, nats/token", number(self.gap)),
            Detail("… a blind thinking", number(self.gap_blind)),
            Detail("nearness in meaning to the solution", number(self.similarity)),
            Detail("… to the solutions of other pairs", number(self.similarity_others)),
            Detail("… of a blind thinking", number(self.similarity_blind)),
            *(
                Detail(f"{name}: recall, 13-grams (rows)", f"{number(c.lexical_recall)}, {number(c.leak)} ({c.rows})")
                for name, c in self.by_category.items()
            ),
        ]


ANCHORING = StageKey("anchoring", AnchoringMetrics)
