"""Where the numbers come from: when and by which code, models, data, judge and machine, and how to repeat them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from experiments.metrics import evaluation
from experiments.report.page.study import Study
from experiments.store.fingerprint import Json
from experiments.store.provenance import Provenance
from experiments.store.records import RECORD, Record, read_record
from experiments.store.runs import Result

PARTS = {
    "source": "texts",
    "public": "public rows",
    "generator": "generator",
    "scorer": "scorer",
    "student": "student",
    "judge": "judge",
}
NAMING = ("name", "kind")  # the fields that come first in a description
SAID = "caution"  # stands at the top of the page
LONG = 60  # characters: longer texts, such as prompts, are left out of a description


@dataclass(frozen=True)
class Fact:
    """What is true of the study, and the texts that hold: several where runs differ."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """One run: when it finished, its commits, where it is tracked, and the command that repeats it."""

    name: str
    finished: str
    commits: str
    tracked: str
    command: str


@dataclass(frozen=True)
class OriginView:
    facts: tuple[Fact, ...]
    runs: tuple[RunView, ...]


def origin_view(study: Study) -> OriginView:
    """The origin of all runs of one study."""
    results = [arm.result for _, arm in study.runs()]
    records = {result.run_name: records_of(result) for result in results}
    every = [record.provenance for of_run in records.values() for record in of_run.values()]
    facts = [
        _fact("finished", _first_and_last(map(_finished, results))),
        *_machine(every),
        *(_fact(label, (_described(r.identity.get(k)) for r in results)) for k, label in PARTS.items()),
    ]
    facts.append(_fact("models that answered as judge", _served(results)))
    return OriginView(
        facts=tuple(fact for fact in facts if fact.values),
        runs=tuple(_run(result, records[result.run_name].values()) for result in results),
    )


def records_of(result: Result) -> dict[str, Record]:
    """The records of a run's stage results, by the name of the step; without those that are not at hand."""
    paths = {str(name): Path(step.path) for name, step in result.steps.items()}
    return {name: read_record(path) for name, path in paths.items() if (path / RECORD).is_file()}


def _fact(label: str, values: Iterable[str]) -> Fact:
    return Fact(label, tuple(dict.fromkeys(filter(None, values))))


def _first_and_last(times: Iterable[str]) -> list[str]:
    known = sorted(filter(None, times))
    return known[:1] if known[:1] == known[-1:] else [f"{known[0]} to {known[-1]}"]


def _machine(every: Sequence[Provenance]) -> list[Fact]:
    """Code, packages and hardware as they were recorded: one fact for each field."""
    fields = dict.fromkeys(name for provenance in every for name in asdict(provenance))
    labels = {"git": "commit", "platform": "machine"}
    return [_fact(labels.get(name, name), (_described(asdict(p)[name]) for p in every)) for name in fields]


def _described(part: Json | object) -> str:
    """A part of a configuration in a line: its name, its class, and its short fields."""
    if isinstance(part, Mapping):
        fields = {
            key: text for key, value in part.items() if key not in (*NAMING, SAID) and (text := _described(value))
        }
        inner = ", ".join(f"{key} {text}" for key, text in fields.items())
        head = " ".join(str(part[key]) for key in NAMING if key in part)
        return f"{head} ({inner})" if head and inner else head or inner
    if isinstance(part, Sequence) and not isinstance(part, str):
        return " ".join(filter(None, map(_described, part)))
    text = "" if part is None else str(part)
    return text if len(text) <= LONG else ""


def _served(results: Iterable[Result]) -> list[str]:
    graded = (metrics for result in results for metrics in result.all_metrics_of(evaluation.GRADE).values())
    return [name for metrics in graded for name in metrics.judge_served]


def _run(result: Result, records: Iterable[Record]) -> RunView:
    commits = _fact("", (record.provenance.git or "" for record in records)).values
    return RunView(result.run_name, _finished(result), ", ".join(commits), result.tracked or "", result.rerun)


def _finished(result: Result) -> str:
    return f"{datetime.fromisoformat(result.finished):%Y-%m-%d %H:%M} UTC" if result.finished else ""
