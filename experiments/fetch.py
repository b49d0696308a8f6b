"""`reer fetch`: list what has files of its own elsewhere, and download them; licence and caution come first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from evals.benchmark import JudgedBenchmark
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.download import OnProgress, fetch, file_states
from experiments.config.choices import CONF, choice_names
from experiments.config.released_prompts import ReleasedPrompts
from experiments.report import console as show
from reer.errors import InputError, near

if TYPE_CHECKING:
    from experiments.experiment import Experiment


def run(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Download the files of the names, or list all where none is named. Raises InputError for a name without files."""
    exp = _everything(overrides)
    known = _files(exp)
    for name in names:
        if name not in known:
            raise InputError(f"fetch: got {name!r}, want one or more of {', '.join(known)}{near(name, known)}")
    if not names:
        listing(known)
    for name in dict.fromkeys(names):
        download(name, known[name])
        part = exp.benchmark.get(name)
        if isinstance(part, JudgedBenchmark) and (missing := part.also_needs()):
            show.line(f"  still missing: {missing}")


def available(overrides: Sequence[str]) -> dict[str, DataFiles]:
    """The files of every benchmark that has some, by its name in conf/benchmark, those of the released prompts, and the
    words that WritingBench's critic was released with."""
    return _files(_everything(overrides))


def _files(exp: Experiment) -> dict[str, DataFiles]:
    data = {name: getattr(part, "data", None) for name, part in exp.benchmark.items()}
    data |= {exp.prompts.data.name: exp.prompts.data} if isinstance(exp.prompts, ReleasedPrompts) else {}
    data |= {judge.prompt.name: judge.prompt for judge in exp.judges.values() if judge.prompt is not None}
    return {name: files for name, files in data.items() if isinstance(files, DataFiles)}


def _everything(overrides: Sequence[str]) -> Experiment:
    """An experiment with every benchmark, by its name in conf/benchmark, and everything that was released."""
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from

    every = ",".join(choice_names("benchmark", (CONF,)))
    released = ("prompts=released", "judge=writingbench_critic_released")
    return experiment_from(compose_one([f"benchmark=[{every}]", *released, *overrides]))


def listing(known: dict[str, DataFiles]) -> None:
    """A table of what can be downloaded: licence, size, state of the files, caution."""
    rows = []
    for name, data in known.items():
        states = list(file_states(data).values())
        counts = [f"{states.count(state)} {state}" for state in ("present", "missing", "different") if state in states]
        rows.append((name, f"{data.upstream}\n{data.folder}", data.licence, _size(data), "\n".join(counts)))
    show.table("reer fetch NAME", ("name", "from, into", "licence", "MB", "files"), rows)
    for name, data in known.items():
        show.line(f"{name}: {data.caution}")


def _size(data: DataFiles) -> str:
    """Megabytes to download; a lower bound where a size is not known."""
    known = [source.size_bytes for source in data.sources.values() if source.size_bytes is not None]
    more = "more than " if len(known) < len(data.sources) else ""
    return f"{more}{sum(known) / 1e6:.2g}"


def download(name: str, data: DataFiles) -> None:
    """Download the missing files of one name, after a line with their licence and caution."""
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
