"""`reer fetch`: which benchmarks have files of their own, and bringing them, licence and caution first."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.download import OnProgress, fetch, file_states
from experiments.report import terminal as show
from reer.errors import InputError

ABOUT = """A benchmark's own data and judge prompts, from its repository at the pinned commit into its data.folder. Each
file is checked by its sha256. Without a name: what can be fetched. Repeating the command goes on where it stopped.

  reer fetch writingbench
  reer fetch writingbench benchmark.writingbench.data.folder=DIR
  reer fetch writingbench benchmark.writingbench.data.mirror=https://HOST
"""


def main(arguments: Sequence[str]) -> int:
    """List, or fetch the benchmarks named; what has an `=` is a Hydra override. Returns 0."""
    parser = argparse.ArgumentParser(
        "reer fetch", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="*", metavar="BENCHMARK or override")
    given: list[str] = parser.parse_args(arguments).given
    known = benchmarks([word for word in given if "=" in word])
    names = list(dict.fromkeys(word for word in given if "=" not in word))
    for name in names:
        _require(name, known)
    if not names:
        listing(known)
    for name in names:
        bring(name, known[name])
    return 0


def benchmarks(overrides: Sequence[str]) -> dict[str, DataFiles]:
    """The files of every benchmark that has some of its own, by its name in conf/benchmark."""
    from experiments.config import CONF, compose_plans, experiment_from

    every = ",".join(sorted(file.stem for file in (CONF / "benchmark").glob("*.yaml")))
    (plan,) = compose_plans([f"benchmark=[{every}]", *overrides], multirun=False)
    parts = experiment_from(plan).benchmark
    return {name: part.data for name, part in parts.items() if isinstance(getattr(part, "data", None), DataFiles)}


def _require(name: str, known: dict[str, DataFiles]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"fetch: got {name!r}, want one or more of {', '.join(known)}{hint}")


def listing(known: dict[str, DataFiles]) -> None:
    """What can be fetched: licence, size, caution, and whether it is there."""
    rows = []
    for name, data in known.items():
        states = list(file_states(data).values())
        counts = [f"{states.count(state)} {state}" for state in ("present", "missing", "different") if state in states]
        rows.append((name, f"{data.upstream}\n{data.folder}", data.licence, _size(data), "\n".join(counts)))
    show.table("reer fetch BENCHMARK", ("benchmark", "from, into", "licence", "MB", "files"), rows)
    for name, data in known.items():
        show.line(f"{name}: {data.caution}")


def _size(data: DataFiles) -> str:
    """Megabytes to download, as far as they are known."""
    known = [source.size_bytes for source in data.sources.values() if source.size_bytes is not None]
    more = "more than " if len(known) < len(data.sources) else ""
    return f"{more}{sum(known) / 1e6:.2g}"


def bring(name: str, data: DataFiles) -> None:
    """Fetch one benchmark's missing files, saying first under which licence and with what caution they come."""
    show.line(f"{name}: {data.origin}, licence {data.licence or 'not stated'}, into {data.folder}")
    if data.caution:
        show.line(f"  caution: {data.caution}")
    with _bars() as seen:
        fetched = fetch(data, seen)
    for file in fetched:
        show.line(f"  fetched  {file}")
    show.line(f"  {len(data.sha256)} files are there and as pinned, {len(fetched)} of them fetched now")


@contextmanager
def _bars() -> Iterator[OnProgress]:
    """A bar for each upstream file, on a terminal; its length is known where the server says it."""
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    terminal = show.console.is_terminal
    with Progress(*columns, console=show.console, transient=True, disable=not terminal) as bars:
        yield _onto(bars, {})


def _onto(bars: Progress, tasks: dict[str, TaskID]) -> Callable[[str, int, int | None], None]:
    def seen(file: str, here: int, there: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(escape(file), total=there)
        bars.update(tasks[file], completed=here, total=there)

    return seen
