"""Steps: described stages. Calling a stage describes a step, with everything that identifies its result, and runs
nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, cast, get_args, get_origin, get_type_hints

from typing_extensions import TypeForm, TypeVar

from experiments.store.fingerprint import Json, encode, fingerprint
from experiments.store.metrics import StageMetrics
from experiments.store.records import verified
from reer.errors import near
from reer.files import Row, read_rows

M = TypeVar("M", bound=StageMetrics, covariant=True, default=StageMetrics)


class StepName(NamedTuple):
    """The name of a step within a run. `label` tells apart several steps of one stage: the benchmark of an evaluation
    step, or `matched_to` for a step of the arm that this one is matched to."""

    stage: str
    label: str = ""

    def __str__(self) -> str:
        return f"{self.stage}:{self.label}" if self.label else self.stage

    @classmethod
    def parse(cls, text: str) -> StepName:
        """The name that `str` wrote."""
        stage, _, label = text.partition(":")
        return cls(stage, label)


@dataclass(frozen=True, kw_only=True)
class Artifact(Generic[M]):
    """A complete stage result. `build` identifies its content: two executions that made the same are one build."""

    stage: str
    path: Path
    fingerprint: str
    build: str
    metrics: M

    def rows(self, kind: TypeForm[Row], name: str = "rows.jsonl") -> list[Row]:
        """The records of one of its files, checked against their type. Raises InputError for a damaged file."""
        return read_rows(self.file(name), kind)

    def file(self, name: str) -> Path:
        """The path of one of its files, or of a folder in it. Raises InputError where its content was changed."""
        return verified(self.path, name)


@dataclass(frozen=True, eq=False, kw_only=True)
class Step(Generic[M]):
    """One stage with everything that identifies its result. `values` are both the identity and the arguments of the
    stage, so it cannot use anything that does not identify the result; `inputs` are the steps it reads. `name` and
    `hint` are for people and never part of the identity."""

    stage: Stage[M]
    name: StepName
    hint: str
    inputs: Mapping[str, Step]
    values: Mapping[str, object]

    @cached_property
    def identity(self) -> Json:
        """The plain values of which the fingerprint is taken."""
        inputs = {name: step.fingerprint for name, step in self.inputs.items()}
        return encode(
            {"stage": self.stage.name, "version": self.stage.version, "values": self.values, "inputs": inputs}
        )

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    @property
    def folder_name(self) -> str:
        """A few readable words, then the fingerprint, by which alone a result is found."""
        readable = re.sub(r"[^A-Za-z0-9._+=-]+", "-", self.hint or self.name.label)[:60]
        return f"{readable}-{self.fingerprint}" if readable else self.fingerprint

    def upstream(self) -> Iterator[Step]:
        """All steps this one depends on, each once and before what reads it; this step last."""
        seen: dict[str, Step] = {}

        def visit(step: Step) -> None:
            for before in step.inputs.values():
                visit(before)
            seen.setdefault(step.fingerprint, step)

        visit(self)
        yield from seen.values()


@dataclass(frozen=True, eq=False)
class StageKey(Generic[M]):
    """What readers know of a stage: its name and the class of its metrics."""

    name: str
    metrics: type[M]

    def named(self, label: str = "") -> StepName:
        """The name of this stage's step in a run."""
        return StepName(self.name, label)


WorkAhead = AbstractContextManager[Callable[[Sequence[Any]], None]]
"""Work on rows, in the context in which it can be done."""


@dataclass(frozen=True, eq=False)
class Ahead:
    """Work that a stage can do on rows of its input `rows_of` before all of them are there: model calls, whose answers
    the stage then finds in the replay or among the judgements. `work` is given the workspace, the values of the stage
    and its other inputs; it returns None where there is nothing to do ahead."""

    rows_of: str
    work: Callable[..., WorkAhead | None]
    between_rows: bool = False
    """The work is a part of the thread that computes the rows, with calls on its event loop, instead of a thread."""


