"""How fast models run: the rates of one copy of a model, by engine, size, precision and number of devices.

A rate is found for the size it was measured at and scaled in inverse proportion to the parameters, which holds where
computing (prompts) or reading weights (decoding) takes the time. `source` says where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from reer.errors import InputError
from reer.models.placement import Precision

EngineName = Literal["transformers", "vllm", "sglang", "server"]
MEASURED_FOR_TIMES = 3.0
"""A rate measured on this machine counts for models of up to this many times its model's size, and down to one in as
many: a small model is bound by other things than a large one."""
SCALED_AT_MOST_TIMES = 20.0
"""Nothing is said about models that are further from every known size than this."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one copy of a model computes in a second, on the devices that it is spread over."""

    engine: EngineName
    precision: Precision
    billions: PositiveFloat
    """Parameters of the model it was measured with, in billions."""
    devices: PositiveInt = 1
    """Devices of one copy."""
    reads_per_second: PositiveFloat
    """Tokens of prompts, or of texts that are scored."""
    writes_per_second: Mapping[PositiveInt, PositiveFloat]
    """Generated tokens of all rows together, by the number of rows decoded at once."""
    source: str
    measured: bool = False
    """Measured by `reer calibrate` on the machine at hand."""

    def __post_init__(self) -> None:
        if not self.writes_per_second:
            raise InputError("rates: writes_per_second wants at least one number of rows, e.g. {32: 4000}")

    def writing(self, rows: int | None) -> float:
        """Generated tokens per second with this many rows at once; None: as many as an engine holds. Between two known
        numbers of rows it is interpolated, outside of them it is that of the nearest."""
        known = sorted(self.writes_per_second)
        if rows is None or rows >= known[-1]:
            return self.writes_per_second[known[-1]]
        if rows <= known[0]:
            return self.writes_per_second[known[0]]
        above = next(at for at, count in enumerate(known) if count > rows)
        low, high = known[above - 1], known[above]
        share = math.log(rows / low) / math.log(high / low)
        return self.writes_per_second[low] ** (1 - share) * self.writes_per_second[high] ** share

    def scaled_to(self, billions: float) -> Rate:
        """The rate of a model of another size on the same devices."""
        factor = self.billions / billions
        return Rate(
            engine=self.engine,
            precision=self.precision,
            billions=billions,
            devices=self.devices,
            reads_per_second=self.reads_per_second * factor,
            writes_per_second={rows: rate * factor for rows, rate in self.writes_per_second.items()},
            source=self.source,
            measured=self.measured,
        )

    def times_larger(self, billions: float) -> float:
        """How many times larger or smaller a model is than the one that was measured; at least 1."""
        return math.exp(abs(math.log(billions / self.billions)))


def closest_rate(
    rates: Iterable[Rate], *, engine: str, precision: str, devices: int, billions: float | None
) -> Rate | None:
    """The rate of a model, from the measured one of the closest size, else from the known one of the closest size. None
    where nothing is known of its engine, precision and number of devices at about its size. A model of unknown size has
    the rate that is stated for its engine."""
    same = [rate for rate in rates if (rate.engine, rate.precision, rate.devices) == (engine, precision, devices)]
    if not same:
        return None
    if billions is None:
        return same[0]
    measured = [rate for rate in same if rate.measured and rate.times_larger(billions) <= MEASURED_FOR_TIMES]
    known = measured or [rate for rate in same if rate.times_larger(billions) <= SCALED_AT_MOST_TIMES]
    return min(known, key=lambda rate: rate.times_larger(billions)).scaled_to(billions) if known else None
