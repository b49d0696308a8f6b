"""What a running stage is given besides its arguments."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evals.judging.panel import Grader, GradingSession, session_of
from experiments.store.step import Artifact
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import DType, LocalModel
from reer.models.placement import EngineName
from reer.models.protocols import Model
from reer.models.replay import ReplayedGenerator, journal_for, replayed_generator

if TYPE_CHECKING:
    from experiments.experiment import Role, Runtime


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A folder to write into, the runtime, the folders that remember model calls and judgements, what judges may cost
    (US dollars, None: unlimited), the folder of the scores that judges first gave the anchors, and callbacks that
    report progress and the rows of a curve."""

    folder: Path
    runtime: Runtime
    replay: Path
    judgements: Path
    budget_usd: float | None
    first_scores: Path
    progress: Callable[[str, int, int], None]
    curve: Callable[[Mapping[str, float]], None]

    @contextmanager
    def replayed(self, model: Model, role: Role = "generator") -> Generator[ReplayedGenerator]:
        """A model opened to generate; calls that the store knows are replayed."""
        with model.open(self.runtime.device_for(role)) as session:
            replayed = replayed_generator(session, journal_for(self.replay, session.name))
            try:
                yield replayed
            finally:
                replayed.journal.log.sync()

    def judge_session(self, judge: Grader) -> GradingSession:
        """A judge, or a panel of judges, with the judgements on record in this store."""
        return session_of(judge, self.judgements, self.runtime.device_for("judge"), self.budget_usd)

    def trained_model(self, trained: Artifact, precision: DType, engine: EngineName) -> LocalModel:
        """The model that a training saved, identified by its build."""
        checkpoint = FolderModel(str(trained.file("model")), f"{trained.fingerprint}-{trained.build}")
        return LocalModel(checkpoint, precision, engine)
