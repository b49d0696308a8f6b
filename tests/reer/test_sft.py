"""Fine-tuning for real, on a tiny model: it learns, what it saves is whole, and a stop changes no weight."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from reer.chat import CHATML, MASKED, ChatFormat, Rendered, render
from reer.models.checkpoints import FolderModel, TinyModel
from reer.models.local import LocalModel
from reer.models.protocols import Device, Passage, Prompt
from reer.sft import MARKER, Layout, Lora, Recipe, Trained, _settings, discard, fine_tune, newest_complete
from reer.types import InputError, Message, Sample

STUDENT = TinyModel()
CHAT = ChatFormat(answer_tags=False, overlong="error")
FULL = Recipe("full", 2, 5e-3, "constant", 0.0, 0.0, global_batch=2, precision="float32", chat=CHAT)
LORA = replace(FULL, method="lora", learning_rate=2e-2, lora=Lora(4, 8, 0.0))
LAYOUT = Layout(micro_batch=2, checkpoint_steps=3, recompute_activations=False)


def sample(i: int) -> Sample:
    answer = "It is " + f"{i}" * (1 + 3 * i)
    return Sample(f"s{i}", (Message("user", f"Say {i}"), Message("assistant", answer)), "t", "others", "x", answer)


@pytest.fixture(scope="module")
def rows() -> tuple[Rendered, ...]:
    return render([sample(i) for i in range(8)], AutoTokenizer.from_pretrained(STUDENT.fetch()), CHAT, 512).rows


def train(rows: Any, work: Path, recipe: Recipe = FULL, layout: Layout = LAYOUT, stop_at: int = 0) -> Trained:
    def on_log(row: Mapping[str, float]) -> None:
        if row["step"] == stop_at:
            raise KeyboardInterrupt

    return fine_tune(STUDENT, recipe, rows, 7, layout, work, on_log)


@pytest.fixture(scope="module")
def trained(rows: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(rows, tmp_path_factory.mktemp("full"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_lowers_the_loss_over_every_step_it_takes(trained: Trained) -> None:
    losses = [row["loss"] for row in trained.curve]
    assert [row["step"] for row in trained.curve] == list(range(1, 9))
    assert (trained.steps, trained.resumed_from) == (8, 0)
    assert losses[-1] < 0.8 * losses[0]


def test_the_model_is_saved_as_safetensors_with_our_template_and_both_ends(trained: Trained) -> None:
    names = {file.name for file in trained.folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth")) for name in names)
    assert AutoTokenizer.from_pretrained(trained.folder).chat_template == CHATML
    model = AutoModelForCausalLM.from_pretrained(trained.folder)
    assert model.generation_config.eos_token_id == [2]
    assert model.dtype == torch.float32


def test_checkpoints_are_gone_when_training_is_done(trained: Trained) -> None:
    assert [path.name for path in trained.folder.parent.iterdir()] == ["model"]


def test_what_was_trained_is_less_surprised_by_its_rows(trained: Trained) -> None:
    def surprise(model: Any) -> float:
        with LocalModel(model).open(Device("cpu")) as session:
            (nats,) = session.score(
                [Passage(Prompt((Message("user", "Say 1"),), "<think>\nx\n</think>\n\n"), "It is 1111")]
            )
        return sum(nats) / len(nats)

    assert surprise(FolderModel(str(trained.folder))) < 0.8 * surprise(STUDENT)


def test_the_loss_is_the_mean_over_the_tokens_taught_and_no_others(rows: Any, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(STUDENT.fetch(), dtype=torch.float32)
    nats: list[float] = []
    for row in rows:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].log_softmax(dim=-1)
        nats += [-float(logits[i - 1, label]) for i, label in enumerate(row.labels) if label != MASKED]
    whole = replace(FULL, global_batch=8, epochs=1)
    for micro in (8, 2):
        (step,) = train(rows, tmp_path / str(micro), recipe=whole, layout=Layout(micro, 100, False)).curve
        assert step["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-3)


def test_the_same_training_gives_the_same_weights_and_another_seed_others(
    rows: Any, trained: Trained, tmp_path: Path
) -> None:
    assert equal(train(rows, tmp_path / "again").folder, trained.folder)
    other = fine_tune(STUDENT, FULL, rows, 8, LAYOUT, tmp_path / "other", lambda _: None)
    assert not equal(other.folder, trained.folder)


@pytest.mark.parametrize(("stop_at", "resumed"), [(2, 0), (5, 3), (8, 6)])
def test_a_stop_in_the_middle_changes_no_weight(
    rows: Any, trained: Trained, tmp_path: Path, stop_at: int, resumed: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, stop_at=stop_at)
    again = train(rows, tmp_path)
    assert again.resumed_from == resumed
    assert equal(again.folder, trained.folder)
    assert [row["step"] for row in again.curve] == list(range(1, 9))


def test_a_checkpoint_cut_short_is_passed_over(rows: Any, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, stop_at=7)
    (tmp_path / "checkpoints" / "checkpoint-6" / MARKER).unlink()
    (tmp_path / "checkpoints" / "checkpoint-6" / "model.safetensors").write_bytes(b"torn")
    again = train(rows, tmp_path)
    assert again.resumed_from == 3
    assert equal(again.folder, trained.folder)


def test_the_layout_changes_the_path_of_a_step_and_not_its_size(rows: Any, trained: Trained, tmp_path: Path) -> None:
    spread = train(rows, tmp_path, layout=Layout(1, 100, recompute_activations=True))
    assert spread.steps == trained.steps
    for one, other in zip(spread.curve, trained.curve, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_adapters_are_trained_and_merged(rows: Any, tmp_path: Path) -> None:
    out = train(rows, tmp_path, recipe=LORA)
    before, after = weights(STUDENT.fetch()), weights(out.folder)
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all("proj" in name for name in changed)
    assert out.curve[-1]["loss"] < out.curve[0]["loss"]
    assert not list(out.folder.glob("adapter*"))


def test_adapters_too_resume_to_the_same_weights(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path / "stopped", recipe=LORA, stop_at=5)
    again = train(rows, tmp_path / "stopped", recipe=LORA)
    assert again.resumed_from == 3
    assert equal(again.folder, train(rows, tmp_path / "whole", recipe=LORA).folder)


def test_the_last_two_checkpoints_are_kept_and_the_older_given_up_after_them(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, replace(FULL, epochs=4), replace(LAYOUT, checkpoint_steps=2), stop_at=9)
    kept = sorted(path.parent.name for path in (tmp_path / "checkpoints").glob(f"*/{MARKER}"))
    assert kept == ["checkpoint-6", "checkpoint-8"]


def test_a_discarded_folder_loses_its_markers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / MARKER).touch()
    seen: list[Path | None] = []
    monkeypatch.setattr("reer.sft.shutil.rmtree", lambda *_, **__: seen.append(newest_complete(tmp_path)))
    discard(tmp_path)
    assert seen == [None]


def test_the_newest_complete_checkpoint_is_the_highest_marked_step(tmp_path: Path) -> None:
    assert newest_complete(tmp_path / "nowhere") is None
    for step, marked in ((9, True), (10, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            (tmp_path / f"checkpoint-{step}" / MARKER).touch()
    (tmp_path / "tmp-checkpoint-200").mkdir()
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-10"


@pytest.mark.parametrize(
    ("micro", "batch", "devices", "steps"), [(4, 96, 8, 3), (1, 1, 1, 1), (2, 8, 1, 4), (12, 96, 8, 1)]
)
def test_accumulation_makes_a_step_exactly_the_global_batch(micro: int, batch: int, devices: int, steps: int) -> None:
    assert Layout(micro, 1, False, devices).accumulation(batch) == steps


@pytest.mark.parametrize(("micro", "batch", "devices"), [(3, 8, 1), (4, 96, 7), (16, 8, 1), (2, 2, 2)])
def test_a_global_batch_that_cannot_be_met_is_refused(micro: int, batch: int, devices: int) -> None:
    with pytest.raises(InputError, match=f"global_batch {batch} is no multiple of .* {micro} x {devices} devices"):
        Layout(micro, 1, False, devices).accumulation(batch)


def test_every_number_of_a_recipe_reaches_the_trainer(tmp_path: Path) -> None:
    recipe = Recipe("full", 3, 2e-5, "cosine", 0.1, 0.01, global_batch=8, precision="bfloat16", chat=CHAT)
    args = _settings(recipe, 11, Layout(2, 50, True), tmp_path)
    assert (args.num_train_epochs, args.learning_rate, args.lr_scheduler_type, args.weight_decay) == (
        3,
        2e-5,
        "cosine",
        0.01,
    )
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps, args.save_steps) == (2, 4, 50)
    assert (args.seed, args.data_seed, args.bf16, args.activation_checkpointing) == (11, 11, True, True)
    assert args.get_warmup_steps(100) == 10


def test_nothing_of_a_row_is_cut_packed_or_reported(tmp_path: Path) -> None:
    args = _settings(FULL, 0, LAYOUT, tmp_path)
    assert (args.max_length, args.packing, args.report_to) == (None, False, [])


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"learning_rate": 0.0}, {"global_batch": 0}, {"method": "lora"}, {"lora": Lora(4, 8, 0.0)}]
)
def test_impossible_recipes_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="train: "):
        replace(FULL, **bad)
