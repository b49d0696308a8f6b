"""Fine-tuning for real, on a tiny model: it learns what it is taught, and what it saves is whole."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Device, Passage, Prompt
from reer.training.callbacks import examples
from reer.training.chat_format import CHATML, MASKED, ChatFormat, render, template
from reer.training.launch import fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora, Recipe, Trained
from reer.training.sft import CURVE, settings_of
from reer.types import Message
from tests.fakes.calls import scores
from tests.fakes.training import CHAT, FULL, LAYOUT, LORA, STUDENT, equal, job_of, sample, train, weights


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
    assert sorted(path.name for path in trained.folder.parent.iterdir()) == ["model", "trained.json"]


def test_each_step_says_all_that_is_known_of_it(trained: Trained) -> None:
    assert all(set(row) == set(CURVE) for row in trained.curve)
    assert [row["examples"] for row in trained.curve] == [2.0] * 8
    assert all(row["tokens_per_second"] > 0 and row["memory_gib"] > 0.01 for row in trained.curve)


@pytest.mark.parametrize(
    ("rows", "batch", "taken"), [(8, 2, [2, 2, 2, 2, 2]), (5, 2, [2, 2, 1, 2, 2]), (3, 4, [3, 3]), (1, 1, [1, 1])]
)
def test_an_epochs_last_step_takes_what_is_left(rows: int, batch: int, taken: list[int]) -> None:
    assert [examples(step + 1, rows, batch) for step in range(len(taken))] == taken


def test_what_was_trained_is_less_surprised_by_its_rows(trained: Trained) -> None:
    def surprise(model: Any) -> float:
        with LocalModel(model).open(Device("cpu")) as session:
            (nats,) = scores(
                session, [Passage(Prompt((Message("user", "Say 1"),), "<think>\nx\n</think>\n\n"), "It is 1111")]
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
        (step,) = train(rows, tmp_path / str(micro), recipe=whole, parallelism=Parallelism(micro, 100, False)).curve
        assert step["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-3)


def test_the_same_training_gives_the_same_weights_and_another_seed_others(
    rows: Any, trained: Trained, tmp_path: Path
) -> None:
    assert equal(train(rows, tmp_path / "again").folder, trained.folder)
    assert not equal(train(rows, tmp_path / "other", seed=8).folder, trained.folder)


def test_a_model_is_saved_in_the_precision_it_is_used_in(rows: Any, tmp_path: Path) -> None:
    out = train(rows[:2], tmp_path, replace(FULL, precision="bfloat16", epochs=1))
    assert {tensor.dtype for tensor in weights(out.folder).values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(out.folder).dtype == torch.bfloat16


def test_a_turn_that_ends_with_the_tokenizers_own_end_is_saved_and_served_so(tmp_path: Path) -> None:
    """The tiny tokenizer ends texts with <|im_end|> itself, so a student of another end is made of it."""
    student = tmp_path / "student"
    shutil.copytree(STUDENT.fetch(), student)
    tokenizer = AutoTokenizer.from_pretrained(student, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(student)
    chat = ChatFormat(answer_tags=False, overlong="error", end="text")
    (row,) = render([sample(1)], tokenizer, chat, 512).rows
    assert tokenizer.decode(row.input_ids).endswith("<|endoftext|>")
    assert tokenizer.decode(row.input_ids).count("<|im_end|>") == 1  # the user's turn
    turns = [
        {"role": "user", "content": "Say 1"},
        {"role": "assistant", "content": "<think>\nx\n</think>\n\nIt is 1111"},
    ]
    shown = tokenizer.apply_chat_template(turns, chat_template=template("<|endoftext|>"), tokenize=False)
    assert shown == tokenizer.decode(row.input_ids) + "\n"
    job = job_of([row, row], tmp_path / "work", replace(FULL, chat_format=chat, epochs=1))
    out = fine_tune(replace(job, student=str(student)), lambda _: None)
    assert AutoTokenizer.from_pretrained(out.folder).chat_template == template("<|endoftext|>")
    assert AutoModelForCausalLM.from_pretrained(out.folder).generation_config.eos_token_id == [0, 2]


def test_the_layout_changes_the_path_of_a_step_and_not_its_size(rows: Any, trained: Trained, tmp_path: Path) -> None:
    spread = train(rows, tmp_path, parallelism=Parallelism(1, 100, recompute_activations=True))
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


@pytest.mark.parametrize(
    ("micro", "batch", "devices", "steps"), [(4, 96, 8, 3), (1, 1, 1, 1), (2, 8, 1, 4), (12, 96, 8, 1)]
)
def test_accumulation_makes_a_step_exactly_the_global_batch(micro: int, batch: int, devices: int, steps: int) -> None:
    assert Parallelism(micro, 1, False, devices=devices).accumulation(batch) == steps


@pytest.mark.parametrize(("micro", "batch", "devices"), [(3, 8, 1), (4, 96, 7), (16, 8, 1), (2, 2, 2)])
def test_a_global_batch_that_cannot_be_met_is_refused(micro: int, batch: int, devices: int) -> None:
    with pytest.raises(InputError, match=f"global_batch {batch} is no multiple of .* {micro} x {devices} processes"):
        Parallelism(micro, 1, False, devices=devices).accumulation(batch)


def test_every_number_of_a_recipe_reaches_the_trainer(tmp_path: Path) -> None:
    recipe = Recipe("full", 3, 2e-5, "cosine", 0.1, 0.01, global_batch=8, precision="bfloat16", chat_format=CHAT)
    args = settings_of(Job("s", "r", recipe, 11, Parallelism(2, 50, True), str(tmp_path)))
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
    args = settings_of(Job("s", "r", FULL, 0, LAYOUT, str(tmp_path)))
    assert (args.max_length, args.packing, args.report_to) == (None, False, [])


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"learning_rate": 0.0}, {"global_batch": 0}, {"method": "lora"}, {"lora": Lora(4, 8, 0.0)}]
)
def test_impossible_recipes_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="train: "):
        replace(FULL, **bad)
