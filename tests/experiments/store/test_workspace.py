"""What a stage shows of its progress while a model in this process computes a batch."""

from pathlib import Path

from experiments.store.metrics import RowMetrics
from experiments.store.step import StageKey, stage
from experiments.store.store import Monitor
from experiments.store.workspace import Workspace
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Sampling
from tests.fakes.calls import completions
from tests.fakes.http import request
from tests.fakes.stages import a_store

TWO_TOKENS = Sampling(temperature=1.0, top_p=1.0, max_tokens=2)


@stage(StageKey("writing", RowMetrics), version=1)
def writing(ws: Workspace) -> RowMetrics:
    """Two replies of a batch each."""
    with ws.replayed(LocalModel(TinyModel())) as session:
        for done in range(2):
            completions(session, [request("q", seed=done, sampling=TWO_TOKENS)])
            ws.progress("replies", done + 1, 2)
    return RowMetrics(rows=2)


def test_a_batch_shows_its_tokens_before_and_beside_what_the_stage_counts(tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    a_store(tmp_path, Monitor(progress=lambda *row: shown.append(row))).build(writing())
    assert shown[0] == ("tokens of a batch (0 of 1 rows ended)", 1, 2), "a token, of two at most"
    assert shown[1] == ("tokens of a batch (1 of 1 rows ended)", 2, 2)
    first = shown.index(("replies", 1, 2))
    assert shown[first + 1] == ("replies; in a batch: 0 of 1 rows, 1 tokens", 1, 2)
    assert shown[-1] == ("replies", 2, 2)
