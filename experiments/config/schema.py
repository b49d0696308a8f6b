"""The dataclasses as Hydra's schema, and a composed configuration as plain data.

The schema makes a typo in a YAML file fail as one on the command line does. No DictConfig leaves this package, and no
YAML names code: one table (`parts.py`) says which class is behind a choice.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any, cast, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, DictKeyType, ListConfig, OmegaConf

from experiments.config.parts import DESIGN, OF_ONE_CLASS, PARTS, SCORER_MODEL, FrozenPlan
from experiments.experiment import Experiment
from experiments.store.fingerprint import Json
from reer.errors import InputError, near


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
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    if item.default is MISSING:
        return "???"
    value = list(item.default) if isinstance(item.default, tuple) else item.default
    return field(default_factory=lambda: value)


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
