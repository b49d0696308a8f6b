"""Who may know whom: the import rules of the project, read off the syntax tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("reer", "evals", "experiments")
HEAVY = ("torch", "transformers", "trl", "peft", "lm_eval", "datasets", "vllm", "ray", "wandb", "accelerate")
HYDRA_ROOMS = {"experiments/config.py", "experiments/run.py"}
FILES = [file for package in PACKAGES for file in sorted((REPOSITORY / package).rglob("*.py"))]


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who knows whom"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name_of(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nobody_imports_up_the_ladder(file: Path) -> None:
    level = PACKAGES.index(name_of(file).split("/")[0])
    above = {name for name in imports(ast.parse(file.read_text())) if name.split(".")[0] in PACKAGES[level + 1 :]}
    assert not above


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_hydra_and_wandb_stay_in_their_rooms(file: Path) -> None:
    tops = {name.split(".")[0] for name in imports(ast.parse(file.read_text()))}
    assert not (tops & {"hydra", "omegaconf"}) or name_of(file) in HYDRA_ROOMS
    assert "wandb" not in tops or name_of(file) == "experiments/tracking.py"


def test_types_and_text_know_nobody_and_models_know_only_them() -> None:
    def inside(path: str) -> set[str]:
        names = imports(ast.parse((REPOSITORY / path).read_text()))
        return {".".join(n.split(".")[:2]) for n in names if n.startswith("reer.")}

    assert inside("reer/types.py") == set()
    assert inside("reer/text.py") == {"reer.types"}
    for file in (REPOSITORY / "reer/models").glob("*.py"):
        assert inside(name_of(file)) <= {"reer.types", "reer.text", "reer.models"}, file.name


def test_the_search_knows_no_model_no_tokenizer_no_prompt() -> None:
    names = {n for n in imports(ast.parse((REPOSITORY / "reer/search.py").read_text())) if n.startswith("reer")}
    assert {name.split(".")[1] for name in names} == {"types"}


def test_benchmarks_know_only_texts_types_models_and_row_reading() -> None:
    allowed = ("reer.types", "reer.text", "reer.models", "reer.sources.rows")
    for file in (REPOSITORY / "evals").glob("*.py"):
        names = {n for n in imports(ast.parse(file.read_text())) if n.startswith("reer.")}
        assert all(name.startswith(allowed) for name in names), file.name


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nothing_heavy_is_imported_at_the_top_of_a_module(file: Path) -> None:
    top = ast.Module(
        [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)], []
    )
    assert not {name.split(".")[0] for name in imports(top)} & set(HEAVY)


@pytest.mark.parametrize("verb", [["--help"], ["plan", "scale=smoke"], ["status"]])
def test_light_verbs_load_nothing_heavy(verb: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom experiments.cli import main\n"
        f"try:\n    main({verb!r})\nexcept SystemExit:\n    pass\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_configuration_names_code() -> None:
    for file in (REPOSITORY / "conf").rglob("*.yaml"):
        assert "_target_" not in file.read_text(), file
