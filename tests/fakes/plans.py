"""Composed plans and experiments for tests; each list of overrides is composed once for the session."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

from experiments.config import compose as composition
from experiments.config import parts
from experiments.experiment import Experiment


@cache
def _composed(conf: Path, overrides: tuple[str, ...], multirun: bool) -> list[dict[str, Any]]:
    return composition.compose_plans(overrides, multirun)


def plans(*overrides: str, multirun: bool = False) -> list[dict[str, Any]]:
    """The plans of a command's overrides, as copies that a test may change."""
    return copy.deepcopy(_composed(composition.CONF, overrides, multirun))


def plan(*overrides: str) -> dict[str, Any]:
    """The only plan of a command's overrides."""
    (only,) = plans(*overrides)
    return only


def compose(*overrides: str) -> Experiment:
    """The only experiment of a command's overrides."""
    return parts.experiment_from(plan(*overrides))
