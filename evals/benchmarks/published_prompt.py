"""The judge prompt of a benchmark in the words that its authors published at another commit than that of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evals.benchmark import Benchmark, Frame, Item, JudgeCall, Response, identity_frame
from evals.benchmarks.data_files import DataFiles
from reer.errors import InputError
from reer.parts import Name


@runtime_checkable
class RewordedBenchmark(Protocol):
    """A benchmark whose authors have published their judge prompt in several wordings."""

    def calls_in(self, words: str, item: Item, response: Response, frame: Frame = identity_frame) -> list[JudgeCall]:
        """The questions to the judge (see `Benchmark.calls`); `words` is the text of a file of the form that the
        benchmark's own prompt has."""
        ...


@dataclass(frozen=True, kw_only=True)
class PublishedPrompt(DataFiles):
    """One file of the form that the benchmark's own prompt has, with other words. Raises InputError for another number
    of files."""

    benchmark: Name
    """The benchmark whose questions are asked in these words; other questions keep their own."""

    def __post_init__(self) -> None:
        if len(self.sha256) != 1:
            raise InputError(f"judge.prompt.sha256: want one file with the prompt, got {len(self.sha256)}")

    @property
    def key(self) -> str:
        return "judge.prompt"

    @property
    def instead(self) -> str:
        return "choose a judge that is asked in the benchmark's own words"

    def require_words_for(self, benchmark: Benchmark) -> None:
        """Raise InputError for a benchmark that cannot be asked in these words, and where the file is missing."""
        if self._own(benchmark) is None:
            raise InputError(
                f"judge.prompt: its words are those of {self.benchmark}, got {benchmark.name}, which is asked in its "
                f"own; {self.instead}"
            )
        self._words()

    def calls(
        self, benchmark: Benchmark, item: Item, response: Response, frame: Frame = identity_frame
    ) -> list[JudgeCall]:
        """The questions to the judge about one response (see `Benchmark.calls`)."""
        own = self._own(benchmark)
        if own is None:
            return benchmark.calls(item, response, frame)
        return own.calls_in(self._words(), item, response, frame)

    def _own(self, benchmark: Benchmark) -> RewordedBenchmark | None:
        """The benchmark, where its questions are asked in these words."""
        is_own = benchmark.name == self.benchmark
        return benchmark if is_own and isinstance(benchmark, RewordedBenchmark) else None

    def _words(self) -> str:
        (file,) = self.sha256
        return self.text(file)
