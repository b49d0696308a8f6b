"""The classes of judged benchmarks, by the name that configurations and lm-eval tasks give them."""

from __future__ import annotations

from collections.abc import Mapping

from evals.benchmarks.hellobench import HelloBench
from evals.benchmarks.longbench_write import LongBenchWrite
from evals.benchmarks.rubrics import Rubrics
from evals.benchmarks.writing import WritingPrompts
from evals.benchmarks.writingbench import WritingBench

JUDGED_BENCHMARKS: Mapping[str, type] = {
    "writing": WritingPrompts,
    "longbench_write": LongBenchWrite,
    "hellobench": HelloBench,
    "writingbench": WritingBench,
    "rubrics": Rubrics,
}
