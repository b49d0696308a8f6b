"""Frozen plans of runs, read for the folder that they are in now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.store.fingerprint import Json
from experiments.store.runs import read_plan
from reer.errors import InputError, near

Plan = dict[str, Json]


def frozen_plan(folder: Path, root: Path) -> Plan:
    """The frozen plan of a run, with the root folder that the run is in now; that of a run that was moved has changed.
    Raises InputError for a damaged file."""
    plan = read_plan(folder / "plan.json")
    runtime = plan.get("runtime")
    if not isinstance(runtime, dict):
        raise InputError(
            f"{folder / 'plan.json'}: wants a part `runtime`, so this is no plan; run the experiment again"
        )
    return {**plan, "runtime": {**runtime, "root": str(root)}}


def changed(plan: Plan, overrides: Sequence[str]) -> Plan:
    """The plan with fields changed, as `search.max_edits=3`. Raises InputError for a field that it does not have, and
    for a choice of a group, because choices are composed and a plan is not."""
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"{override}: want KEY=VALUE after the name of a run")
        plan = _with(plan, path.split("."), yaml.safe_load(text), override)
    return plan


def _with(part: Plan, keys: Sequence[str], value: Json, override: str) -> Plan:
    first, *rest = keys
    if first not in part:
        raise InputError(f"{override}: the plan has no field {first}{near(first, part)}")
    inner = part[first]
    if rest and isinstance(inner, dict):
        return {**part, first: _with(inner, rest, value, override)}
    if rest or isinstance(inner, dict):
        raise InputError(
            f"{override}: want a field inside a part of the plan, such as search.max_edits=3; to choose another part, "
            f"compose the experiment: reer explain experiment=NAME {override}"
        )
    return {**part, first: value}