@dataclass(frozen=True, eq=False)
class Stage(StageKey[M]):
    """A function `(workspace, **arguments) -> metrics` whose results are kept on disk. `version` changes with the
    meaning of the function; `product` is the only folder that later stages read, '' for everything; `ahead` is no part
    of the meaning. Calling it describes a step and runs nothing."""

    work: Callable[..., M]
    version: int
    product: str = ""
    ahead: Ahead | None = None

    def __call__(self, *, label: str = "", hint: str = "", **arguments: object) -> Step[M]:
        """A step of this stage. Arguments annotated `Artifact[...]` want the step that provides them, and the function
        receives its artifact; all others identify the result, unless they are the function's defaults. Raises
        TypeError for arguments that do not fit."""
        self._check_names(arguments)
        inputs: dict[str, Step] = {}
        values: dict[str, object] = {}
        for name, value in arguments.items():
            if name in self.inputs:
                if value is not None or type(None) not in self.inputs[name]:
                    inputs[name] = self._checked_input(name, value)
            elif isinstance(value, Step):
                raise TypeError(f"stage {self.name}: {name} wants a value, got the step {value.name}")
            elif value != self.parameters[name].default:
                values[name] = value
        return Step(stage=self, name=self.named(label), hint=hint, inputs=inputs, values=values)

    def makes(self, file: str) -> bool:
        """Whether a file is part of what later stages read, so that it identifies a build."""
        return not self.product or file.startswith(f"{self.product}/")

    @cached_property
    def hints(self) -> Mapping[str, object]:
        return get_type_hints(self.work)

    @cached_property
    def inputs(self) -> Mapping[str, tuple[type, ...]]:
        """The metrics classes that each input accepts; NoneType among them for an input that may be left out."""
        return {name: kinds for name in self.parameters if (kinds := _input_kinds(self.hints.get(name)))}

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the function, without the workspace."""
        _, *arguments = inspect.signature(self.work).parameters.values()
        return {argument.name: argument for argument in arguments}

    def _check_names(self, arguments: Mapping[str, object]) -> None:
        for name in arguments:
            if name not in self.parameters:
                hint = near(name, self.parameters) or f"; it takes {', '.join(self.parameters)}"
                raise TypeError(f"stage {self.name}: unknown argument {name!r}{hint}")
        missing = [n for n, p in self.parameters.items() if p.default is p.empty and n not in arguments]
        if missing:
            raise TypeError(f"stage {self.name}: missing arguments: {', '.join(missing)}")

    def _checked_input(self, name: str, value: object) -> Step:
        kinds = self.inputs[name]
        wanted = " or ".join(kind.__name__ for kind in kinds)
        if not isinstance(value, Step):
            raise TypeError(f"stage {self.name}: {name} wants a step with {wanted}, got {type(value).__name__}")
        step = cast(Step, value)
        if not issubclass(step.stage.metrics, kinds):
            raise TypeError(f"stage {self.name}: {name} wants a step with {wanted}, got the step {step.name}")
        return step


Steps = dict[StepName, Step]  # of a run, in order


def _input_kinds(annotation: object) -> tuple[type, ...]:
    """The metrics classes in `Artifact[A | B] | None`; empty for any other annotation."""
    if annotation is Artifact:
        return (StageMetrics,)
    if get_origin(annotation) is Artifact:
        (kind,) = get_args(annotation)
        return tuple(get_args(kind)) or (kind,)
    kinds = [_input_kinds(part) for part in get_args(annotation) if part is not type(None)]
    optional = (type(None),) if type(None) in get_args(annotation) else ()
    return (*kinds[0], *optional) if len(kinds) == 1 and kinds[0] else ()


def stage(
    key: StageKey[M], version: int, product: str = "", ahead: Ahead | None = None
) -> Callable[[Callable[..., M]], Stage[M]]:
    """Make a `Stage` of a function `(workspace, **arguments) -> metrics`. Increase `version` when the meaning of the
    function changes. `product` is the folder that later stages read, where the stage also writes files that differ
    between equal executions, such as measured speeds. `ahead` is what it can do while its input is being computed."""
    return lambda work: Stage(key.name, key.metrics, work, version, product, ahead)
