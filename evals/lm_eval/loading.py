"""Loads lm-eval tasks: data paths relative to the task's file, and no stop strings except stated ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.errors import InputError

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


@dataclass(frozen=True)
class LoadedTasks:
    """Task names in the requested order, groups and tags with their members; lm-eval's objects for the tasks that
    generate (`generating`) and for those that score given texts (`rating`)."""

    names: tuple[str, ...]
    generating: tuple[Any, ...]
    rating: tuple[Any, ...]
    manager: TaskManager


def load(names: Sequence[str], folder: Path) -> LoadedTasks:
    """Load tasks by name: those in the folder, else lm-eval's own. Raises InputError for an unknown name, and for a
    task whose code needs a package that is not installed."""
    try:
        return _load(names, folder)
    except ImportError as error:
        raise InputError(
            f"benchmark lm_eval: a task of {', '.join(names)} needs a package that is not installed: {error}; lm-eval "
            "has extras for its tasks (`pip install 'lm_eval[ifeval]'`); install one, or leave the task out"
        ) from None


def _load(names: Sequence[str], folder: Path) -> LoadedTasks:
    manager, local = _manager(names, folder)
    loaded_names: list[str] = []
    generating: list[Any] = []
    rating: list[Any] = []
    for name in names:
        loaded: Any = manager.load([name])
        groups, tasks = loaded["groups"], loaded["tasks"]
        for task in tasks.values():
            _clear_default_until(task, local)
        if name in groups:
            (generating if _all_generate(name, tasks.values()) else rating).append(groups[name])
        else:
            generating += [task for task in tasks.values() if _generates(task)]
            rating += [task for task in tasks.values() if not _generates(task)]
        loaded_names += [*groups, *tasks]
    return LoadedTasks(tuple(dict.fromkeys(loaded_names)), tuple(generating), tuple(rating), manager)


def _generates(task: Any) -> bool:
    return task.OUTPUT_TYPE == "generate_until"


def _all_generate(group: str, tasks: Iterable[Any]) -> bool:
    kinds = {_generates(task) for task in tasks}
    if len(kinds) > 1:
        raise InputError(
            f"benchmark lm_eval: group {group} has tasks that generate and tasks that rate; want groups of one kind, "
            "since only generating tasks can think: list its tasks by name"
        )
    return kinds == {True}


def _manager(names: Sequence[str], folder: Path) -> tuple[TaskManager, dict[str, dict[str, Any]]]:
    """The task manager, and the configurations of the folder's tasks by name, with absolute data paths."""
    from lm_eval.tasks import TaskManager

    in_folder = TaskManager(include_path=str(folder), include_defaults=False)
    known = set(names) <= set(in_folder.all_tasks)
    manager = in_folder if known else TaskManager(include_path=str(folder), include_defaults=True)
    for name in names:
        if name not in manager.task_index:
            near = ", ".join(difflib.get_close_matches(name, manager.all_tasks, n=3))
            hint = f" (did you mean {near}?)" if near else ""
            raise InputError(
                f"benchmark lm_eval: want the name of a task in {folder} or of lm-eval, got {name!r}{hint}; "
                "`lm-eval ls tasks` lists lm-eval's"
            )
    files = {name: in_folder.task_index[name].yaml_path for name in in_folder.all_subtasks}
    local = {name: _configuration(file, folder) for name, file in files.items() if file}
    for name, configuration in local.items():
        manager.task_index[name] = replace(manager.task_index[name], yaml_path=None, cfg=configuration)
    return manager, local


def _configuration(file: Path, folder: Path) -> dict[str, Any]:
    """The content of a task file and its includes, with absolute data paths."""
    from lm_eval.tasks._yaml_loader import load_yaml

    task: dict[str, Any] = load_yaml(file)
    given = task.get("dataset_kwargs") or {}
    if "data_files" in given and "/" not in str(
        task.get("dataset_path")
    ):  # with a slash, the paths are inside a repository
        task["dataset_kwargs"] = {**given, "data_files": _absolute(given["data_files"], folder)}
    return task


def _absolute(files: object, folder: Path) -> object:
    if isinstance(files, Mapping):
        return {split: _absolute(path, folder) for split, path in files.items()}
    if isinstance(files, list):
        return [_absolute(path, folder) for path in files]
    path = str(files)
    return path if "://" in path else str((folder / path).resolve())


def _clear_default_until(task: Any, local: Mapping[str, dict[str, Any]]) -> None:
    """Remove lm-eval's default stop string, unless the task itself states stop strings: it would cut every generation
    at the first blank line (`TaskConfig.__post_init__` of 0.4.13)."""
    if task.OUTPUT_TYPE != "generate_until" or _states_until(task, local):
        return
    if (task.config.generation_kwargs or {}).get("until") == [task.config.fewshot_delimiter]:
        task.set_config(key="generation_kwargs", value={"until": []}, update=True)


def _states_until(task: Any, local: Mapping[str, dict[str, Any]]) -> bool:
    """Whether the task's own file, or a file it includes, has the key `until`."""
    from lm_eval.tasks._yaml_loader import load_yaml

    source = (task.config.metadata or {}).get("config_source")
    if task.task_name in local:
        stated = local[task.task_name]
    elif source and Path(source).is_file():
        stated = load_yaml(source, resolve_func=False)
    else:
        return False
    return "until" in (stated.get("generation_kwargs") or {})
