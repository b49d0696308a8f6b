"""A part of the mixture that renders to nothing stops the run."""

from pathlib import Path

import pytest

from experiments.metrics.training import MixMetrics, RenderMetrics
from experiments.stages.training import mix, render
from experiments.store.metrics import RowMetrics
from experiments.store.step import StageKey, Step, stage
from experiments.store.workspace import Workspace
from reer.curation.markers import Markers
from reer.curation.transforms import Curated
from reer.data.pairs import complete
from reer.errors import InputError
from reer.files import write_rows
from reer.models.local.checkpoints import TinyModel
from reer.training.chat_format import ChatFormat
from reer.types import Message, RawPair, Sample
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

DROPS = ChatFormat(answer_tags=False, overlong="drop")


@stage(StageKey("mixture", MixMetrics), version=1)
def mixture(ws: Workspace, *, words: dict[str, int]) -> MixMetrics:
    """One row of each part, with an answer of so many words."""
    rows = [
        Sample(
            id=part,
            messages=(Message("user", "q"), Message("assistant", "word " * count)),
            source="t",
            category="reasoning" if part == "public" else "others",
            thinking="",
            answer="word " * count,
        )
        for part, count in words.items()
    ]
    write_rows(ws.folder / "rows.jsonl", rows)
    return MixMetrics(rows=len(rows), by_source=dict.fromkeys(words, 1), with_thinking=0, reflection_markers={})


def rendered(words: dict[str, int]) -> Step[RenderMetrics]:
    return render(mixed=mixture(words=words), student=TinyModel(), chat_format=DROPS, max_length=200)


def test_a_row_that_is_left_of_each_part_is_enough(tmp_path: Path) -> None:
    metrics = a_store(tmp_path).build(rendered({"public": 3, "synthetic": 5})).metrics
    assert metrics.rows == 2


@pytest.mark.parametrize("part", ["public", "synthetic"])
def test_a_part_of_which_no_row_is_left_stops_the_run(tmp_path: Path, part: str) -> None:
    words = {"public": 3, "synthetic": 3, part: 500}
    with pytest.raises(InputError, match=rf"none of the 1 rows of the mixture's {part} part .*\(overlong 1\)"):
        a_store(tmp_path).build(rendered(words))


@stage(StageKey("curated_in_context", RowMetrics), version=1)
def curated_in_context(ws: Workspace) -> RowMetrics:
    """Two pairs that differ in the turn of the system alone."""
    exp = compose("scale=smoke")
    raw = [
        RawPair(
            query="q",
            solution="a",
            category="others",
            source="t",
            where=system,
            context=(Message("system", system),),
        )
        for system in ("Be brief.", "Be kind.")
    ]
    done = complete(raw, exp.taxonomy, exp.prompts, lambda: pytest.fail("no model is needed"))
    write_rows(ws.folder / "rows.jsonl", [Curated(pair, ("plan",)) for pair in done.pairs])
    return RowMetrics(rows=len(raw))


def mixture_of(synthetic_rows: int) -> Step[MixMetrics]:
    """The mixture of two pairs, of a stated size."""
    return mix(
        synthetic=curated_in_context(),
        public=None,
        seed=0,
        synthetic_rows=synthetic_rows,
        public_rows=0,
        without_thinking=(),
        markers=Markers(),
        strip_public=False,
    )


@pytest.mark.parametrize(("stated", "short"), [(1, {}), (2, {}), (5, {"synthetic": 3})])
def test_rows_that_a_part_lacks_of_its_stated_size_are_reported(
    tmp_path: Path, stated: int, short: dict[str, int]
) -> None:
    metrics = a_store(tmp_path).build(mixture_of(stated)).metrics
    assert metrics.short == short
    assert ("fewer than stated: synthetic 3" in metrics.headline()) == bool(short)


def test_the_turns_before_the_query_are_trained_on_as_context(tmp_path: Path) -> None:
    rows = a_store(tmp_path).build(mixture_of(2)).rows(Sample)
    assert {row.messages[0].content for row in rows} == {"Be brief.", "Be kind."}
    assert [[turn.role for turn in row.messages] for row in rows] == [["system", "user", "assistant"]] * 2
    assert len({row.id for row in rows}) == 2
