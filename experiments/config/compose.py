"""From the overrides of a command to the frozen plans of its jobs. Hydra composes; the dataclasses check."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments.config.choices import COMPOSED_OF, CONF, choice_names, conf_folders, groups
from experiments.config.messages import explain
from experiments.config.names import ARMS, derived_name, group_of, refuse_keys, refuse_keys_in, without
from experiments.config.parts import FrozenPlan, experiment_from
from experiments.config.schema import plan_of, register
from experiments.config.sweep import Launcher, Sweep, sweep_of
from experiments.contracts.terms import Contract
from experiments.contracts.written import contract_of
from experiments.store.fingerprint import Json
from experiments.sweeps.designs import Arm, Design
from reer.errors import InputError, near
from reer.files import adapter

VALUE = re.compile(r"(?!hydra\b)[A-Za-z]\w*(\.\w+)*=")  # how an override begins that sets the value of a key
MOST_ARMS = 64  # composed configurations that are kept; one takes about 1 MB


def _choices_of(cfg: DictConfig) -> Json:
    """Hydra's choice in every group that takes one."""
    chosen = {str(group): value for group, value in cfg.hydra.runtime.choices.items()}
    choices = {
        group.rpartition("@")[2].replace(".", "_"): value
        for group, value in chosen.items()
        if isinstance(value, str) and not value.endswith("_schema") and not group.startswith("hydra/")
    }
    return dict(sorted(choices.items()))


@dataclass(frozen=True)
class Jobs:
    """All jobs of one command: a plan each with the arm of the design that it is, whether they are a sweep, and what
    starts them."""

    plans: tuple[FrozenPlan, ...]
    arms: tuple[Arm, ...]
    design: Design
    is_sweep: bool
    launcher: Launcher


def compose_plans(overrides: Sequence[str], multirun: bool, config_dir: Path | None = None) -> list[FrozenPlan]:
    """The plans of all jobs of a command."""
    return list(compose_jobs(overrides, multirun, config_dir).plans)


def compose_one(overrides: Sequence[str], config_dir: Path | None = None) -> FrozenPlan:
    """The plan of a command that takes one experiment. Raises InputError for several."""
    plans = compose_plans(overrides, False, config_dir)
    if len(plans) > 1:
        raise InputError(f"want one experiment, got a sweep of {len(plans)}; leave out sweep= and design=")
    return plans[0]


