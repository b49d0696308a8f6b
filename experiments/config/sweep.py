"""The jobs of a command: values swept on the command line or by a `sweep=` file, crossed with the arms of a design."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.messages import explain
from experiments.config.names import group_of, without
from experiments.config.parts import DESIGN, FrozenPlan, kinds
from experiments.config.schema import plain_data
from experiments.store.fingerprint import Json
from experiments.sweeps.designs import Design
from reer.errors import InputError
from reer.parts import build

SLURM = "submitit_slurm"  # the launcher whose jobs Slurm runs
BASIC = "basic"  # Hydra's launcher and sweeper that run jobs one after another
MOST_JOBS = 1000  # of one command; composing one takes most of a second


@dataclass(frozen=True)
class Launcher:
    """One of Hydra's launchers, and its settings."""

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def is_basic(self) -> bool:
        return self.name == BASIC

    @property
    def is_of_slurm(self) -> bool:
        return self.name == SLURM


@dataclass(frozen=True)
class Settings:
    """What a command says of its jobs as a whole: values that a `sweep=` file sweeps over, the design, the launcher."""

    params: Mapping[str, str] = field(default_factory=dict[str, str])
    design: Design = field(default_factory=lambda: Design(arms="none", without={}))
    launcher: Launcher = field(default_factory=lambda: Launcher(BASIC))


@dataclass(frozen=True)
class Sweep:
    """The arms of a design, and the overrides that each of them is crossed with."""

    crossed: list[list[str]]
    design: Design
    several: bool
    launcher: Launcher


def sweep_of(overrides: list[str], multirun: bool, folders: Sequence[Path]) -> Sweep:
    """All jobs: values swept on the command line, those of a `sweep=` file, and the arms of a design. The order is
    that of Hydra's own sweeper."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        parsed = parser.parse_overrides(overrides)
        _refuse_sweeps(parsed)
        settings = _settings(parsed)
        _refuse_varied_twice(parsed, settings)
        several = multirun or bool(settings.params) or settings.design.arms != "none"
        merged = parser.parse_overrides([f"{key}={value}" for key, value in settings.params.items()]) + parsed
        if not several:
            _require_multirun(merged)
        (batch,) = BasicSweeper.split_arguments(merged, max_batch_size=None)
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(explain(error, overrides, folders)) from error
    if len(batch) * len(settings.design.all_arms()) > MOST_JOBS:
        raise InputError(f"{' '.join(overrides)}: {len(batch)} jobs for each arm; want at most {MOST_JOBS} in all")
    globs = {item.get_key_element() for item in merged if isinstance(item.value(), Glob)}
    jobs = [job for job in batch if not any(_is_schema(override, globs) for override in job)]
    crossed = [list(job) for job in dict.fromkeys(tuple(without(job, DESIGN)) for job in jobs)]
    return Sweep(crossed, settings.design, several, settings.launcher)


def _is_schema(override: str, globs: Collection[str]) -> bool:
    """Whether a glob has matched the schema of a group, which is no choice of it."""
    key, _, value = override.partition("=")
    return key in globs and value.endswith("_schema")


def _settings(parsed: Sequence[Override]) -> Settings:
    """Composes only where a setting may differ from its default."""
    if not any(group_of(item.key_or_group) in ("hydra", "sweep", DESIGN) for item in parsed):
        return Settings()
    single = [str(item.input_line) for item in parsed if not item.is_sweep_override()]
    cfg = compose("config", overrides=single, return_hydra_config=True)
    chosen = cfg.hydra.runtime.choices
    if chosen["hydra/sweeper"] != BASIC:
        raise InputError(
            f"hydra/sweeper={chosen['hydra/sweeper']} chooses jobs while it runs; want hydra/sweeper=basic"
        )
    design = build(cast(FrozenPlan, plain_data(cfg[DESIGN], DESIGN)), kinds(), DESIGN, Design)
    settings = cast("dict[str, Json]", OmegaConf.to_container(cfg.hydra.launcher, resolve=True))
    return Settings(cfg.hydra.sweeper.params or {}, design, Launcher(str(chosen["hydra/launcher"]), settings))


def _refuse_varied_twice(parsed: Sequence[Override], settings: Settings) -> None:
    """Raise InputError for an override of what the design varies, and for a design beside the arms of a sweep file."""
    varied = settings.design.varied_by()
    for item in parsed:
        if factor := varied.get(item.key_or_group):
            raise InputError(
                f"{item.input_line}: the design varies {item.key_or_group}; leave it out, or leave {factor} out of "
                "design.factors"
            )
    if varied and settings.params:
        raise InputError("sweep= and design=: want one of them; both choose the arms")


def _refuse_sweeps(parsed: Sequence[Override]) -> None:
    """Raise InputError for several values of what holds for all jobs, and for values that have no list."""
    for item in parsed:
        line, group = str(item.input_line), group_of(item.key_or_group)
        if item.key_or_group.startswith("hydra.sweeper.params"):
            raise InputError(f"{line}: want values separated by commas and -m, or a file of your own in sweep/")
        if not item.is_sweep_override():
            continue
        if group == "hydra":
            raise InputError(f"{line}: want one value; Hydra's settings hold for all jobs of a command")
        if item.key_or_group in ("sweep", DESIGN):
            raise InputError(f"{line}: want one {group} at a time; run the command once for each")
        if not item.is_discrete_sweep():
            raise InputError(
                f"{line}: an interval has no list of values; want choice(...), range(start,stop,step) or values "
                "separated by commas"
            )


def _require_multirun(parsed: Sequence[Override]) -> None:
    for item in parsed:
        if item.is_sweep_override():
            raise InputError(f"{item.input_line}: several values for one key need a multirun: add -m")
