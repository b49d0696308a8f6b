"""Hydra's errors as messages in the form of the project's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from experiments.config.choices import choice_names, groups
from experiments.config.names import group_of
from experiments.config.parts import kinds
from experiments.experiment import Experiment
from reer.errors import near

OF_RAY, RAY_PLUGIN = ("ray", "ray_aws"), "hydra-ray-launcher==1.2.2"


def explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Hydra's message in the form of our own: the key or choice at fault, and the nearest name in the same place."""
    text = f"{error}\n{error.__cause__ or ''}"
    if choice := re.search(r"Could not (?:find|load) '([\w/@.]+)/([^'/]+)'", text):
        group, name = choice.groups()
        known = choice_names(group, folders) or GlobalHydra.instance().config_loader().get_group_options(group)
        plugins = f"; {_brings(name)}" if group_of(group) == "hydra" else ""
        return f"{group}={name}: no such choice; want one of {', '.join(known)}{near(name, known)}{plugins}"
    if unknown := re.search(r"Key '([^']+)' not in '(\w+)'\s+full_key: (\S+)", text):
        name, cls, key = unknown.groups()
        if cls not in kinds():
            return f"{key}: {cls.removesuffix('Conf')} has no such setting; is another hydra/launcher= meant?"
        known = [item.name for item in fields(kinds()[cls])]
        if cls == Experiment.__name__:
            return f"{key}: no such group or key{near(name, [*known, *groups(folders)])}; see `reer choices`"
        return f"{key}: unknown key; want one of {', '.join(known)}{near(name, known)}"
    absent = re.search(r"Key '[^']+' is not in struct\s+full_key: (\S+)", text)
    if absent and (at_fault := _setting_of(absent[1], overrides)):
        return f"{absent[1]}: no value to override there; where it is no typing error, a + adds it: +{at_fault}"
    noise = ("_schema", "provider=", "Config search path", "To append", "See https")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(line for line in lines if not any(mark in line for mark in noise))
    return f"configuration: {message} (given: {' '.join(overrides)})"


def _setting_of(key: str, overrides: Sequence[str]) -> str:
    """The override that sets a key, something in it, or what it is in; '' where none does."""
    for override in overrides:
        own = override.partition("=")[0]
        if "." in own and (f"{key}.".startswith(f"{own}.") or f"{own}.".startswith(f"{key}.")):
            return override
    return ""


def _brings(launcher: str) -> str:
    """What installs a launcher. Ray's wants an older cloudpickle than the others, so it is no extra of the project."""
    if launcher in OF_RAY:
        return f"pip install {RAY_PLUGIN} brings {launcher}, with .requirements/install ray"
    return ".requirements/install launchers installs others"