def compose_jobs(overrides: Sequence[str], multirun: bool, config_dir: Path | None = None) -> Jobs:
    """Compose and check every job of a command before any work. `config_dir` adds a folder of the user's to the
    project's `conf/`. Raises InputError with the nearest names."""
    refuse_keys_in(overrides)
    _refuse_contracts(overrides)
    register()
    folders = conf_folders(config_dir)
    given = [*overrides, *search_path_override(folders)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = sweep_of(given, multirun, folders)
        if not sweep.crossed:
            raise InputError(f"{' '.join(overrides)}: the sweep has no job; want a glob or range that matches")
        arms = [(arm, job) for arm in sweep.design.all_arms() for job in sweep.crossed]
        plans = tuple(_checked(arm, job, folders) for arm, job in arms)
    if sweep.several and not any(group_of(override) == "baseline" for override in overrides):
        _compare_with_first_arm(plans, sweep)
    _refuse_unknown_baselines(plans, folders)
    return Jobs(plans, tuple(arm for arm, _ in arms), sweep.design, sweep.several, sweep.launcher)


def _refuse_contracts(overrides: Sequence[str]) -> None:
    for override in overrides:
        if group_of(override) == "contract":
            raise InputError(
                f"{override}: a contract belongs to the YAML of an arm; write it there, or leave the override out"
            )


def _compare_with_first_arm(plans: Sequence[FrozenPlan], sweep: Sweep) -> None:
    """Make the first arm of a design the baseline of the others, for each job that it is crossed with."""
    if sweep.design.arms != "none":
        for number, plan in enumerate(plans):
            plan["baseline"] = plans[number % len(sweep.crossed)]["name"]


def _refuse_unknown_baselines(plans: Sequence[FrozenPlan], folders: Sequence[Path]) -> None:
    """Raise InputError for a baseline that is no experiment, no job of this command, and no run of its root."""
    known = [*choice_names("experiment", folders), *(plan["name"] for plan in plans)]
    for plan in plans:
        name, root = plan["baseline"], Path(plan["runtime"]["root"])
        if name not in known and not (root / "runs" / name).is_dir():
            raise InputError(
                f"baseline: want the name of an experiment or of a run in {root}, got {name!r}{near(name, known)}"
            )


def search_path_override(folders: Sequence[Path]) -> list[str]:
    """Hydra's override for configuration folders beside the project's own."""
    quoted = [json.dumps(f"file://{folder}", ensure_ascii=False) for folder in folders if folder != CONF]
    return [f"hydra.searchpath=[{','.join(quoted)}]"] if quoted else []


def _checked(arm: Arm, crossed: Sequence[str], folders: Sequence[Path]) -> FrozenPlan:
    """The plan of an arm with the overrides that it is crossed with, and that of the arm it is matched to."""
    job = [*crossed, *arm.overrides]
    plan = _composed(job, folders)
    plan["name"] = derived_name(arm.named(plan["name"], plan["baseline"]), crossed)
    choices = plan[COMPOSED_OF]["choices"]
    contract = contract_of(choices["experiment"], choices, folders)
    plan["contract"] = adapter(Contract).dump_python(contract, mode="json")
    if plan["match"]["by"] != "none":
        plan = _matched(plan, job, folders)
    refuse_keys(plan)
    experiment_from(plan)
    return plan


def _matched(plan: FrozenPlan, job: Sequence[str], folders: Sequence[Path]) -> FrozenPlan:
    """The plan with the arm it is matched to: the same settings without what makes this job an arm. An arm that would
    be matched to itself stays unmatched, and its name says so."""
    settings = without(job, *ARMS)
    target = _composed([*settings, f"experiment={plan['match']['to'] or plan['baseline']}"], folders)
    alone = _composed(without(job, "match"), folders)
    unnamed = {"name": "", COMPOSED_OF: None, "contract": None}
    if {**alone, **unnamed} == {**target, **unnamed}:
        return {**alone, "name": derived_name(alone["name"], without(job, "match"))}
    del target[COMPOSED_OF]
    return {**plan, "matched_to": target}


def _composed(job: Sequence[str], folders: Sequence[Path]) -> FrozenPlan:
    try:
        cfg, choices = _configuration(job, folders)
        return {**plan_of(cfg), COMPOSED_OF: {"choices": choices, "overrides": list(job)}}
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(explain(error, job, folders)) from error


def _configuration(job: Sequence[str], folders: Sequence[Path]) -> tuple[DictConfig, Json]:
    """The configuration of a job, and what it chooses in each group. Jobs that differ in values alone, as seeds do,
    are composed once: Hydra takes half a second of CPU for each."""
    chosen = set(groups(folders))
    values = [item for item in job if VALUE.match(item) and item.partition("=")[0] not in chosen]
    others = tuple(item for item in job if item not in values)
    try:
        cfg, choices = copy.deepcopy(_chosen(others, _state_of(folders)))
        for item in OverridesParser.create().parse_overrides(values):
            OmegaConf.update(cfg, item.key_or_group, item.value(), merge=True)
    except OmegaConfBaseException:  # composed as a whole, the message names the key as the user wrote it
        return _chosen.__wrapped__(tuple(job), ())
    return cfg, choices


@lru_cache(maxsize=MOST_ARMS)
def _chosen(overrides: tuple[str, ...], _state: tuple[object, ...]) -> tuple[DictConfig, Json]:
    """Hydra's composition; kept until a file of the configuration folders changes."""
    cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = _choices_of(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def _state_of(folders: Sequence[Path]) -> tuple[object, ...]:
    """Changes with every file of the folders."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.yaml"))]
    return tuple((str(file), (found := file.stat()).st_mtime_ns, found.st_size) for file in files)
