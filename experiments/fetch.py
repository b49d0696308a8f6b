"""`reer fetch`: list the benchmarks with files of their own, and download them; licence and caution come first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from evals.benchmark import JudgedBenchmark
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.download import OnProgress, fetch, file_states
from experiments.config.choices import CONF, choice_names
from experiments.report import console as show
from reer.errors import InputError, near


def run(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Download the named benchmarks, or list all where none is named. Raises InputError for a name without files."""
    parts = _parts(overrides)
    known = _files(parts)
    for name in names:
        if name not in known:
            raise InputError(f"fetch: got {name!r}, want one or more of {', '.join(known)}{near(name, known)}")
    if not names:
        listing(known)
    for name in dict.fromkeys(names):
        download(name, known[name])
        if missing := parts[name].also_needs():
            show.line(f"  still missing: {missing}")


def benchmarks(overrides: Sequence[str]) -> dict[str, DataFiles]:
    """The files of every benchmark that has some, by its name in conf/benchmark."""
    return _files(_parts(overrides))


def _files(parts: Mapping[str, JudgedBenchmark]) -> dict[str, DataFiles]:
    data = {name: getattr(part, "data", None) for name, part in parts.items()}
    return {name: files for name, files in data.items() if isinstance(files, DataFiles)}


def _parts(overrides: Sequence[str]) -> dict[str, JudgedBenchmark]:
    """Every judged benchmark, by its name in conf/benchmark."""
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from

    every = ",".join(choice_names("benchmark", (CONF,)))
    parts = experiment_from(compose_one([f"benchmark=[{every}]", *overrides])).benchmark
    return {name: part for name, part in parts.items() if isinstance(part, JudgedBenchmark)}


def listing(known: dict[str, DataFiles]) -> None:
    """A table of what can be downloaded: licence, size, state of the files, caution."""
    rows = []
    for name, data in known.items():
        states = list(file_states(data).values())
        counts = [f"{states.count(state)} {state}" for state in ("present", "missing", "different") if state in states]
        rows.append((name, f"{data.upstream}\n{data.folder}", data.licence, _size(data), "\n".join(counts)))
    show.table("reer fetch BENCHMARK", ("benchmark", "from, into", "licence", "MB", "files"), rows)
    for name, data in known.items():
        show.line(f"{name}: {data.caution}")


def _size(data: DataFiles) -> str:
    """Megabytes to download; a lower bound where a size is not known."""
    known = [source.size_bytes for source in data.sources.values() if source.size_bytes is not None]
    more = "more than " if len(known) < len(data.sources) else ""
    return f"{more}{sum(known) / 1e6:.2g}"


def download(name: str, data: DataFiles) -> None:
    """Download one benchmark's missing files, after a line with their licence and caution."""
    show.line(f"{name}: {data.origin}, licence {data.licence or 'not stated'}, into {data.folder}")
    if data.caution:
        show.line(f"  caution: {data.caution}")
    with _bars() as seen:
        fetched = fetch(data, seen)
    for file in fetched:
        show.line(f"  downloaded  {file}")
    show.line(f"  {len(data.sha256)} files match their sha256, {len(fetched)} of them downloaded now")


@contextmanager
def _bars() -> Iterator[OnProgress]:
    """A progress bar for each upstream file, on a terminal; without a total where the server sends none."""
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
