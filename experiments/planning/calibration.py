"""Rates measured on this machine: `reer calibrate` writes them under the root, plan and doctor use them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import PositiveFloat

from experiments.store.provenance import Hardware, hardware
from experiments.store.records import read_document, write_document
from reer.errors import InputError
from reer.files import adapter
from reer.models.local.size import Size
from reer.models.rates import MEASURED_FOR_TIMES, Rate
from reer.search.cost import CostAssumptions

FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class TrainingRate:
    """The throughput of a device that was measured while a model of this many billions of parameters was trained."""

    billions: PositiveFloat
    tflops: PositiveFloat


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured, when and where; rates and trainings are by the name of the model."""

    date: str
    device: str
    """The device of the rates: CPU, or the name of a GPU."""
    hardware: Hardware
    packages: Mapping[str, str]
    rates: Mapping[str, Rate]
    trainings: Mapping[str, TrainingRate]

    def train_tflops(self, billions: float) -> float | None:
        """The throughput of trainings of a model of about this size; None where none was measured."""
        near = [
            rate.tflops
            for rate in self.trainings.values()
            if 1 / MEASURED_FOR_TIMES <= rate.billions / billions <= MEASURED_FOR_TIMES
        ]
        return near[-1] if near else None


def device_name(machine: Hardware, torch_device: str) -> str:
    """The name of the device that torch computes on: CPU, or that of the GPU."""
    return machine.gpus[0] if torch_device.startswith("cuda") and machine.gpus else "CPU"


def write_calibration(root: Path, calibration: Calibration) -> Path:
    """Write the file; rates of other models that were measured on the same machine stay."""
    root.mkdir(parents=True, exist_ok=True)
    before = read_calibration(root)
    if before is not None and (before.device, before.hardware) == (calibration.device, calibration.hardware):
        rates, trainings = {**before.rates, **calibration.rates}, {**before.trainings, **calibration.trainings}
        calibration = replace(calibration, rates=rates, trainings=trainings)
    write_document(root / FILE, asdict(calibration))
    return root / FILE


def read_calibration(root: Path) -> Calibration | None:
    """The rates measured under a root; None where there are none. Raises InputError for a damaged file."""
    path = root / FILE
    if not path.exists():
        return None
    try:
        return adapter(Calibration).validate_python(read_document(path))
    except ValueError as error:
        raise InputError(f"{path}: holds no rates ({error}); remove it and run `reer calibrate` again") from None


def calibrated(assumed: CostAssumptions, root: Path, student: Size | None) -> CostAssumptions:
    """The assumptions with the rates measured under this root, where these are of this machine and the plan is for its
    device; `student` is the model that is trained."""
    found = read_calibration(root)
    if found is None or assumed.hardware.lower() not in found.device.lower() or found.hardware != hardware():
        return assumed
    rates = {**assumed.rates, **{f"measured_{name}": rate for name, rate in found.rates.items()}}
    tflops = None if student is None else found.train_tflops(student.parameters / 1e9)
    return replace(assumed, rates=rates, train_tflops=tflops or assumed.train_tflops)
