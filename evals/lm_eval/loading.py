"""lm-eval's tasks, as they are to be run: data found beside their files, and no stop string that nobody stated."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reer.errors import InputError


@dataclass(frozen=True)
class Chosen:
    """Tasks by name in the order they were asked for, groups and tags with their members. `writing` are lm-eval's own
    objects for those that generate, `rating` for those that score given texts."""

    names: tuple[str, ...]
    writing: tuple[Any, ...]
    rating: tuple[Any, ...]
    manager: Any  # lm_eval.tasks.TaskManager


def load(names: Sequence[str], folder: Path) -> Chosen:
    """Load tasks by name: those of the folder, else lm-eval's own. Raises InputError for a name that nobody has, and
    for a task whose code wants a package that is not here."""
    try:
        return _load(names, folder)
    except ImportError as error:
        raise InputError(
            f"benchmark lm_eval: a task of {', '.join(names)} wants its own packages, got: {error}; lm-eval has extras "
            "for its tasks (`pip install 'lm_eval[ifeval]'`), or leave the task out"
        ) from None


def _load(names: Sequence[str], folder: Path) -> Chosen:
    manager, local = _manager(names, folder)
    found: list[str] = []
    writing: list[Any] = []
    rating: list[Any] = []
    for name in names:
        loaded = manager.load([name])
        groups, tasks = loaded["groups"], loaded["tasks"]
        for task in tasks.values():
            _state_until(task, local)
        if name in groups:
            (writing if _all_write(name, tasks.values()) else rating).append(groups[name])
        else:
            writing += [task for task in tasks.values() if _writes(task)]
            rating += [task for task in tasks.values() if not _writes(task)]
        found += [*groups, *tasks]
    return Chosen(tuple(dict.fromkeys(found)), tuple(writing), tuple(rating), manager)


def _writes(task: Any) -> bool:
    return task.OUTPUT_TYPE == "generate_until"


def _all_write(group: str, tasks: Iterable[Any]) -> bool:
    kinds = {_writes(task) for task in tasks}
    if len(kinds) > 1:
        raise InputError(
            f"benchmark lm_eval: want groups of one kind, got {group}, with tasks that generate and tasks that rate; "
            "name its tasks one by one, since thinking is for the first only"
        )
    return kinds == {True}


def _manager(names: Sequence[str], folder: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The task manager, and the folder's own tasks by name with their data paths absolute."""
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=str(folder), include_defaults=False)
    known = set(names) <= set(own.all_tasks)
    manager = own if known else TaskManager(include_path=str(folder), include_defaults=True)
    for name in names:
        if name not in manager.task_index:
            near = ", ".join(difflib.get_close_matches(name, manager.all_tasks, n=3)) or "none that is near"
            raise InputError(
                f"benchmark lm_eval: want the name of a task of {folder} or of lm-eval, got {name!r} ({near}); "
                "`lm-eval ls tasks` shows lm-eval's"
            )
    files = {name: own.task_index[name].yaml_path for name in own.all_subtasks}
    local = {name: _configuration(file, folder) for name, file in files.items() if file}
    for name, configuration in local.items():
        manager.task_index[name] = replace(manager.task_index[name], yaml_path=None, cfg=configuration)
    return manager, local


def _configuration(file: Path, folder: Path) -> dict[str, Any]:
    """A task file with what it includes, its data paths no longer relative to the working directory."""
    from lm_eval.tasks._yaml_loader import load_yaml

    task: dict[str, Any] = load_yaml(file)
    given = task.get("dataset_kwargs") or {}
    if "data_files" in given and "/" not in str(task.get("dataset_path")):  # with a slash, the paths are a repository's
        task["dataset_kwargs"] = {**given, "data_files": _absolute(given["data_files"], folder)}
    return task


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, Mapping):
        return {split: _absolute(path, folder) for split, path in files.items()}
    if isinstance(files, list):
        return [_absolute(path, folder) for path in files]
    return files if "://" in files else str((folder / files).resolve())


def _state_until(task: Any, local: Mapping[str, dict[str, Any]]) -> None:
    """Let a generation end where the model ends it, unless the task itself says otherwise: lm-eval's default would cut
    it at the first blank line (`TaskConfig.__post_init__` of 0.4.13)."""
    if task.OUTPUT_TYPE != "generate_until" or _states_until(task, local):
        return
    if (task.config.generation_kwargs or {}).get("until") == [task.config.fewshot_delimiter]:
        task.set_config(key="generation_kwargs", value={"until": []}, update=True)


def _states_until(task: Any, local: Mapping[str, dict[str, Any]]) -> bool:
    """Whether the task's own file, or one it includes, has the key."""
    from lm_eval.tasks._yaml_loader import load_yaml

    source = (task.config.metadata or {}).get("config_source")
    if task.task_name in local:
        stated = local[task.task_name]
    elif source and Path(source).is_file():
        stated = load_yaml(source, resolve_func=False)
    else:
        return False
    return "until" in (stated.get("generation_kwargs") or {})
