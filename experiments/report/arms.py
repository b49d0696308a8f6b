"""Which runs are compared, in which order, under which name, and with which baseline.

Names are what people ask for and read. What a run is, is decided by its identity: two names of one experiment are one
arm, and the baseline is the run that is configured like it, whatever it is called.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.report.statistics import Statistics
from experiments.store.failures import why_unfinished
from experiments.store.fingerprint import Json, fingerprint
from experiments.store.runs import Result, near_run, read_result, run_name
from reer.errors import InputError

CROSSING = ("judge", "benchmark", "source")
"""The parts that an arm shares with its baseline: under another judge, on other items or from another source, scores
differ for that reason alone."""


@dataclass(frozen=True)
class ArmNames:
    """The arms of one scale and crossing. `of_run` is run name -> the name of its arm. `shared` are the overrides in
    the name of every arm, such as those of a source that all have: they tell no arm from another, and are left out of
    tables and plots."""

    of_run: Mapping[str, str]
    shared: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        """What the arm of a run is called beside the others."""
        first, *overrides = _parts(self.of_run[name])
        return "+".join([first, *(text for text in overrides if text not in self.shared)])

    def aliases(self, name: str) -> tuple[str, ...]:
        """The names of the arm of a run other than its own."""
        return tuple(other for other, arm in self.of_run.items() if arm == self.of_run[name] != other)


@dataclass(frozen=True)
class Runs:
    """The results of a root that count, and of each other run why it has none: at work, failed, not finished, stale or
    damaged."""

    results: list[Result]
    left_out: list[str]


def runs_under(root: Path, scale: str | None = None) -> Runs:
    """All runs of a root by name, at one scale if it is given. A result counts as long as its stages are unchanged."""
    folders = (folder for folder in sorted((root / "runs").glob("*/*/s*")) if folder.is_dir())
    found = {folder: _current(folder) for folder in folders if scale in (None, folder.parent.name)}
    return Runs(
        [result for result in found.values() if isinstance(result, Result)],
        [f"{run_name(folder)}: {reason}" for folder, reason in found.items() if isinstance(reason, str)],
    )


def _current(folder: Path) -> Result | str:
    """The result of a run, or why none counts."""
    try:
        result = read_result(folder)
    except InputError as error:
        return str(error)
    stale = result.why_stale() if result else "not finished; the same command resumes it"
    return result if result and not stale else why_unfinished(folder) or stale


def selected(
    results: Sequence[Result], names: Sequence[str] = (), seeds: Sequence[int] = (), baseline: str | None = None
) -> list[Result]:
    """The runs that are asked for, in that order, and those they are compared with; without names all, as they were
    started. A name is that of an arm, or of its run at one scale and seed (`full`, `full/smoke`, `full/smoke/s1`).
    Raises InputError for a name or a seed that no run has, and where there is no run."""
    found = [result for result in in_order_of_start(results) if not seeds or result.seed in seeds]
    absent = sorted({*seeds} - {result.seed for result in found})
    if absent or not found:
        at_seed = f" with seed {', '.join(map(str, absent))}" if absent else ""
        raise InputError(f"no run has a current result here{at_seed}; start one with `reer run`")
    against = named(found, baseline) if baseline else []
    if not names:
        return found
    asked = list({id(result): result for name in names for result in named(found, name)}.values())
    places = {(result.scale, result.seed) for result in asked}
    compared_with = against or [r for r in found if r.name in {result.baseline for result in asked}]
    others = [r for r in compared_with if (r.scale, r.seed) in places and r not in asked]
    return [*others, *asked]


def named(results: Sequence[Result], name: str) -> list[Result]:
    """The runs of a name. Raises InputError where there is none, with the nearest name."""
    found = [result for result in results if f"{result.run_name}/".startswith(f"{name}/")]
    if not found:
        known = [*dict.fromkeys(result.name for result in results), *(result.run_name for result in results)]
        hint = near_run(name, known)
        raise InputError(
            f"no run with a current result is called {name!r}{hint}; `reer status` lists the runs that exist"
        )
    return found


def only(results: Sequence[Result], name: str) -> Result:
    """The run of a name. Raises InputError where there is none, and where several runs have it."""
    found = named(results, name)
    if len(found) > 1:
        names = ", ".join(result.run_name for result in found)
        raise InputError(f"{name} is the name of several runs; want one of {names}")
    return found[0]


def in_order_of_start(results: Sequence[Result]) -> list[Result]:
    """Runs in the order in which they were first started, which is that of their sweep."""
    return sorted(results, key=lambda result: result.started)


def crossing_of(identity: Mapping[str, Json]) -> str:
    """The fingerprint of what scores must share to be compared: judge, benchmarks and source."""
    return fingerprint({part: identity.get(part) for part in CROSSING})


def by_crossing(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """The runs of one scale in groups with one judge, benchmarks and source each, in order. A group is named after the
    parts in which groups differ; the name of a single one is empty."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(crossing_of(result.identity), []).append(result)
    firsts = [group[0].identity for group in groups.values()]
    differing = [part for part in CROSSING if len({fingerprint(one.get(part)) for one in firsts}) > 1]
    names: list[str] = []
    for one in firsts:
        name = ", ".join(f"{part} {part_name(one.get(part))}" for part in differing)
        again = sum(other.partition(" (")[0] == name for other in names)
        names.append(f"{name} ({again + 1})" if again else name)
    return list(zip(names, groups.values(), strict=True))


