"""Every `reer` command in the README files runs at smoke scale; the pages stay short and link to files that exist."""

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.cli import main
from tests.conftest import REPOSITORY
from tests.fakes.commands import finished

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "reer").rglob("README.md"))]
PAGES += [*sorted((REPOSITORY / "evals").rglob("README.md")), *sorted((REPOSITORY / "experiments").rglob("README.md"))]
COMPOSES = {"run", "plan", "doctor", "calibrate", "pairwise"}  # verbs that take overrides
READS = {"status", "compare", "report", "rerun", "explain", "diff", "gc", "table", "where", "claims"}  # finished runs
ADVISORY = {"doctor"}  # ends with 1 where this machine lacks something


@dataclass(frozen=True)
class Command:
    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands(page: Path) -> list[Command]:
    """The `reer` lines of a page's bash blocks, without comments; `a && reer b` counts as its last part."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("&&")[-1].strip() for block in blocks for line in block.splitlines()]
    name = page.relative_to(REPOSITORY).as_posix()
    return [Command(name, tuple(shlex.split(line, comments=True)[1:])) for line in lines if line.startswith("reer ")]


def at_smoke_scale(words: tuple[str, ...], root: Path) -> list[str]:
    """The same command on a store of its own, at smoke scale where it names no other."""
    verb, *rest = words
    if verb in READS:
        return [verb, *rest, "--root", str(root)]
    if verb not in COMPOSES:
        return [verb, *rest]
    scale = [] if any(word.startswith("scale=") for word in rest) else ["scale=smoke"]
    return [verb, *rest, *scale, f"runtime.root={root}", "tracking=silent"]


@pytest.fixture(scope="module")
def root(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the six arms and two more seeds, so that the processes of the pages' sweeps find their stages."""
    root = Path(shutil.copytree(sweep, tmp_path_factory.mktemp("readmes") / "out"))
    for arm in ("full", "no_iterative_search"):
        finished(root, "run", f"experiment={arm}", "scale=smoke", "seed=1", "tracking=silent")
    return root


COMMANDS = {command.words: command for page in reversed(PAGES) for command in commands(page)}  # each once


@pytest.mark.parametrize("command", list(reversed(COMMANDS.values())), ids=str)
def test_every_command_runs(command: Command, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = at_smoke_scale(command.words, root)
    code = main(words)
    printed = capsys.readouterr()
    assert code in ({0, 1} if command.words[0] in ADVISORY else {0}), f"{shlex.join(words)}\n{printed.out}{printed.err}"


def test_the_front_page_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_bytes()) < 9000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    tests = re.findall(r"`(tests/[\w./]+)(?:::(\w+))?`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name, _ in tests if not (REPOSITORY / name).exists()]
    missing += [test for name, test in tests if test and f"def {test}(" not in (REPOSITORY / name).read_text()]
    assert not missing
