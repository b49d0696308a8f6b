"""What shared stages save a sweep, and how long its verbs take: `python -m tests.benchmarks.sweep`.

The six arms at `scale=smoke` run in one root, where they share stages, and each alone in a root of its own; the two
alternate. Then the finished sweep is repeated, and every reading verb runs. Seconds are wall clock of whole processes,
interpreter and imports included; W&B is off. `--scale laptop` does the same with real models.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.work import Timed
from tests.conftest import ARMS

READING = (
    ("status",),
    ("compare",),
    ("compare", "--json"),
    ("where", "full/{scale}/s0", "writing/quality"),
    ("explain", "full/{scale}/s0"),
    ("diff", "full/{scale}/s0", "short_trajectories/{scale}/s0"),
    ("gc",),
)
PACKAGES = ("hydra-core", "torch", "transformers", "trl", "wandb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", default="smoke")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"# Python {platform.python_version()}, {versions}; {os.cpu_count()} cores; median (min-max)\n")
    timed, shared, alone = Timed(), set[int](), set[int]()
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(given.repeats):
            root = Path(folder) / f"shared-{repeat}"
            timed.run("shared", lambda root=root: run(root, given.scale, "sweep=ablations"))
            roots = [Path(folder) / f"{arm}-{repeat}" for arm in ARMS]
            timed.run("alone", lambda roots=roots: run_alone(roots, given.scale))
            shared.add(executions([root]))
            alone.add(executions(roots))
            timed.run("again", lambda root=root: run(root, given.scale, "sweep=ablations"))
            for verb in READING:
                words = [word.format(scale=given.scale) for word in verb]
                timed.run(" ".join(words), lambda words=words, root=root: reer(*words, "--root", str(root)))
    print("| six arms | stages executed | wall clock |\n|---|---|---|")
    print(f"| each in a root of its own | {counted(alone)} | {timed.shown('alone')} |")
    print(f"| in one root, stages shared | {counted(shared)} | {timed.shown('shared')} |")
    print(f"| the finished sweep repeated | 0 | {timed.shown('again')} |")
    print(
        f"\nalone / shared: {timed.ratio('alone', 'shared'):.2f} of the wall clock\n\n| verb | wall clock |\n|---|---|"
    )
    for name in [name for name in timed.seconds if name not in ("shared", "alone", "again")]:
        print(f"| `reer {name}` | {timed.shown(name)} |")


def run(root: Path, scale: str, *overrides: str) -> None:
    reer("run", *overrides, f"scale={scale}", "tracking=silent", f"runtime.root={root}")


def run_alone(roots: Sequence[Path], scale: str) -> None:
    for arm, root in zip(ARMS, roots, strict=True):
        run(root, scale, f"experiment={arm}")


def reer(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "experiments.cli", *arguments], check=True, capture_output=True)


def executions(roots: Sequence[Path]) -> int:
    """The stage results in these roots: each was computed once."""
    return sum(1 for root in roots for _ in root.glob("store/*/*/record.json"))


def counted(numbers: set[int]) -> str:
    """The count of all repeats, which is the same in each."""
    (number,) = numbers
    return str(number)


if __name__ == "__main__":
    main()
