"""Curated rows of the bundled texts, whose thinking is the text itself."""

import pytest

from experiments.experiment import Experiment
from experiments.store.metrics import RowMetrics
from experiments.store.step import StageKey, Step, stage
from experiments.store.workspace import Workspace
from reer.curation.transforms import Curated
from reer.data.pairs import Selection, Source, complete, select
from reer.data.rows import Problems
from reer.files import write_rows
from reer.prompts import Prompts
from reer.taxonomy import Taxonomy
from reer.text import split_segments


@stage(StageKey("curated", RowMetrics), version=1)
def curated(ws: Workspace, *, source: Source, taxonomy: Taxonomy, prompts: Prompts, pairs: int) -> RowMetrics:
    """Bundled texts whose thinking is the text itself."""
    chosen = select(source.rows(Problems("error")), Selection(pairs, 20, 400), Problems("error"))
    done = complete(chosen, taxonomy, prompts, lambda: pytest.fail("no model is needed"))
    rows = [Curated(pair, tuple(split_segments(pair.solution))) for pair in done.pairs]
    write_rows(ws.folder / "rows.jsonl", rows)
    return RowMetrics(rows=len(rows))


def curated_texts(exp: Experiment, pairs: int) -> Step[RowMetrics]:
    return curated(source=exp.source, taxonomy=exp.taxonomy, prompts=exp.prompts, pairs=pairs)
