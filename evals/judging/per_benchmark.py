"""Which judge grades which benchmark: one for all, or one for each; each may be a panel."""

from __future__ import annotations

from dataclasses import dataclass

from evals.judging.judge import Judge
from evals.judging.panel import Grader, members_of
from reer.errors import InputError, near
from reer.parts import Name


@dataclass(frozen=True, kw_only=True)
class JudgePerBenchmark:
    """Judges by the name of the benchmark they grade (`hellobench` for its length-constrained sets, too)."""

    name: Name
    """The name of the whole in reports."""
    default: Grader
    """What grades every other benchmark."""
    by_benchmark: dict[Name, Grader]

    def __post_init__(self) -> None:
        from evals.benchmarks.kinds import JUDGED_BENCHMARKS

        for name in self.by_benchmark:
            if name not in JUDGED_BENCHMARKS:
                known = ", ".join(JUDGED_BENCHMARKS)
                raise InputError(
                    f"judge.by_benchmark: got {name!r}, want names of judged benchmarks ({known})"
                    f"{near(name, JUDGED_BENCHMARKS)}"
                )


AnyJudge = Grader | JudgePerBenchmark


def default_judge(judge: AnyJudge) -> Judge:
    """The judge of every benchmark that has none of its own; of a panel, the first member."""
    grader = judge.default if isinstance(judge, JudgePerBenchmark) else judge
    return next(iter(members_of(grader).values()))


def judge_of(judge: AnyJudge, benchmark: str) -> Grader:
    """What grades the benchmark of a name."""
    return judge.by_benchmark.get(benchmark, judge.default) if isinstance(judge, JudgePerBenchmark) else judge
