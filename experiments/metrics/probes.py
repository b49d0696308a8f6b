"""What shows how far a result can be trusted: what the probes measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.benchmark import MeasureName
from evals.hygiene import CleanScore, HygieneSummary
from evals.judging.reliability import Reliability
from evals.statistics.agreement import Agreement
from experiments.store.metrics import Detail, FilteredRowMetrics, RowMetrics, StageMetrics, counts, number
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class OverlapMetrics(StageMetrics):
    """How many pairs ask what a benchmark asks, by benchmark."""

    overlapping_pairs: Mapping[str, int]

    def headline(self) -> str:
        return f"pairs that share their query with a benchmark: {counts(self.overlapping_pairs)}"


@dataclass(frozen=True, kw_only=True)
class TerminationMetrics(RowMetrics):
    """How many answers the trained model ends by itself within `cap_tokens`."""

    ended: int
    share_ended: float
    cap_tokens: int

    def headline(self) -> str:
        return f"{self.ended} of {self.rows} answers end within {self.cap_tokens} tokens"


@dataclass(frozen=True, kw_only=True)
class HeldOutMetrics(FilteredRowMetrics):
    """Held-out texts, how many were wanted, and why there are fewer (None: there are as many)."""

    wanted: int
    why: str | None

    def headline(self) -> str:
        return f"{self.rows} held-out texts" + (f" of {self.wanted} wanted: {self.why}" if self.why else "")

    def summary(self) -> tuple[str, ...]:
        return (self.headline(),)


@dataclass(frozen=True, kw_only=True)
class PerplexityMetrics(StageMetrics):
    """Nats per token of held-out texts: over all tokens alike (`nll`), and over all texts alike (`nll_mean_of_texts`),
    which long texts do not dominate; None without a text, for the reason `why`. `too_long` texts exceed the context."""

    texts: int
    tokens: int
    nll: float | None
    perplexity: float | None
    nll_mean_of_texts: float | None
    too_long: int
    why: str | None

    def headline(self) -> str:
        if self.nll is None:
            return f"no held-out text: {self.why or 'all exceed the context'}"
        return f"{self.nll:.3f} nats/token over {self.texts} held-out texts"

    def details(self) -> list[Detail]:
        return [
            Detail("texts", str(self.texts)),
            Detail("tokens", str(self.tokens)),
            Detail("nll, nats/token", number(self.nll)),
            Detail("nll, mean of texts", number(self.nll_mean_of_texts)),
            Detail("perplexity", number(self.perplexity)),
            Detail("texts over the context", str(self.too_long)),
            *([Detail("no texts", self.why)] if self.why else []),
        ]


@dataclass(frozen=True, kw_only=True)
class HygieneMetrics(HygieneSummary, StageMetrics):
    """The summary of hygiene, and every measure over the clean answers alone."""

    clean_scores: tuple[CleanScore, ...]

    def headline(self) -> str:
        flags = {
            "empty": self.empty,
            "truncated": self.truncated,
            "thinking unclosed": self.unclosed,
            "looping": self.loops,
            "wrong language": self.wrong_language,
        }
        raised = {flag: count for flag, count in flags.items() if count}
        return f"{self.clean} of {self.rows} answers clean" + (f"; {counts(raised)}" if raised else "")

    def details(self) -> list[Detail]:
        return [
            Detail("answers", str(self.rows)),
            Detail("clean", f"{self.clean} ({number(self.share_clean)})"),
            Detail("empty", f"{self.empty} ({number(self.share_empty)})"),
            Detail("truncated", f"{self.truncated} ({number(self.share_truncated)})"),
            Detail("thinking unclosed", f"{self.unclosed} ({number(self.share_unclosed)})"),
            Detail("looping", f"{self.loops} ({number(self.share_loops)})"),
            Detail("wrong language", f"{self.wrong_language} ({number(self.share_wrong_language)})"),
            Detail("words, mean", number(self.mean_words)),
            Detail("words, median", number(self.median_words)),
            Detail("distinct-1 (answers)", f"{number(self.mean_distinct_1)} ({self.answers_with_distinct_1})"),
            Detail("distinct-2 (answers)", f"{number(self.mean_distinct_2)} ({self.answers_with_distinct_2})"),
            Detail("length score (answers)", f"{number(self.mean_length_score)} ({self.answers_with_length_score})"),
            *(
                Detail(
                    f"{MeasureName(score.benchmark, score.metric)} of clean answers (items)",
                    f"{number(score.mean)} ({score.items})",
                )
                for score in self.clean_scores
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class ReliabilityMetrics(Reliability, StageMetrics):
    """The measurements of a judge's reliability on one benchmark."""

    def headline(self) -> str:
        if not self.null_answers:
            return self.note
        repeat = f"alpha of repeats {number(self.repeat.alpha)}" if self.repeat else ""
        fooled = f"fooled by {', '.join(self.fooled_by)}" if self.fooled_by else "not fooled by null answers"
        return "; ".join(
            filter(None, [fooled, repeat, "anchors drifted" if self.anchors and self.anchors.flagged else ""])
        )

    def summary(self) -> tuple[str, ...]:
        if not self.null_answers:
            return (self.note,)
        lines = [f"null answers score {counts({kind: c.score for kind, c in self.null_answers.items()})}"]
        if self.fooled_by:
            lines.append(f"FOOLED (no lower than the mean of the answers): {', '.join(self.fooled_by)}")
        if self.repeat and self.repeat.items:
            lines.append(
                f"repeated verdicts: {number(self.repeat.exact_agreement)} equal, alpha {number(self.repeat.alpha)} "
                f"over {self.repeat.items} items"
            )
        if self.second:
            lines.append(
                f"second judge {self.second.judge}: alpha {number(self.second.alpha)} over {self.second.items} items"
            )
        if self.length and self.length.slope_per_doubling is not None:
            lines.append(
                f"score per doubling of length {self.length.slope_per_doubling:+.2g}, p={number(self.length.p)}"
            )
        if self.anchors and self.anchors.flagged and self.anchors.drift is not None:
            lines.append(f"DRIFT: anchors moved by {self.anchors.drift:+.2g} since this judge first scored them")
        return tuple(lines)

    def details(self) -> list[Detail]:
        rows = [
            Detail(f"null answer: {kind.replace('_', ' ')}", f"{number(c.score)} ({c.scored}/{c.items})")
            for kind, c in self.null_answers.items()
        ]
        if self.null_answers:
            rows.append(Detail("fooled by", ", ".join(self.fooled_by) or "none"))
        if self.length:
            rows.append(Detail("score per doubling of length", number(self.length.slope_per_doubling)))
            rows.append(Detail("p of that slope (answers)", f"{number(self.length.p)} ({self.length.answers})"))
        if self.repeat:
            rows += _agreement_details("repeated verdicts", self.repeat)
        if self.second:
            rows += _agreement_details(f"second judge {self.second.judge}", self.second)
        if self.anchors:
            rows.append(Detail("anchors: drift (anchors)", f"{number(self.anchors.drift)} ({self.anchors.items})"))
            rows.append(Detail("anchors: drift flagged", number(self.anchors.flagged)))
            rows += [Detail(f"score of {name}", number(score)) for name, score in self.anchors.scores.items()]
        return [*rows, Detail("note", self.note)]


def _agreement_details(label: str, agreement: Agreement) -> list[Detail]:
    return [
        Detail(f"{label}: items", str(agreement.items)),
        Detail(f"{label}: alpha", number(agreement.alpha)),
        Detail(f"{label}: share equal", number(agreement.exact_agreement)),
        Detail(f"{label}: mean difference", number(agreement.mean_difference)),
        Detail(f"{label}: noise", number(agreement.noise_sd)),
    ]


OVERLAP = StageKey("overlap", OverlapMetrics)
TERMINATION = StageKey("termination", TerminationMetrics)
HELD_OUT = StageKey("held_out", HeldOutMetrics)
PERPLEXITY = StageKey("perplexity", PerplexityMetrics)
HYGIENE = StageKey("hygiene", HygieneMetrics)
RELIABILITY = StageKey("reliability", ReliabilityMetrics)
