"""The stages that need no judge: which texts are held out, how they are scored, and that none of it needs a search."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from evals.held_out import HeldOutText
from experiments.experiment import Runtime
from experiments.metrics.probes import HeldOutMetrics
from experiments.pipeline import pipeline
from experiments.stages import probes
from experiments.stages.probes import held_out, held_out_rows, perplexity_metrics
from experiments.store.metrics import StageMetrics
from experiments.store.step import StageKey, Step, StepName, stage
from experiments.store.store import Store
from experiments.store.workspace import Workspace
from reer.data.jsonl import JsonlSource
from reer.data.pairs import Selection, select
from reer.data.rows import Problems
from reer.models.local.checkpoints import TinyModel
from reer.models.local.tokens import Tokens
from reer.text import words
from reer.training.chat_format import ChatFormat
from reer.types import RawPair
from tests.fakes.plans import compose

TURNS = ("went out with a lamp", "counted the crates", "slept on the quay", "sold the boat", "learned the tides")


def text(n: int) -> str:
    return " ".join(f"In year {n * 100 + k} the keeper {TURNS[(n + k) % 5]}." for k in range(4))


def rows(count: int) -> list[RawPair]:
    return [
        RawPair(query=f"Write tale {n}.", solution=text(n), category="fiction", source="s", where=f"row {n}")
        for n in range(count)
    ]


def held(found: Sequence[RawPair], pairs: int, texts: int) -> tuple[list[str], Problems]:
    problems = Problems("skip")
    kept = held_out_rows(found, Selection(pairs, 5, 400), texts, problems)
    return [row.where for row in kept], problems


def test_held_out_texts_are_the_next_rows_after_the_selected_ones() -> None:
    assert held(rows(9), 4, 3)[0] == ["row 4", "row 5", "row 6"]
    assert held(rows(9), 4, 30)[0] == [f"row {n}" for n in range(4, 9)]
    assert held(rows(4), 4, 3)[0] == held(rows(3), 4, 3)[0] == []


def test_no_held_out_text_shares_a_query_or_a_text_with_a_pair() -> None:
    some = rows(9)
    some[4] = RawPair(query="write TALE 1", solution=text(40), category=None, source="s", where="query of a pair")
    some[5] = RawPair(
        query="Write of rain.", solution=text(2).upper(), category=None, source="s", where="text of a pair"
    )
    some[6] = RawPair(query=None, solution=text(60), category=None, source="s", where="no query")
    some[7] = RawPair(query="Write of it.", solution="too short", category=None, source="s", where="too short")
    kept, problems = held(some, 4, 3)
    assert kept == ["row 8"]
    assert [(drop.id, drop.reason) for drop in problems.drops] == [
        ("query of a pair", "query_asked_before"),
        ("text of a pair", "duplicate"),
        ("no query", "no_query"),
        ("too short", "solution_too_short"),
    ]


def test_nearly_a_pairs_text_is_not_held_out() -> None:
    long = " ".join(text(n) for n in range(5))
    some = [
        RawPair(query="Write.", solution=long, category=None, source="s", where="a"),
        RawPair(query="Tell.", solution=f"{long} The end.", category=None, source="s", where="b"),
    ]
    kept, problems = held([*some, *rows(1)], 1, 2)
    assert kept == ["row 0"]
    assert problems.drops[0].reason == "near_duplicate"


def test_of_prompts_with_many_stories_one_each_is_held_out() -> None:
    asked = [
        RawPair(query=f"Write tale {n // 3}.", solution=text(n), category=None, source="s", where=f"row {n}")
        for n in range(12)
    ]
    assert held(asked, 4, 9)[0] == ["row 6", "row 9"]


def test_a_selection_does_not_hang_on_how_many_texts_are_held_out() -> None:
    some, problems = rows(9), Problems("skip")
    taken = {row.where for row in select(some, Selection(4, 5, 400), problems)}
    assert all(not taken & set(held(some, 4, texts)[0]) for texts in (1, 2, 5))
    assert held(some, 4, 2)[0] == held(some, 4, 5)[0][:2]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return compose("scale=smoke").runtime


@pytest.fixture
def store(tmp_path: Path, runtime: Runtime) -> Store:
    return Store(root=tmp_path / "store", runtime=runtime)


def source(tmp_path: Path, count: int, *, bad_at: int | None = None) -> JsonlSource:
    lines = [json.dumps({"query": row.query, "answer": row.solution}) for row in rows(count)]
    if bad_at is not None:
        lines.insert(bad_at, "{")
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return JsonlSource(path=str(path))


def held_out_step(source: JsonlSource, *, pairs: int | None = 4, texts: int = 3) -> Step[HeldOutMetrics]:
    return held_out(source=source, selection=Selection(pairs, 5, 400), texts=texts)


def test_a_source_with_no_more_rows_says_so_and_a_bad_row_further_down_stops_nothing(
    store: Store, tmp_path: Path
) -> None:
    few = store.build(held_out_step(source(tmp_path, 5))).metrics
    assert (few.rows, few.wanted) == (1, 3)
    assert "no more" in (few.why or "")
    bad = store.build(held_out_step(source(tmp_path, 9, bad_at=6))).metrics
    assert (bad.rows, bad.why, bad.dropped) == (3, None, {"malformed_json": 1})
    everything = store.build(held_out_step(source(tmp_path, 9), pairs=None)).metrics
    assert (everything.rows, everything.why) == (0, "scale.pairs takes all texts of the source")
    assert store.build(held_out_step(source(tmp_path, 9), texts=0)).metrics.why == "scale.held_out_texts is 0"


@dataclass(frozen=True)
class ModelMetrics(StageMetrics):
    def headline(self) -> str:
        return "a model"


@stage(StageKey("a_model", ModelMetrics), version=1)
def a_model(ws: Workspace, *, spec: TinyModel) -> ModelMetrics:
    """A folder as a training leaves it."""
    shutil.copytree(spec.fetch(), ws.folder / "model")
    return ModelMetrics()


CHAT = ChatFormat(answer_tags=False, overlong="error")


def test_perplexity_is_the_exponential_of_the_mean_nats_and_repeats(store: Store, tmp_path: Path) -> None:
    trained, texts = a_model(spec=TinyModel()), held_out_step(source(tmp_path, 9))
    step = probes.perplexity(trained=trained, held_out=texts, chat_format=CHAT, precision="float32")
    found = store.build(step).metrics
    assert found.nll is not None
    per_text = [json.loads(line) for line in next((tmp_path / "store/perplexity").glob("*/rows.jsonl")).open()]
    assert [row["tokens"] for row in per_text] == [len(text(n).encode()) for n in (4, 5, 6)], "its tokens are bytes"
    assert (found.texts, found.too_long) == (3, 0)
    assert found.tokens == sum(row["tokens"] for row in per_text)
    assert found.nll == pytest.approx(sum(row["nll"] * row["tokens"] for row in per_text) / found.tokens)
    assert found.nll == pytest.approx(math.log(259), abs=0.5), "a model that knows nothing"
    assert found.perplexity == pytest.approx(math.exp(found.nll))


def test_a_text_beyond_the_models_context_is_counted_and_not_cut(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = RawPair(
        query="Write much.", solution=" ".join(f"word{n}" for n in range(2000)), category=None, source="s", where="long"
    )
    some = [*rows(5), long]
    path.write_text("".join(json.dumps({"query": r.query, "answer": r.solution}) + "\n" for r in some))
    texts = held_out(source=JsonlSource(path=str(path)), selection=Selection(4, 5, 4000), texts=2)
    step = probes.perplexity(trained=a_model(spec=TinyModel()), held_out=texts, chat_format=CHAT, precision="float32")
    found = store.build(step).metrics
    assert (found.texts, found.too_long, found.tokens) == (1, 1, len(text(4)))


def test_without_texts_no_model_is_loaded_and_no_number_invented(store: Store, tmp_path: Path) -> None:
    @stage(StageKey("nothing", ModelMetrics), version=1)
    def nothing(ws: Workspace) -> ModelMetrics:
        return ModelMetrics()

    step = probes.perplexity(
        trained=nothing(), held_out=held_out_step(source(tmp_path, 3)), chat_format=CHAT, precision="float32"
    )
    found = store.build(step).metrics
    assert (found.texts, found.nll, found.perplexity) == (0, None, None)
    assert "no more" in (found.why or "")


def test_long_texts_dominate_the_mean_over_tokens_only() -> None:
    found = perplexity_metrics([(1.0,) * 3, (2.0,) * 9])
    assert (found.nll, found.nll_mean_of_texts) == (21 / 12, 1.5)


@pytest.mark.parametrize("tags", [False, True])
def test_a_text_is_scored_where_an_answer_without_thinking_is_taught(tags: bool) -> None:
    from transformers import AutoTokenizer

    chat = ChatFormat(answer_tags=tags, overlong="error")
    tokenizer = AutoTokenizer.from_pretrained(TinyModel().fetch())
    scored = HeldOutText("i", "Why?", "Because.", "w").after(chat.opening)
    context, answer = Tokens(tokenizer).passage_ids(scored)
    whole = tokenizer.decode([*context, *answer])
    assert whole.endswith("<|im_start|>assistant\n" + chat.completion("", "Because.").removesuffix("\n</answer>"))
    assert tokenizer.decode(answer) == "Because."
    assert "think" not in whole


def smoke(*overrides: str) -> dict[StepName, Step]:
    return pipeline(compose("scale=smoke", *overrides))


def upstream(step: Step) -> Iterator[str]:
    return (before.stage.name for before in step.upstream())


def test_an_arm_without_synthetic_data_gets_the_same_texts_without_a_search() -> None:
    full, public = smoke(), smoke("experiment=no_synthetic_data")
    held, perplexity = probes.held_out.named(), probes.perplexity.named()
    assert full[held].fingerprint == public[held].fingerprint
    assert list(upstream(public[held])) == ["held_out"]
    assert not {"pairs", "draft", "refine"} & set(upstream(public[perplexity]))


def test_held_out_texts_are_none_of_the_pairs_at_any_bundled_scale() -> None:
    for scale in ("smoke", "laptop"):
        exp = compose(f"scale={scale}")
        limits = exp.scale.selection
        taken = select(exp.source.rows(Problems("error")), limits, Problems("error"))
        found = held_out_rows(exp.source.rows(Problems("error")), limits, exp.scale.held_out_texts, Problems("error"))
        assert len(found) == exp.scale.held_out_texts > 0
        assert not {tuple(words(row.text)) for row in found} & {tuple(words(row.solution)) for row in taken}
        assert not {row.query for row in found} & {row.query for row in taken}
