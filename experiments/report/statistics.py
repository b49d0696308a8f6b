"""What a comparison computes, computed once and kept beside the runs: the libraries take seconds to import."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from pydantic import ValidationError

import evals.statistics
from evals.benchmark import Measure
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.paired import Difference, Scores, paired_difference
from evals.statistics.seeds import SeedsDifference, difference_over_seeds
from reer.files import adapter, write_json

Kept = dict[str, list[dict[str, object]]]  # the fields of what was computed, by the hash of what it comes from


class Statistics:
    """Differences by a hash of the scores they come from and of the code that computes them. `path` is the file that
    keeps them; with None, or in a folder that cannot be written to, nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.kept: Kept = {}
        if path is not None and path.exists():
            self.kept = _kept(path)
        self.changed = False

    def paired(self, arm: Scores, baseline: Scores, measure: Measure | None) -> Difference | None:
        """See `paired_difference`. None for `measure`: the range of the scores is unknown."""
        worst, best = _range(measure)
        key = _key("paired", [arm, baseline, worst, best])
        if key not in self.kept:
            difference = paired_difference(arm, baseline, margin=equivalence_margin(worst, best), worst=worst)
            self._keep(key, [difference] if difference else [])
        return next((Difference(**fields) for fields in self.kept[key]), None)  # pyright: ignore[reportArgumentType]

    def over_seeds(
        self, arm: Mapping[int, Scores], baseline: Mapping[int, Scores], measure: Measure | None
    ) -> SeedsDifference | None:
        """See `difference_over_seeds`."""
        worst, best = _range(measure)
        key = _key("seeds", [arm, baseline, worst, best])
        if key not in self.kept:
            difference = difference_over_seeds(arm, baseline, margin=equivalence_margin(worst, best), worst=worst)
            self._keep(key, [difference] if difference else [])
        return next((SeedsDifference(**fields) for fields in self.kept[key]), None)  # pyright: ignore[reportArgumentType]

    def parts(self, of: Sequence[str], compute: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        """The fingerprints of the parts of a configuration that is identified by these texts."""
        key = _key("parts", list(of))
        if key not in self.kept:
            self.kept[key] = [dict(compute())]
            self.changed = True
        return {part: str(value) for part, value in self.kept[key][0].items()}

    def _keep(self, key: str, differences: Sequence[Difference]) -> None:
        self.kept[key] = [asdict(d) for d in differences]
        self.changed = True

    def save(self) -> None:
        """Write what was computed. Of two processes that save at once, one loses entries, which are computed again."""
        if self.changed and self.path is not None and os.access(self.path.parent, os.W_OK):
            write_json(self.path, self.kept)


def _kept(path: Path) -> Kept:
    """What a file keeps; nothing where it is torn, since all of it can be computed again."""
    try:
        return adapter(Kept).validate_json(path.read_bytes())
    except ValidationError:
        return {}


def _key(kind: str, content: object) -> str:
    text = json.dumps([kind, _code(), content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def _code() -> str:
    """A hash of the code that computes the statistics."""
    (folder,) = evals.statistics.__path__
    sources = [file.read_bytes() for file in sorted(Path(folder).glob("*.py"))]
    return hashlib.sha256(b"\x1e".join(sources)).hexdigest()


def _range(measure: Measure | None) -> tuple[float | None, float | None]:
    """The worst and the best possible score; None where they are unknown."""
    return (measure.worst, measure.best) if measure else (None, None)
