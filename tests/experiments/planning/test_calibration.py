"""Rates of a machine are measured, written, and used where the plan is for that machine."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.planning.calibration import (
    Calibration,
    TrainingRate,
    calibrated,
    device_name,
    read_calibration,
    write_calibration,
)
from experiments.planning.measuring import Amount, calibrate, measured_rate, training_rows
from experiments.store.provenance import Hardware, hardware
from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel, LocalSession
from reer.models.local.size import Size
from reer.models.protocols import Completion, Device, Request
from reer.search.cost import CostAssumptions
from tests.fakes.commands import finished
from tests.fakes.costs import rate
from tests.fakes.plans import compose

TINY = LocalModel(TinyModel())
LITTLE = Amount(prompt_words=20, rows=(1, 2), written_tokens=4, train_tokens=16, train_steps=2)
MILLION = Size(hidden=64, layers=20, intermediate=128, heads=4, kv_heads=4, head_dim=16, vocabulary=200, tied=True)


def measured(machine: Hardware, **changes: object) -> Calibration:
    values = Calibration(
        date="2026-11-26",
        device="CPU",
        hardware=machine,
        packages={"torch": "2"},
        rates={"m": rate(measured=True)},
        trainings={"m": TrainingRate(billions=0.001, tflops=7.0)},
    )
    return replace(values, **changes)  # pyright: ignore[reportArgumentType]


def planned(root: Path, size: Size | None = MILLION, **changes: object) -> CostAssumptions:
    return calibrated(replace(compose().estimate, **changes), root, size)  # pyright: ignore[reportArgumentType]


def test_the_verb_measures_and_writes_and_a_plan_uses_it(tmp_path: Path) -> None:
    finished(tmp_path, "calibrate", "scale=smoke")
    found = read_calibration(tmp_path)
    assert found is not None
    assert (found.device, found.hardware) == ("CPU", hardware())
    assert "torch" in found.packages
    (name,) = found.rates
    assert sorted(found.rates[name].writes_per_second) == [1, 8, 32]
    done = finished(tmp_path, "plan", "scale=smoke")
    assert f"measured on {found.date}" in done.text


def test_a_rate_counts_scored_and_generated_tokens_by_the_clock() -> None:
    ticks = iter(range(0, 1000, 1))
    with TINY.open(Device(name="cpu", generate_rows=2)) as session:
        found = measured_rate(
            session, TINY, TINY.checkpoint.size, Device(generate_rows=2), LITTLE, lambda: float(next(ticks))
        )
    assert found.reads_per_second > 20, "the tokens of one text, in one second of this clock"
    assert set(found.writes_per_second) == {1, 2}
    assert found.measured


def test_a_first_token_that_took_longer_than_all_tokens_is_not_subtracted() -> None:
    """The machine was slow for the first: a rate of millions of tokens per second would be no measurement."""
    ticks = iter([0.0, 1.0, *[0.0, 9.0, 0.0, 10.0, 10.0, 12.0] * 2])  # for each number of rows: warm-up, first, all
    with TINY.open(Device(name="cpu", generate_rows=2)) as session:
        found = measured_rate(session, TINY, TINY.checkpoint.size, Device(generate_rows=2), LITTLE, lambda: next(ticks))
    assert all(0 < rate <= rows * LITTLE.written_tokens / 2 for rows, rate in found.writes_per_second.items())


def test_each_number_of_rows_is_warmed_up_with_the_requests_that_are_measured() -> None:
    """The first answer to a request loads kernels for its shapes: it took 1.7 times as long on an H100."""
    asked: list[tuple[int, int]] = []

    class Watched(LocalSession):
        def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
            asked.append((len(requests), requests[0].sampling.max_tokens))
            return super().generate(requests)

    with TINY.open_here(Device(name="cpu", generate_rows=2)) as session:
        watched = Watched(session.name, session.model, session.tokenizer, session.device)
        measured_rate(watched, TINY, TINY.checkpoint.size, Device(generate_rows=2), LITTLE)
    tokens = LITTLE.written_tokens
    assert asked == [(rows, limit) for rows in (1, 2) for limit in (tokens, 1, tokens)]


def test_without_a_model_in_this_process_nothing_is_measured() -> None:
    served = ("model@student=smollm2", "model@generator.model=scripted", "model@scorer_model=scripted")
    exp = compose("scale=smoke", *served)
    exp = replace(exp, student=replace(exp.student, checkpoint=replace(exp.student.checkpoint, size=None)))
    lines: list[str] = []
    with pytest.raises(InputError, match="no model of this configuration"):
        calibrate(exp, lines.append, LITTLE)
    assert "its size is not stated" in lines[0]


def test_a_plan_for_another_device_or_machine_does_not_use_the_rates(tmp_path: Path) -> None:
    write_calibration(tmp_path, measured(hardware()))
    used = planned(tmp_path)
    assert used.rates["measured_m"] == rate(measured=True)
    assert used.train_tflops == 7.0
    assert "measured_m" not in planned(tmp_path, hardware="H100").rates
    elsewhere = tmp_path / "elsewhere"
    write_calibration(elsewhere, measured(Hardware("another", 99, ())))
    assert "measured_m" not in planned(elsewhere).rates
    assert planned(tmp_path / "none") == compose().estimate


def test_the_speed_of_a_training_counts_for_students_of_about_its_size(tmp_path: Path) -> None:
    write_calibration(tmp_path, measured(hardware()))
    large = compose("scale=paper").student.checkpoint.size
    assert planned(tmp_path, large).train_tflops == planned(tmp_path, None).train_tflops == 0.089


def test_rates_of_other_models_stay(tmp_path: Path) -> None:
    write_calibration(tmp_path, measured(hardware()))
    write_calibration(tmp_path, measured(hardware(), rates={"n": rate()}, trainings={}))
    found = read_calibration(tmp_path)
    assert found is not None
    assert set(found.rates) == {"m", "n"}
    assert set(found.trainings) == {"m"}


def test_a_damaged_file_is_named_with_the_cure(tmp_path: Path) -> None:
    path = write_calibration(tmp_path, measured(hardware()))
    path.write_text(path.read_text().replace("7.0", "8.0"))
    with pytest.raises(InputError, match=r"calibration\.json: damaged"):
        read_calibration(tmp_path)


def test_the_device_is_the_gpu_where_torch_uses_it() -> None:
    machine = Hardware("cpu", 2, ("NVIDIA H100 80GB HBM3",))
    assert (device_name(machine, "cuda:0"), device_name(machine, "cpu")) == ("NVIDIA H100 80GB HBM3", "CPU")


def test_rows_to_train_on_have_the_stated_length() -> None:
    rows = training_rows(16, 3)
    assert [len(row["input_ids"]) for row in rows] == [16] * 3
    assert all(row["labels"][:4] == [-100] * 4 for row in rows)
