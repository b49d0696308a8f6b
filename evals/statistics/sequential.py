"""Stopping early: an interval that may be looked at as often as one likes while items are being judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.statistics.bootstrap import Floats

FALSE_ALARMS = 0.01
"""The probability that the interval ever excludes the true mean."""
EVERY = 50
"""Items between two looks, and before the first one."""
NARROWEST = 20
"""The look at which the interval is as narrow as possible."""


@dataclass(frozen=True)
class Look:
    """What was known after some items."""

    items: int
    low: float
    high: float


def confidence_sequence(
    samples: Floats, every: int = EVERY, false_alarms: float = FALSE_ALARMS
) -> tuple[Floats, Floats]:
    """The ends of the interval of the mean after `every`, twice `every`, … items, of many samples at once (rows, each
    in random order). An ordinary 95 % interval that is looked at 20 times excludes the truth once in about 25 % of
    samples; this one does in at most `false_alarms`, for any number of looks.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (Time-uniform central limit
    theory and asymptotic confidence sequences, Annals of Statistics 2024), narrowest at the look `NARROWEST`: one that
    is narrowest earlier is too narrow at the first looks where differences are skewed or failures rare.
    """
    import numpy as np

    counts = np.arange(every, samples.shape[1] + 1, every)
    sums, squares = samples.cumsum(axis=1)[:, counts - 1], (samples**2).cumsum(axis=1)[:, counts - 1]
    means = sums / counts
    deviations = np.sqrt(np.maximum(0.0, squares / counts - means**2) * counts / (counts - 1))
    log = -2 * math.log(false_alarms)
    tuning = (log + math.log(log) + 1) / (NARROWEST * every)
    scaled = counts * tuning + 1
    reach = deviations * np.sqrt(2 * scaled / (counts**2 * tuning) * np.log(np.sqrt(scaled) / false_alarms))
    return means - reach, means + reach


def first_decision(differences: Sequence[float], every: int = EVERY) -> Look | None:
    """The first look at paired differences, in the random order in which they were judged, whose interval excludes
    zero: judging can stop there. None if all items are needed."""
    import numpy as np

    lows, highs = confidence_sequence(np.asarray(differences, dtype=float)[None, :], every)
    looks = (Look((n + 1) * every, float(a), float(b)) for n, (a, b) in enumerate(zip(lows[0], highs[0], strict=True)))
    return next((look for look in looks if look.low > 0 or look.high < 0), None)
