"""From YAML to typed parts: the class behind each choice, its schema for Hydra, and composition.

Hydra composes and the dataclasses check, so a typo in a YAML file fails as one on the command line does. No DictConfig
leaves this module, and no YAML names code: one table says which class is behind a choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, DictKeyType, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from evals.benchmarks.hellobench import HelloBench
from evals.benchmarks.longbench_write import LongBenchWrite
from evals.benchmarks.writing import WritingPrompts
from evals.benchmarks.writingbench import WritingBench
from evals.judging.judge import Judge
from evals.judging.reliability import ReliabilityChecks
from evals.lm_eval.harness import LmEval
from experiments.choices import COMPOSED_OF, CONF, choice_names, conf_folders, groups
from experiments.experiment import Experiment, Runtime, ScorerRole, Tracking
from experiments.names import ARMS, derived_name, group_of, refuse_keys, refuse_keys_in, without
from experiments.store.fingerprint import Json
from experiments.sweeps.designs import Arm, Design
from reer.curation.filters import Filters
from reer.curation.mixture import Mixture
from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.data.bundled import BundledTexts
from reer.data.hub import HubSource
from reer.data.jsonl import JsonlSource
from reer.data.public import PublicRows
from reer.data.several import SeveralSources
from reer.errors import InputError, near
from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.scripted import ScriptedModel
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ScoringServer
from reer.parts import build, kinds_of
from reer.prompts import Prompts
from reer.search.cost import CostAssumptions
from reer.search.methods import MultiStart, RandomSearch, SegmentSearch
from reer.training.matching import Match
from reer.training.recipe import Recipe

SLURM = "submitit_slurm"  # the launcher whose jobs Slurm runs
BASIC = "basic"  # Hydra's launcher and sweeper that run jobs one after another
MOST_JOBS = 1000  # of one command; composing one takes most of a second
SCORER_MODEL = "scorer_model"
DESIGN = "design"  # chooses the arms of a command; no part of an arm
FrozenPlan = dict[str, Any]  # a composed experiment as plain data: JSON, and `kind` for each part's class
PARTS: dict[str, dict[str, type]] = {
    "checkpoint": {"hub": HubModel, "package": PackageModel, "folder": FolderModel, "tiny": TinyModel},
    "model": {
        "local": LocalModel,
        "scripted": ScriptedModel,
        "server": ChatServer,
        "anthropic": AnthropicServer,
        "scoring": ScoringServer,
    },
    "source": {"bundled": BundledTexts, "jsonl": JsonlSource, "hub": HubSource, "several": SeveralSources},
    "prompts": {"prompts": Prompts},
    "scorer": {"scorer": ScorerRole},
    "thinking": {"thinking": ThinkingSource},
    "search": {"segment": SegmentSearch, "random": RandomSearch, "multi_start": MultiStart},
    "reflection": {"reflection": Reflection},
    "filters": {"filters": Filters},
    "trajectory": {"trajectory": TrajectoryLength},
    "categories": {"categories": Categories},
    "data": {"mixture": Mixture},
    "match": {"match": Match},
    "public": {"public": PublicRows},
    "train": {"recipe": Recipe},
    "benchmark": {
        "writing": WritingPrompts,
        "longbench_write": LongBenchWrite,
        "hellobench": HelloBench,
        "writingbench": WritingBench,
        "lm_eval": LmEval,
    },
    "judge": {"judge": Judge},
    "reliability": {"reliability": ReliabilityChecks},
    "runtime": {"runtime": Runtime},
    "tracking": {"tracking": Tracking},
    "estimate": {"estimate": CostAssumptions},
    DESIGN: {"design": Design},
}

OF_ONE_CLASS = ("generator", "scale", "budget", "pairwise", "taxonomy")
"""Keys of config.yaml whose part always has the same class."""


@cache
def schema(cls: type) -> type:
    """A twin of a dataclass for Hydra: the same keys at the same defaults, values unchecked; nested dataclasses become
    twins, too. (OmegaConf supports no Literal and no tuple of dataclasses, and makes a frozen class read-only.)"""
    hints = get_type_hints(cls)
    twins: list[tuple[str, object, object]] = []
    for item in fields(cls):
        nested = schema(hints[item.name]) if is_dataclass(hints[item.name]) else None
        twins.append((item.name, nested or Any, _default(item, nested)))
    return make_dataclass(cls.__name__, twins)  # pyright: ignore[reportArgumentType]


def _default(item: Field[object], nested: type | None) -> object:
    if nested is not None:
        return field(default_factory=nested)
    if item.default is MISSING:
        return "???"
    value = list(item.default) if isinstance(item.default, tuple) else item.default
    return field(default_factory=lambda: value)


@cache
def kinds() -> dict[str, type]:
    """Every class that a configuration may name, by its name."""
    return kinds_of([Experiment, *(cls for group in PARTS.values() for cls in group.values())])


@cache
def register() -> None:
    """Give Hydra the schemas: `<group>/<name>_schema` for each part, `experiment_schema` for the whole."""
    store = ConfigStore.instance()
    for group, classes in PARTS.items():
        for name, cls in classes.items():
            store.store(group=group, name=f"{name}_schema", node=OmegaConf.structured(schema(cls)))
    store.store(name="experiment_schema", node=OmegaConf.structured(_whole()))


def _whole() -> type:
    """The experiment's own keys. Parts of one class (`OF_ONE_CLASS`) have its keys; every other part has the class of
    the choice. `scorer_model` is what scorers refer to, `design` what chooses arms; they are no fields of the
    experiment."""
    typed = {name: schema(get_type_hints(Experiment)[name]) for name in OF_ONE_CLASS}
    parts: list[tuple[str, object, object]] = [
        (item.name, Any, "???") for item in fields(Experiment) if item.name not in typed
    ]
    parts += [(SCORER_MODEL, Any, "???"), (DESIGN, Any, "???")]
    parts += [(name, kind, field(default_factory=kind)) for name, kind in typed.items()]
    return make_dataclass("Experiment", parts)  # pyright: ignore[reportArgumentType]


def plain_data(node: object, path: str = "") -> Json:
    """A composed node as plain data, each typed part with its class name under `kind`."""
    if isinstance(node, DictConfig):
        cls = OmegaConf.get_type(node)
        content = {str(key): _child(node, key, f"{path}.{key}".strip(".")) for key in node}
        return {"kind": cls.__name__, **content} if is_dataclass(cls) else content
    if isinstance(node, ListConfig):
        return [_child(node, index, f"{path}[{index}]") for index in range(len(node))]
    return cast(Json, node)


def _child(node: DictConfig | ListConfig, key: DictKeyType, path: str) -> Json:
    if OmegaConf.is_missing(node, key):
        raise InputError(f"{path} has no value; add {path}=... on the command line or in its YAML")
    return plain_data(node[key], path)  # pyright: ignore[reportArgumentType]


def plan_of(cfg: DictConfig) -> FrozenPlan:
    """The plan of a composed configuration: resolved plain data. Raises InputError for a key that is no field."""
    content = cast(FrozenPlan, plain_data(cfg))
    known = [item.name for item in fields(Experiment)]
    for key in content.keys() - {"kind", SCORER_MODEL, DESIGN, *known}:
        raise InputError(f"{key}: no such group or key{near(key, known)}; see `reer choices`")
    for key in known:
        if key not in content:
            raise InputError(f"{key}: every experiment needs it; leave out ~{key}")
    return {key: content[key] for key in ("kind", *known)}


def experiment_from(plan: Mapping[str, Json]) -> Experiment:
    """The typed experiment of a plan, every value checked. Raises InputError naming the key."""
    return build({key: value for key, value in plan.items() if key != COMPOSED_OF}, kinds(), "", Experiment)


def _composed_of(cfg: DictConfig, job: Sequence[str]) -> Json:
    chosen = {str(group): value for group, value in cfg.hydra.runtime.choices.items()}
    choices = {
        group.rpartition("@")[2].replace(".", "_"): value
        for group, value in chosen.items()
        if isinstance(value, str) and not value.endswith("_schema") and not group.startswith("hydra/")
    }
    return {"choices": dict(sorted(choices.items())), "overrides": list(job)}


@dataclass(frozen=True)
class Launcher:
    """One of Hydra's launchers, and its settings."""

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def is_of_slurm(self) -> bool:
        return self.name == SLURM


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
    register()
    folders = conf_folders(config_dir)
    given = [*overrides, *search_path_override(folders)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = _sweep(given, multirun, folders)
        if not sweep.crossed:
            raise InputError(f"{' '.join(overrides)}: the sweep has no job; want a glob or range that matches")
        arms = [(arm, job) for arm in sweep.design.all_arms() for job in sweep.crossed]
        plans = tuple(_checked(arm, job, folders) for arm, job in arms)
    if sweep.several and not any(group_of(override) == "baseline" for override in overrides):
        _compare_with_first_arm(plans, sweep)
    _refuse_unknown_baselines(plans, folders)
    return Jobs(plans, tuple(arm for arm, _ in arms), sweep.design, sweep.several, sweep.launcher)


def _compare_with_first_arm(plans: Sequence[FrozenPlan], sweep: _Sweep) -> None:
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
    unnamed = {"name": "", COMPOSED_OF: None}
    if {**alone, **unnamed} == {**target, **unnamed}:
        return {**alone, "name": derived_name(alone["name"], without(job, "match"))}
    del target[COMPOSED_OF]
    return {**plan, "matched_to": target}


def _composed(job: Sequence[str], folders: Sequence[Path]) -> FrozenPlan:
    try:
        cfg = compose("config", overrides=list(job), return_hydra_config=True)
        composed = _composed_of(cfg, job)
        with open_dict(cfg):
            del cfg["hydra"]
        return {**plan_of(cfg), COMPOSED_OF: composed}
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(_explain(error, job, folders)) from error


@dataclass(frozen=True)
class _Settings:
    """What a command says of its jobs as a whole: values that a `sweep=` file sweeps over, the design, the launcher."""

    params: Mapping[str, str] = field(default_factory=dict[str, str])
    design: Design = field(default_factory=lambda: Design(arms="none", without={}))
    launcher: Launcher = field(default_factory=lambda: Launcher(BASIC))


@dataclass(frozen=True)
class _Sweep:
    """The arms of a design, and the overrides that each of them is crossed with."""

    crossed: list[list[str]]
    design: Design
    several: bool
    launcher: Launcher


def _sweep(overrides: list[str], multirun: bool, folders: Sequence[Path]) -> _Sweep:
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
        raise InputError(_explain(error, overrides, folders)) from error
    if len(batch) * len(settings.design.all_arms()) > MOST_JOBS:
        raise InputError(f"{' '.join(overrides)}: {len(batch)} jobs for each arm; want at most {MOST_JOBS} in all")
    globs = {item.get_key_element() for item in merged if isinstance(item.value(), Glob)}
    jobs = [job for job in batch if not any(_is_schema(override, globs) for override in job)]
    crossed = [list(job) for job in dict.fromkeys(tuple(without(job, DESIGN)) for job in jobs)]
    return _Sweep(crossed, settings.design, several, settings.launcher)


def _is_schema(override: str, globs: Collection[str]) -> bool:
    """Whether a glob has matched the schema of a group, which is no choice of it."""
    key, _, value = override.partition("=")
    return key in globs and value.endswith("_schema")


def _settings(parsed: Sequence[Override]) -> _Settings:
    """Composes only where a setting may differ from its default."""
    if not any(group_of(item.key_or_group) in ("hydra", "sweep", DESIGN) for item in parsed):
        return _Settings()
    single = [str(item.input_line) for item in parsed if not item.is_sweep_override()]
    cfg = compose("config", overrides=single, return_hydra_config=True)
    chosen = cfg.hydra.runtime.choices
    if chosen["hydra/sweeper"] != BASIC:
        raise InputError(
            f"hydra/sweeper={chosen['hydra/sweeper']} chooses jobs while it runs; want hydra/sweeper=basic"
        )
    design = build(cast(FrozenPlan, plain_data(cfg[DESIGN], DESIGN)), kinds(), DESIGN, Design)
    settings = cast("dict[str, Json]", OmegaConf.to_container(cfg.hydra.launcher, resolve=True))
    return _Settings(cfg.hydra.sweeper.params or {}, design, Launcher(str(chosen["hydra/launcher"]), settings))


def _refuse_varied_twice(parsed: Sequence[Override], settings: _Settings) -> None:
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


def _explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Hydra's message in the form of our own: the key or choice at fault, and the nearest name in the same place."""
    text = f"{error}\n{error.__cause__ or ''}"
    if choice := re.search(r"Could not (?:find|load) '([\w/@.]+)/([^'/]+)'", text):
        group, name = choice.groups()
        known = choice_names(group, folders) or GlobalHydra.instance().config_loader().get_group_options(group)
        plugins = "; .requirements/install launchers installs others" if group_of(group) == "hydra" else ""
        return f"{group}={name}: no such choice; want one of {', '.join(known)}{near(name, known)}{plugins}"
    if unknown := re.search(r"Key '([^']+)' not in '(\w+)'\s+full_key: (\S+)", text):
        name, cls, key = unknown.groups()
        if cls not in kinds():
            return f"{key}: {cls.removesuffix('Conf')} has no such setting; is another hydra/launcher= meant?"
        known = [item.name for item in fields(kinds()[cls])]
        if cls == Experiment.__name__:
            return f"{key}: no such group or key{near(name, [*known, *groups(folders)])}; see `reer choices`"
        return f"{key}: unknown key; want one of {', '.join(known)}{near(name, known)}"
    noise = ("_schema", "provider=", "Config search path", "To append", "See https")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(line for line in lines if not any(mark in line for mark in noise))
    return f"configuration: {message} (given: {' '.join(overrides)})"
