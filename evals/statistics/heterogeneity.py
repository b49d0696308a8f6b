"""Whether a difference is the same in all groups of items, and how large it is in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.statistics.bootstrap import RESAMPLES

if TYPE_CHECKING:
    from numpy import float64, intp
    from numpy.typing import NDArray

SMALLEST_GROUP = 2
"""A group of fewer items has no spread of its own, and is left out."""


@dataclass(frozen=True, kw_only=True)
class GroupDifference:
    """The mean difference of a group of items, and the same shrunk towards the mean of all groups by as much as chance
    explains their spread (empirical Bayes). `error` is the standard error of `mean`."""

    group: str
    items: int
    mean: float
    shrunk: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """The difference by group. `p` is that of the interaction: the share of random assignments of the items to the
    groups under which the group means vary at least as much. `mean` is that of all items."""

    mean: float
    groups: tuple[GroupDifference, ...]
    p: float


def heterogeneity(differences: Mapping[str, float], groups: Mapping[str, str], seed: int = 0) -> Heterogeneity | None:
    """The differences of items by their group; None without two groups that are large enough. An item without a group
    is left out. `seed` is that of the random assignments."""
    import numpy as np

    members: dict[str, list[float]] = {}
    for item in sorted(differences):
        if item in groups:
            members.setdefault(groups[item], []).append(differences[item])
    members = {group: values for group, values in sorted(members.items()) if len(values) >= SMALLEST_GROUP}
    if len(members) < 2:
        return None
    sizes = [len(values) for values in members.values()]
    values = np.concatenate([np.asarray(of_group) for of_group in members.values()])
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return Heterogeneity(
        mean=float(values.mean()),
        groups=tuple(_shrunk(list(members), values, labels)),
        p=_interaction_p(values, labels, sizes, seed),
    )


def _interaction_p(values: NDArray[float64], labels: NDArray[intp], sizes: Sequence[int], seed: int) -> float:
    import numpy as np

    members = np.eye(len(sizes))[labels] / np.sqrt(sizes)  # the squares of its sums are the spread between groups
    rng = np.random.default_rng(seed)
    centred = values - values.mean()
    drawn = rng.permuted(np.tile(centred, (RESAMPLES, 1)), axis=1)
    between = ((drawn @ members) ** 2).sum(axis=1)
    observed = float(((centred @ members) ** 2).sum())
    as_large = int((between >= observed * (1 - 1e-9)).sum())
    return (as_large + 1) / (RESAMPLES + 1)


def _shrunk(names: Sequence[str], values: NDArray[float64], labels: NDArray[intp]) -> list[GroupDifference]:
    """The spread within groups is pooled: groups are small, and one of equal differences has no error of 0."""
    import numpy as np

    parts = [values[labels == number] for number in range(len(names))]
    means = np.asarray([part.mean() for part in parts])
    sizes = np.asarray([len(part) for part in parts])
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts) / (len(values) - len(parts))
    errors = within / sizes
    between = max(0.0, float(means.var(ddof=1)) - float(errors.mean()))
    grand = float(np.average(means, weights=1 / (errors + between)) if within + between else means.mean())
    kept = between / (errors + between) if within + between else np.ones(len(means))
    return [
        GroupDifference(
            group=name,
            items=int(size),
            mean=float(mean),
            shrunk=grand + float(weight) * (float(mean) - grand),
            error=math.sqrt(float(error)),
        )
        for name, size, mean, weight, error in zip(names, sizes, means, kept, errors, strict=True)
    ]
