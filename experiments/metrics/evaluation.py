"""Answers and their scores: what the stages measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.benchmark import GroupMeasure, Measure, OfficialScore
from evals.judging.panel import MemberAgreement
from experiments.store.metrics import Detail, RowMetrics, StageMetrics, counts, number
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class GenerateMetrics(RowMetrics):
    """The answers of the trained model to a benchmark: how many are empty, cut by the token limit, have an unclosed
    or any thinking, and their mean length in tokens. `given_thinking` are those whose turn was begun for the model."""

    empty_answers: int
    truncated: int
    unclosed_thinking: int
    with_thinking: int
    mean_tokens: float
    given_thinking: int = 0

    def headline(self) -> str:
        given = f", {self.given_thinking} begun for the model" if self.given_thinking else ""
        return (
            f"{self.rows} answers, {number(self.mean_tokens)} tokens on average; {self.empty_answers} empty, "
            f"{self.truncated} truncated, {self.with_thinking} with thinking{given}"
        )


def score_text(measure: Measure) -> str:
    """A measure with its coverage, and its least and greatest possible value where coverage is incomplete; a withheld
    score shows the mean of the scored items in brackets."""
    cover = f"{measure.scored}/{measure.total}{bounds_text(measure)}"
    if measure.value is not None:
        return f"{measure.value:.4g} ({cover})"
    if measure.mean_of_scored is None:
        return f"unscored (0/{measure.total})"
    return f"withheld [{measure.mean_of_scored:.4g} of {cover}]"


def bounds_text(measure: Measure) -> str:
    """`, 4.1–5.9`: the score if all missing items had the worst, or the best score; empty at full coverage."""
    if measure.scored == measure.total or measure.low is None or measure.high is None:
        return ""
    return f", {measure.low:.3g}–{measure.high:.3g}"


def official_text(name: str, score: OfficialScore) -> str:
    """`S_q 50.78 (16/20)`: a number of the benchmark's own scripts, with how many of its items they count."""
    return f"{name} {score.value:.4g} ({score.counted}/{score.total})"


@dataclass(frozen=True, kw_only=True)
class ScoreMetrics(StageMetrics):
    """The measures of a benchmark."""

    measures: tuple[Measure, ...]

    def headline(self) -> str:
        return ", ".join(self.summary())

    def summary(self) -> tuple[str, ...]:
        return tuple(f"{measure.name} {score_text(measure)}" for measure in self.measures)


@dataclass(frozen=True, kw_only=True)
class GradeMetrics(ScoreMetrics):
    """The scores that the `judge` of this name gave: unscored verdicts by reason (an empty answer is scored: it gets
    the worst value), calls repeated after an invalid reply, the numbers that the benchmark's own scripts compute, the
    measures of its parts, and what the judgements cost (`…_here`: in this run; the others: in whichever run asked
    first). `judge_served` are the models that servers say they answered with; `between_members` is how well the judges
    of a panel agree."""

    judge: str
    unscored: Mapping[str, int]
    asked_again: int
    official: Mapping[str, OfficialScore]
    groups: tuple[GroupMeasure, ...]
    judgements: int
    judgements_asked_here: int = field(metadata={"identity": False})
    judge_tokens_read: int
    judge_tokens_written: int
    judge_usd: float
    judge_usd_paid_here: float = field(metadata={"identity": False})
    judge_seconds_median: float | None = field(metadata={"identity": False})
    judge_served: tuple[str, ...]
    between_members: tuple[MemberAgreement, ...] = ()

    def details(self) -> list[Detail]:
        """The numbers of the benchmark's own scripts, and the measures of its parts, with their coverage."""
        official = self.official.items()
        rows = [(f"official {k}", f"{s.value:.4g} ({s.counted}/{s.total})") for k, s in official if not _is_rescaled(k)]
        rows += [(f"{part.group}: {part.measure.metric}", score_text(part.measure)) for part in self.groups]
        rows += [(f"agreement of {b.first} and {b.second}: alpha", number(b.alpha)) for b in self.between_members]
        return [Detail("judge", self.judge), *(Detail(*row) for row in rows)] if rows else []

    def summary(self) -> tuple[str, ...]:
        totals = {k: v for k, v in self.official.items() if "/" not in k and not _is_rescaled(k)}
        lines = list(super().summary())
        if totals:
            lines.append(f"by the benchmark's own scripts: {', '.join(map(official_text, totals, totals.values()))}")
        lines += between_members_lines(self.between_members)
        if self.judge_usd:
            lines.append(f"{self.judgements} judgements, {self.judge_usd:.4g} USD")
        if self.unscored:
            lines.append(f"unscored: {counts(self.unscored)}")
        return tuple(lines)


def between_members_lines(pairs: Sequence[MemberAgreement]) -> list[str]:
    """A line on how well the judges of a panel agree; none for one judge."""
    alphas = ", ".join(f"{number(pair.alpha)} ({pair.first}, {pair.second})" for pair in pairs)
    return [f"agreement between the judges, alpha: {alphas}"] if pairs else []


def _is_rescaled(name: str) -> bool:
    """Whether an official number is another one in another unit."""
    return name.endswith(("_x10", "_rescaled"))


@dataclass(frozen=True, kw_only=True)
class HarnessMetrics(ScoreMetrics):
    """The measures of lm-eval tasks."""


@dataclass(frozen=True, kw_only=True)
class HeldOutScoreMetrics(ScoreMetrics, RowMetrics):
    """The measures of held-out texts, and the thinkings that the trained model has for them: how many it closes within
    the limit, how many loop, and their mean length in tokens, without a text None."""

    closed: int
    looping: int
    mean_tokens: float | None

    def summary(self) -> tuple[str, ...]:
        return (*super().summary(), f"{self.closed} of {self.rows} thinkings closed, {self.looping} loop")


OWN_ANSWERS = StageKey("own_answers", GenerateMetrics)
GENERATE = StageKey("generate", GenerateMetrics)
GRADE = StageKey("grade", GradeMetrics)
HARNESS = StageKey("harness", HarnessMetrics)
HELD_OUT_SCORES = StageKey("held_out_scores", HeldOutScoreMetrics)