def part_name(part: Json) -> str:
    """What a part calls itself; for several parts by name, their names."""
    if not isinstance(part, dict):
        return str(part)
    return str(part["name"]) if "name" in part else "+".join(name for name in part if name != "kind")


def arm_names(results: Sequence[Result], first: Sequence[str]) -> ArmNames:
    """The arms of the runs of one scale and crossing. Runs whose steps are equal at each seed that they share are one
    arm, named as in `first`, else as the earliest."""
    runs: dict[str, dict[int, Result]] = {}
    for result in sorted(results, key=lambda result: result.name not in first):
        runs.setdefault(result.name, {})[result.seed] = result
    arms: dict[str, str] = {}
    for name, by_seed in runs.items():
        same = (arm for arm in arms.values() if _equal(by_seed, runs[arm]))
        arms[name] = next(same, name)
    distinct = set(arms.values())
    return ArmNames(arms, tuple(sorted(_shared_overrides(distinct))) if len(distinct) > 1 else ())


def _shared_overrides(names: Iterable[str]) -> set[str]:
    """The overrides that stand in every name."""
    return set[str].intersection(*(set(_parts(name)[1:]) for name in names))


def _parts(name: str) -> list[str]:
    """What an arm is called without overrides, then its overrides: `no_a+no_b+seed=1` is `no_a+no_b`, `seed=1`."""
    return re.split(r"\+(?=[^+=]+=)", name)


def _equal(one: Mapping[int, Result], other: Mapping[int, Result]) -> bool:
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[seed].steps == other[seed].steps for seed in shared)


def baseline_name(results: Sequence[Result]) -> str:
    """The name of the baseline of runs at one scale: with the overrides that all of them share."""
    return "+".join([results[0].baseline, *sorted(_shared_overrides(result.name for result in results))])


def baseline_of(
    results: Sequence[Result], names: ArmNames, wanted: str | None, statistics: Statistics
) -> Result | None:
    """The baseline of runs at one scale and seed: the one called `wanted`, also by another name of this arm, else that
    of the baseline's name, else the one that is configured like the baseline in every part in which these runs
    differ."""
    name = wanted or baseline_name(results)
    arm = names.of_run.get(name, name)
    of_name = next((result for result in results if names.of_run[result.name] == arm), None)
    if of_name or wanted or len(results) < 2:
        return of_name
    parts = [{part: fingerprint(value) for part, value in result.identity.items()} for result in results]
    differing = {part for of_run in parts for part in of_run if len({other.get(part) for other in parts}) > 1}
    composed = _composed_parts(results[0], statistics)
    compared = differing - {"name"}
    if not composed or not compared:
        return None
    alike = (r for r, own in zip(results, parts, strict=True) if all(own.get(k) == composed.get(k) for k in compared))
    return next(alike, None)


def _composed_parts(result: Result, statistics: Statistics) -> Mapping[str, str]:
    """Part -> fingerprint of the baseline of a run as it is configured now, kept with the statistics because composing
    takes a second; empty where the baseline cannot be composed."""
    from experiments.config.choices import conf_folders

    try:
        files = [file for folder in conf_folders() for file in sorted(folder.rglob("*.yaml"))]
    except InputError:
        return {}
    configuration = hashlib.sha256(b"\x1e".join(file.read_bytes() for file in files)).hexdigest()
    return statistics.parts([result.baseline, result.scale, configuration], lambda: _compose(result))


def _compose(result: Result) -> Mapping[str, str]:
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from
    from experiments.revisions import pinned
    from experiments.store.runs import identity_of

    try:
        plan = compose_one([f"experiment={result.baseline}", f"scale={result.scale}"])
        identity = identity_of(experiment_from(pinned(plan, result.root or Path())))
    except InputError:
        return {}
    return {part: fingerprint(value) for part, value in identity.items()}
