"""What stages open: models whose calls are replayed, the trained model, and a judge over the store's records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from experiments.store.stages import Artifact, Workspace
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import DType, LocalModel
from reer.models.replay import ReplayedGenerator, journal_for


@contextmanager
def replayed(ws: Workspace, model: Any) -> Iterator[ReplayedGenerator]:
    """A model opened to generate; its calls are replayed from the store where they are known."""
    with model.open(ws.runtime.device) as session:
        yield ReplayedGenerator(session, journal_for(ws.replay, session.name))


def trained_model(trained: Artifact, precision: DType) -> LocalModel:
    """The model that a training left, named by its build."""
    return LocalModel(FolderModel(str(trained.path / "model"), f"{trained.fingerprint}-{trained.build}"), precision)


def judge_session(ws: Workspace, judge: Judge) -> JudgeSession:
    """A judge over the records of this store."""
    return JudgeSession(judge, Judgements(ws.judgements), ws.runtime.device, ws.budget_usd)
