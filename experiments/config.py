"""From YAML to typed parts: the classes behind the choices, their schemas for Hydra, and composition.

Hydra composes; a schema per class makes a typo in a YAML file fail as one on the command line does; pydantic checks
the values. After `experiment_from` nobody sees a DictConfig. There is no `_target_`: the class behind a choice is
named here, in one table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from evals.benchmarks.hellobench import HelloBench
from evals.benchmarks.longbench_write import LongBenchWrite
from evals.benchmarks.writing import WritingPrompts
from evals.benchmarks.writingbench import WritingBench
from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise
from evals.judging.reliability import ReliabilityChecks
from evals.lm_eval.harness import LmEval
from experiments.experiment import Budget, Experiment, Runtime, ScorerRole, Tracking
from experiments.names import ARMS, derived_name, refuse_keys, without
from reer.curation.filters import Filters
from reer.curation.mixture import Mixture
from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.data.bundled import BundledTexts
from reer.data.hub import HubSource
from reer.data.jsonl import JsonlSource
from reer.data.public import PublicRows
from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.scripted import ScriptedModel
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ScoringServer
from reer.prompts import Prompts, PromptTexts
from reer.search.cost import CostAssumptions
from reer.search.methods import MultiStart, RandomSearch, SegmentSearch
from reer.taxonomy import Taxonomy
from reer.training.chat_format import ChatFormat
from reer.training.matching import Match
from reer.training.recipe import Recipe

CONF = Path(__file__).resolve().parents[1] / "conf"
PARTS: dict[str, dict[str, type]] = {
    "checkpoint": {"hub": HubModel, "package": PackageModel, "folder": FolderModel, "tiny": TinyModel},
    "model": {
        "local": LocalModel,
        "scripted": ScriptedModel,
        "server": ChatServer,
        "anthropic": AnthropicServer,
        "scoring": ScoringServer,
    },
    "source": {"bundled": BundledTexts, "jsonl": JsonlSource, "hub": HubSource},
    "taxonomy": {"taxonomy": Taxonomy},
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
    "budget": {"budget": Budget},
    "pairwise": {"pairwise": Pairwise},
    "runtime": {"runtime": Runtime},
    "tracking": {"tracking": Tracking},
    "estimate": {"estimate": CostAssumptions},
}


@cache
def schema(cls: type) -> type:
    """A twin of a dataclass for Hydra: the same keys, values checked later; nested dataclasses keep their keys too.
    (OmegaConf knows no Literal and no tuple of dataclasses, and makes a frozen class read-only.)"""
    hints = get_type_hints(cls)
    twins: list[Any] = []
    for item in fields(cls):
        nested = is_dataclass(hints[item.name])
        kind = schema(hints[item.name]) if nested else Any
        twins.append((item.name, kind, _default(item, kind if nested else None)))
    return make_dataclass(cls.__name__, twins)


def _default(item: Any, nested: Any) -> Any:
    if nested is not None:
        return field(default_factory=nested)
    if item.default is MISSING:
        return "???"
    plain = list(item.default) if isinstance(item.default, tuple) else item.default
    return field(default_factory=lambda: plain)


@cache
def kinds() -> dict[str, type]:
    """Every class a configuration may name, by its name."""
    classes: list[type] = [Experiment, PromptTexts, ChatFormat]
    classes += [cls for group in PARTS.values() for cls in group.values()]
    todo, found = list(classes), {}
    while todo:
        cls = todo.pop()
        found[cls.__name__] = cls
        todo += [hint for hint in get_type_hints(cls).values() if is_dataclass(hint) and isinstance(hint, type)]
    return found


def register() -> None:
    """Give Hydra the schemas: `<group>/<name>_schema` for each part, `experiment_schema` for the whole."""
    store = ConfigStore.instance()
    for group, classes in PARTS.items():
        for name, cls in classes.items():
            store.store(group=group, name=f"{name}_schema", node=OmegaConf.structured(schema(cls)))
    store.store(name="experiment_schema", node=OmegaConf.structured(_whole()))


def _whole() -> type:
    """The experiment's own keys: those of the generator and the scale are fixed, every part is what its group puts
    there. `scorer_model` is what scorers refer to; the experiment itself knows only its scorer."""
    typed = {name: schema(get_type_hints(Experiment)[name]) for name in ("generator", "scale")}
    parts: list[Any] = [(item.name, Any, "???") for item in fields(Experiment) if item.name not in typed]
    parts += [("scorer_model", Any, "???"), *((n, kind, field(default_factory=kind)) for n, kind in typed.items())]
    return make_dataclass("Experiment", parts)


def plain(node: Any, path: str = "") -> Any:
    """A composed node as plain objects, each typed part with its class name under `kind`."""
    if isinstance(node, DictConfig):
        cls = OmegaConf.get_type(node)
        content = {str(key): _child(node, key, f"{path}.{key}".strip(".")) for key in node}
        return {"kind": cls.__name__, **content} if is_dataclass(cls) else content
    if isinstance(node, ListConfig):
        return [_child(node, i, f"{path}[{i}]") for i in range(len(node))]
    return node


def _child(node: Any, key: Any, path: str) -> Any:
    if OmegaConf.is_missing(node, key):
        raise InputError(f"{path} has no value; add {path}=... on the command line or in its YAML")
    return plain(node[key], path)


def decode(value: Any, path: str = "") -> Any:
    """Plain objects back as typed parts, values checked. Raises InputError naming the key."""
    if isinstance(value, Mapping):
        content = {key: decode(item, f"{path}.{key}".strip(".")) for key, item in value.items() if key != "kind"}
        if "kind" not in value:
            return content
        if value["kind"] not in kinds():
            raise InputError(f"{path}: no part is called {value['kind']!r}; this plan is of another version")
        return _construct(kinds()[value["kind"]], content, path)
    return [decode(item, path) for item in value] if isinstance(value, list) else value


def _construct(cls: type, content: Mapping[str, Any], path: str) -> Any:
    try:
        return TypeAdapter(cls).validate_python(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            raise cause from None
        where = ".".join(str(part) for part in (path, *first["loc"]) if part != "")
        raise InputError(f"{where}: {first['msg']}, got {first['input']!r}") from None


def plan_of(cfg: DictConfig) -> dict[str, Any]:
    """The frozen plan of a composed configuration: resolved, plain, rebuildable."""
    content = plain(cfg)
    return {key: content[key] for key in ("kind", *(f.name for f in fields(Experiment)))}


def experiment_from(plan: Mapping[str, Any]) -> Experiment:
    """The typed experiment of a plan."""
    return decode(plan)


def compose_plans(overrides: Sequence[str], multirun: bool) -> list[dict[str, Any]]:
    """The plans of all jobs of a command, composed and checked before any work. Raises InputError with near choices."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [_checked(job) for job in _jobs(list(overrides), multirun)]


