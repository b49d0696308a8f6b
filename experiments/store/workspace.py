"""What a running stage is given besides its arguments."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evals.judging.panel import Grader, GradingSession, session_of
from experiments.store.step import Artifact
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import DType, LocalModel
from reer.models.placement import EngineName
from reer.models.protocols import BatchProgress, Model, report_batches
from reer.models.replay import ReplayedGenerator, journal_for, replayed_generator

if TYPE_CHECKING:
    from experiments.experiment import Role, Runtime


class StageProgress:
    """Shows how far a stage is: what it counts, how many are done, of how many."""

    def __init__(self, show: Callable[[str, int, int], None]) -> None:
        self.show = show
        self._counted: tuple[str, int, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        self._counted = (what, done, total)
        self.show(what, done, total)

    def batch(self, batch: BatchProgress) -> None:
        """Show how far a batch is, beside what the stage has counted before it."""
        if self._counted is None:
            ended = f"tokens of a batch ({batch.ended} of {batch.rows} rows ended)"
            self.show(ended, batch.tokens, batch.tokens + batch.left)
            return
        what, done, total = self._counted
        self.show(f"{what}; in a batch: {batch.ended} of {batch.rows} rows, {batch.tokens} tokens", done, total)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A folder to write into, the runtime, the folders that remember model calls and judgements, what judges may cost
    (US dollars, None: unlimited), the folder of the scores that judges first gave the anchors, and callbacks that
    report progress, the rows of a curve, and each row of the result that is finished. `early_calls` are numbers of
    model calls that were made for the stage before it began."""

    folder: Path
    runtime: Runtime
    replay: Path
    judgements: Path
    budget_usd: float | None
    first_scores: Path
    progress: StageProgress
    curve: Callable[[Mapping[str, float]], None]
    finished: Callable[[object], None] = lambda row: None
    early_calls: list[int] = field(default_factory=list[int])
    _asked_ahead: list[GradingSession] = field(default_factory=list[GradingSession])

    @contextmanager
    def replayed(self, model: Model, role: Role = "generator") -> Generator[ReplayedGenerator]:
        """A model opened to generate; calls that the store knows are replayed."""
        with model.open(self.runtime.device_for(role)) as session:
            report_batches(session, self.progress.batch)
            replayed = replayed_generator(session, journal_for(self.replay, session.name))
            try:
                yield replayed
            finally:
                replayed.journal.log.sync()

    def judge_session(self, judge: Grader) -> GradingSession:
        """A judge, or a panel of judges, with the judgements on record in this store. Where it was asked ahead, the
        session is the same one, which has counted and paid for what it asked."""
        for session in self._asked_ahead:
            if session.judge == judge:
                self._asked_ahead.remove(session)
                return session
        return session_of(judge, self.judgements, self.runtime.device_for("judge"), self.budget_usd)

    @contextmanager
    def judge_session_ahead(self, judge: Grader) -> Generator[GradingSession]:
        """A judge session that the stage goes on with when it runs."""
        session = self.judge_session(judge)
        self._asked_ahead.append(session)
        with session:
            yield session

    def trained_model(self, trained: Artifact, precision: DType, engine: EngineName) -> LocalModel:
        """The model that a training saved, identified by its build."""
        checkpoint = FolderModel(str(trained.file("model")), f"{trained.fingerprint}-{trained.build}")
        return LocalModel(checkpoint, precision, engine)
