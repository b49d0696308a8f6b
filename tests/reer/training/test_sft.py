"""Fine-tuning of a tiny model: it learns its rows, and saves a complete model."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Device, Passage, Prompt
from reer.training.callbacks import examples_of_step
from reer.training.chat_format import END_OF_TURN, MASKED, ChatFormat, render, template
from reer.training.launch import fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora, Recipe, Trained
from reer.training.sft import CURVE, settings_of
from reer.types import Message
from tests.fakes.calls import scores
from tests.fakes.training import CHAT, FULL, ONE_PROCESS, STUDENT, equal, job_of, sample, train, weights


def test_training_lowers_the_loss_over_every_step_it_takes(trained: Trained) -> None:
    losses = [row["loss"] for row in trained.curve]
    assert [row["step"] for row in trained.curve] == list(range(1, 9))
    assert (trained.steps, trained.resumed_from) == (8, 0)
    assert losses[-1] < 0.8 * losses[0]


def test_the_model_is_saved_as_safetensors_with_our_template_and_both_end_tokens(trained: Trained) -> None:
    names = {file.name for file in trained.folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth")) for name in names)
    assert AutoTokenizer.from_pretrained(trained.folder).chat_template == template(END_OF_TURN)
    model = AutoModelForCausalLM.from_pretrained(trained.folder)
    assert model.generation_config.eos_token_id == [2]
    assert model.dtype == torch.float32


def test_checkpoints_are_deleted_when_training_is_done(trained: Trained) -> None:
    assert sorted(path.name for path in trained.folder.parent.iterdir()) == ["model", "trained.json"]


def test_each_row_of_the_curve_has_every_column(trained: Trained) -> None:
    assert all(set(row) == set(CURVE) for row in trained.curve)
    assert [row["examples"] for row in trained.curve] == [2.0] * 8
    assert all(row["tokens_per_second"] > 0 and row["memory_gib"] > 0.01 for row in trained.curve)


@pytest.mark.parametrize(
    ("rows", "batch", "taken"), [(8, 2, [2, 2, 2, 2, 2]), (5, 2, [2, 2, 1, 2, 2]), (3, 4, [3, 3]), (1, 1, [1, 1])]
)
def test_the_last_step_of_an_epoch_takes_the_remaining_rows(rows: int, batch: int, taken: list[int]) -> None:
    assert [examples_of_step(step + 1, rows, batch) for step in range(len(taken))] == taken


def test_training_lowers_the_nll_of_its_rows(trained: Trained) -> None:
    def nll(model: Any) -> float:
        with LocalModel(model).open(Device("cpu")) as session:
            (nats,) = scores(
                session, [Passage(Prompt((Message("user", "Say 1"),), "<think>\nx\n</think>\n\n"), "It is 1111")]
            )
        return sum(nats) / len(nats)

    assert nll(FolderModel(str(trained.folder))) < 0.8 * nll(STUDENT)


def test_the_loss_is_the_mean_over_unmasked_tokens(rows: Any, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(STUDENT.fetch(), dtype=torch.float32)
    nats: list[float] = []
    for row in rows:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].log_softmax(dim=-1)
        nats += [-float(logits[i - 1, label]) for i, label in enumerate(row.labels) if label != MASKED]
    whole = replace(FULL, global_batch=8, epochs=1)
    for micro in (8, 2):
        (step,) = train(
            rows, tmp_path / str(micro), recipe=whole, parallelism=replace(ONE_PROCESS, micro_batch=micro)
        ).curve
        assert step["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-3)


def test_the_same_training_gives_the_same_weights_and_another_seed_others(
    rows: Any, trained: Trained, tmp_path: Path
) -> None:
    assert equal(train(rows, tmp_path / "again").folder, trained.folder)
    assert not equal(train(rows, tmp_path / "other", seed=8).folder, trained.folder)


def test_a_model_is_saved_in_the_precision_of_its_use(rows: Any, tmp_path: Path) -> None:
    out = train(rows[:2], tmp_path, replace(FULL, precision="bfloat16", epochs=1))
    assert {tensor.dtype for tensor in weights(out.folder).values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(out.folder).dtype == torch.bfloat16


def test_a_turn_that_ends_with_the_tokenizers_end_token_is_saved_and_served_with_it(tmp_path: Path) -> None:
    """The tiny tokenizer ends texts with <|im_end|>, so the test makes a student with another end token."""
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


def test_parallelism_changes_how_a_step_is_computed_and_not_its_loss(
    rows: Any, trained: Trained, tmp_path: Path
) -> None:
    spread = train(rows, tmp_path, parallelism=replace(ONE_PROCESS, micro_batch=1, recompute_activations=True))
    assert spread.steps == trained.steps
    for one, other in zip(spread.curve, trained.curve, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_adapters_are_trained_and_merged(trained_adapters: Trained) -> None:
    out = trained_adapters
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
    assert replace(ONE_PROCESS, micro_batch=micro, devices=devices).accumulation(batch) == steps


@pytest.mark.parametrize(("micro", "batch", "devices"), [(3, 8, 1), (4, 96, 7), (16, 8, 1), (2, 2, 2)])
def test_a_global_batch_that_cannot_be_met_is_refused(micro: int, batch: int, devices: int) -> None:
    with pytest.raises(InputError, match=f"global_batch {batch} is no multiple of .* {micro} x {devices} processes"):
        replace(ONE_PROCESS, micro_batch=micro, devices=devices).accumulation(batch)


def test_every_value_of_a_recipe_reaches_the_trainer(tmp_path: Path) -> None:
    recipe = Recipe(
        method="full",
        epochs=3,
        learning_rate=2e-5,
        schedule="cosine",
        warmup_ratio=0.1,
        weight_decay=0.01,
        global_batch=8,
        precision="bfloat16",
        chat_format=CHAT,
    )
    spread = Parallelism(micro_batch=2, checkpoint_steps=50, recompute_activations=True)
    args = settings_of(Job(student="s", rows="r", recipe=recipe, seed=11, parallelism=spread, work=str(tmp_path)))
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
    args = settings_of(Job(student="s", rows="r", recipe=FULL, seed=0, parallelism=ONE_PROCESS, work=str(tmp_path)))
    assert (args.max_length, args.packing, args.report_to) == (None, False, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("learning_rate", 0.0), ("global_batch", 0), ("warmup_ratio", 1.0), ("weight_decay", -0.1)],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        TypeAdapter(Recipe).validate_python({**asdict(FULL), field: value})


@pytest.mark.parametrize("contradicting", [{"method": "lora"}, {"lora": Lora(4, 8, 0.0)}])
def test_a_method_and_adapters_that_contradict_each_other_are_refused(contradicting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"train\.method is"):
        replace(FULL, **contradicting)