def _checked(job: Sequence[str]) -> dict[str, Any]:
    """One job's plan, with that of the arm it is matched to."""
    plan = _composed(job)
    plan["name"] = derived_name(plan["name"], job)
    if plan["match"]["by"] != "none":
        plan = _matched(plan, job)
    refuse_keys(plan)
    experiment_from(plan)
    return plan


def _matched(plan: dict[str, Any], job: Sequence[str]) -> dict[str, Any]:
    """The plan with its reference: the same settings, without what makes this job an arm. An arm that is its own
    reference is left as it is, unmatched and so named."""
    settings = without(job, *ARMS)
    target = _composed([*settings, f"experiment={plan['match']['to'] or plan['baseline']}"])
    alone = _composed(without(job, "match"))
    if {**alone, "name": ""} == {**target, "name": ""}:
        return {**alone, "name": derived_name(alone["name"], without(job, "match"))}
    return {**plan, "matched_to": target}


def _composed(job: Sequence[str]) -> dict[str, Any]:
    try:
        return plan_of(compose("config", overrides=list(job)))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_explain(error, job)) from error


def _jobs(overrides: list[str], multirun: bool) -> list[list[str]]:
    """The override lists of all jobs: sweeps on the command line, and those a `sweep=` file brings."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        parser = OverridesParser.create()
        parsed = parser.parse_overrides(overrides)
        named = {o.key_or_group for o in parsed}
        brought = (
            _sweep_file([str(o.input_line) for o in parsed if not o.is_sweep_override()]) if "sweep" in named else {}
        )
        parsed += parser.parse_overrides([f"{key}={value}" for key, value in brought.items() if key not in named])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_explain(error, overrides)) from error
    if not (multirun or brought) and any(o.is_sweep_override() for o in parsed):
        raise InputError("several values for one key need a multirun: add -m")
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [job for batch in batches for job in batch]


def _sweep_file(overrides: list[str]) -> dict[str, str]:
    """What the chosen `sweep=` file sweeps over."""
    cfg = compose("config", overrides=overrides, return_hydra_config=True)
    return dict(cfg.hydra.sweeper.params or {})


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's message, without its inner workings and with the nearest names that exist."""
    cause = f"\n{error.__cause__}" if error.__cause__ and str(error.__cause__) not in str(error) else ""
    lines = (f"{error}{cause}").strip().split("\n")
    noise = ("_schema", "provider=", "Config search path", "object_type=", "full_key:", "To append")
    message = "\n".join(line for line in lines if not any(mark in line for mark in noise))
    asked = re.findall(r"'([\w./@]+)'", message) + [o.lstrip("+~").partition("=")[0] for o in overrides]
    known, hints = _known_names(), []
    for word in dict.fromkeys(re.split(r"[./@]", name)[-1] for name in asked):
        near = difflib.get_close_matches(word, known, n=3, cutoff=0.7)
        if near and word not in known:
            hints.append(f"{word!r}: did you mean {' or '.join(near)}?")
    return "\n".join([f"configuration: {message}", *hints])


def _known_names() -> list[str]:
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    choices = [path.stem for path in CONF.glob("*/*.yaml")]
    keys = [f.name for cls in kinds().values() for f in fields(cls)]
    return sorted({*groups, *choices, *keys})
