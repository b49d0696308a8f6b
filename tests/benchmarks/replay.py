"""What opening a replay of stored scores costs: `python -m tests.benchmarks.replay`.

Stores of 10,000 and 100,000 scores of 2,000 numbers each are written, then opened in fresh processes, with their index
and without it. Seconds are of opening alone; memory is the high-water mark of the whole process, interpreter and
imports included. The last rows extrapolate both sizes linearly to the paper's 340,000 scores. The files are warm in the
operating system's cache: a scan without an index from a cold disk takes as long as the disk needs to read the file.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pydantic

SIZES = (10_000, 100_000)
PAPER = 340_000
NUMBERS = 2_000  # of one score
OPEN = """
import resource, sys, time
from pathlib import Path
from reer.models.replay import Journal
start = time.perf_counter()
journal = Journal(Path(sys.argv[1]))
seconds = time.perf_counter() - start
assert len(journal.log) == int(sys.argv[2])
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"# Python {platform.python_version()}, pydantic {pydantic.VERSION}, {platform.machine()}")
    print(f"# {NUMBERS:,} numbers a score; median (min-max) of {repeats} openings\n")
    print("| scores | on disk | opening | seconds | MiB resident |\n|---|---|---|---|---|")
    medians: dict[str, list[tuple[float, float]]] = {"with the index": [], "without an index": []}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            on_disk = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
            for how in medians:
                runs = [opened(Path(folder), size, how) for _ in range(repeats)]
                seconds, resident = zip(*runs, strict=True)
                medians[how].append((statistics.median(seconds), statistics.median(resident)))
                print(f"| {size:,} | {on_disk:,.0f} MiB | {how} | {spread(seconds)} | {spread(resident)} |", flush=True)
    for how, ((s0, m0), (s1, m1)) in medians.items():
        seconds, resident = extrapolated(s0, s1), extrapolated(m0, m1)
        print(f"| {PAPER:,} (extrapolated) | | {how} | {seconds:.2f} | {resident:.0f} |")


def extrapolated(small: float, large: float) -> float:
    """The value at the paper's size on the line through both measured sizes."""
    return small + (large - small) / (SIZES[1] - SIZES[0]) * (PAPER - SIZES[0])


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def write(folder: Path, size: int) -> None:
    """A store of `size` scores, by the journal's own writer; equal numbers, since opening does not read them."""
    from reer.models.replay import Journal, encode_nats

    log, draw = Journal(folder).log, random.Random(0)
    log.sync_seconds = float("inf")
    nats = encode_nats(tuple(draw.randrange(2**20) / 2**18 for _ in range(NUMBERS)))
    for _ in range(size):
        log.append({"key": f"{draw.getrandbits(128):032x}", "nats": nats})


def opened(folder: Path, size: int, how: str) -> tuple[float, float]:
    """Seconds and MiB of one opening in a process of its own."""
    if how == "without an index":
        for index in folder.glob("*.index"):
            index.unlink()
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder), str(size)], capture_output=True, text=True, check=True
    )
    seconds, resident = done.stdout.split()
    return float(seconds), float(resident)


if __name__ == "__main__":
    main()
