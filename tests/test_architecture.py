"""Who may know whom: the import rules of the project (rooms of packages, heavy libraries), read off the syntax tree."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("reer", "evals", "experiments")
LADDER = (  # a room imports itself and rooms above it in this list
    "reer.errors",
    "reer.calls",
    "reer.secrets",
    "reer.types",
    "reer.text",
    "reer.files",
    "reer.logs",
    "reer.processes",
    "reer.parts",
    "reer.models.placement",
    "reer.models.protocols",
    "reer.models.shared",
    "reer.models.rates",
    "reer.models.replay",
    "reer.models.scripted",
    "reer.models.local",
    "reer.models.http",
    "reer.models.services",
    "reer.models.engines",
    "reer.models.local.model",
    "reer.models.local.reward",
    "reer.models.kinds",
    "reer.prompts",
    "reer.taxonomy",
    "reer.data",
    "reer.search",
    "reer.curation",
    "reer.training",
    "evals.statistics",
    "evals.near_json",
    "evals.replies",
    "evals.benchmark",
    "evals.answering",
    "evals.held_out",
    "evals.anchoring",
    "evals.similarity",
    "evals.benchmarks",
    "evals.hygiene",
    "evals.answers",
    "evals.labels",
    "evals.judging",
    "evals.lm_eval",
    "experiments.config.names",
    "experiments.config.choices",
    "experiments.sweeps.designs",
    "experiments.contracts.terms",
    "experiments.experiment",
    "experiments.store",
    "experiments.history.environment",
    "experiments.metrics",
    "experiments.workers",
    "experiments.stages",
    "experiments.pipeline",
    "experiments.contracts",
    "experiments.config",
    "experiments.revisions",
    "experiments.planning",
    "experiments.plan",
    "experiments.report",
    "experiments.report.page",
    "experiments.tracking",
    "experiments.doctor",
    "experiments.sweeps",
    "experiments.run",
    "experiments.selftest",
    "experiments.bridge",
    "experiments.agreement",
    "experiments.pairwise",
    "experiments.fetch",
    "experiments.history",
    "experiments.commands",
    "experiments.cli",
)
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "lm_eval",
    "datasets",
    "vllm",
    "ray",
    "wandb",
    "accelerate",
    "scipy",
}
HYDRA_ROOMS = {
    *(f"experiments/config/{name}.py" for name in ("compose", "messages", "schema", "sweep")),
    "experiments/run.py",
}
FILES_PER_FOLDER = 12
FILES = [file for package in PACKAGES for file in sorted((REPOSITORY / package).rglob("*.py"))]


def imports(tree: ast.AST) -> set[str]:
    """Names of all imported modules, and of what is imported from them."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who knows whom"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> set[str]:
    return imports(tree_of(path))


def name_of(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


def room_of(module: str) -> str | None:
    """The most specific room that holds a module; None for package roots."""
    rooms = [room for room in LADDER if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len, default=None)


def module_of(file: Path) -> str:
    return name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_rooms_import_only_downwards(file: Path) -> None:
    if module_of(file) in (*PACKAGES, "reer.models"):
        assert not {name for name in imports_of(file) if name.split(".")[0] in PACKAGES}
        return
    own = room_of(module_of(file))
    assert own is not None, f"{name_of(file)} is in no room: place it in LADDER"
    known = {room for name in imports_of(file) if (room := room_of(name))}
    assert not {room for room in known if LADDER.index(room) > LADDER.index(own)}


def test_stage_files_do_not_import_one_another() -> None:
    for file in (REPOSITORY / "experiments/stages").glob("*.py"):
        others = {name for name in imports_of(file) if name.startswith("experiments.stages.")}
        assert not others, file.name


@pytest.mark.parametrize("room", ["contracts", "history", "report", "tracking"])
def test_readers_of_results_load_no_stage(room: str) -> None:
    for file in (REPOSITORY / "experiments" / room).rglob("*.py"):
        assert not {name for name in imports_of(file) if name.startswith("experiments.stages")}, name_of(file)


def test_no_folder_holds_more_files_than_a_reader_can_take_in() -> None:
    for folder in {file.parent for file in FILES}:
        names = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(names) <= FILES_PER_FOLDER, f"{name_of(folder)}: {names}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_hydra_and_wandb_stay_in_their_rooms(file: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(file)}
    assert not (tops & {"hydra", "omegaconf"}) or name_of(file) in HYDRA_ROOMS
    assert not (tops & {"wandb", "wandb_workspaces"}) or name_of(file).startswith("experiments/tracking/")


def test_types_know_nothing_and_the_search_knows_types_alone() -> None:
    assert not {
        name for name in imports_of(REPOSITORY / "reer/types.py") if name.startswith("reer.") and name != "reer.errors"
    }
    for file in ("methods", "driver"):
        names = {name for name in imports_of(REPOSITORY / f"reer/search/{file}.py") if name.startswith("reer.")}
        rooms = {room_of(name) for name in names}
        assert rooms <= {"reer.types", "reer.errors", "reer.calls", "reer.search"}, (
            f"{file}: no model, no tokenizer, no prompt"
        )


def test_benchmarks_know_only_texts_types_files_and_models() -> None:
    allowed = {"reer.types", "reer.errors", "reer.text", "reer.files", "reer.logs", "reer.parts"}
    for file in (REPOSITORY / "evals").rglob("*.py"):
        rooms = {room for name in imports_of(file) if name.startswith("reer.") and (room := room_of(name))}
        assert not {room for room in rooms - allowed if not room.startswith("reer.models.")}, name_of(file)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nothing_heavy_is_imported_at_the_top_of_a_module(file: Path) -> None:
    top = tree_of(file).body
    names = {name for node in top if isinstance(node, ast.Import | ast.ImportFrom) for name in imports(node)}
    assert not {name.split(".")[0] for name in names} & HEAVY


@pytest.mark.parametrize("verb", [["--help"], ["plan", "scale=smoke"], ["status"], ["explain", "scale=smoke"]])
def test_light_verbs_load_nothing_heavy(verb: list[str]) -> None:
    heavy = HEAVY - {"scipy"}  # detectable effects of a plan want it
    code = (
        "import sys\nfrom experiments.cli import main\n"
        f"try:\n    main({verb!r})\nexcept SystemExit:\n    pass\n"
        f"loaded = sorted(set({sorted(heavy)!r}) & set(sys.modules))\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_test_module_imports_another() -> None:
    """What several test modules share is in tests/fakes or in a conftest.py."""
    for file in sorted((REPOSITORY / "tests").rglob("*.py")):
        names = {name for name in imports_of(file) if name.startswith("tests.")}
        assert not {name for name in names if ".test_" in name}, name_of(file)


def test_no_configuration_names_code() -> None:
    for file in (REPOSITORY / "conf").rglob("*.yaml"):
        assert "_target_" not in file.read_text(), file
