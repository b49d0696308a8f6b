"""The judged benchmarks as lm-eval tasks: what the YAML files of `evals/data/lm_judged` name with `!function`.

lm-eval makes the generations; items, judge, parsing, records and scores are those of this project. A `custom` filter is
given all replies of a task at once, so they are judged side by side; `process_results`, which lm-eval calls for one
document after the other, only unpacks. A filter is told nothing but replies and documents, so each document carries the
task's settings. Missing scores are NaN, which `nanmean` leaves out, and `judge_ok` counts them; `nanmean` is then
`Measure.mean_of_scored`. The other numbers lie beside the records (see `judged`).
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals.benchmark import Benchmark, Item, Measure, Response, Verdict, item_scores, judged_by_item, measures
from evals.benchmarks.kinds import JUDGED_BENCHMARKS
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, unscored_reasons
from reer.errors import InputError
from reer.models.kinds import CHECKPOINTS, MODELS
from reer.models.protocols import Device
from reer.parts import build
from reer.types import content_id

KINDS: Mapping[str, type] = {**JUDGED_BENCHMARKS, **MODELS, **CHECKPOINTS}


@dataclass(frozen=True)
class Settings:
    """What a task needs to judge: a benchmark with its data, a judge, the folder of its judgements and a budget."""

    benchmark: Benchmark
    judge: Judge
    records: Path
    budget_usd: float | None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Settings:
        """From plain values. Raises InputError, also where the judge's key is not in the environment: that shows
        before the model has generated, not after."""
        benchmark: Any = build(given["benchmark"], KINDS, "benchmark")
        judge = build(given["judge"], KINDS, "judge", Judge)
        variable = getattr(judge.model, "key_variable", "")
        if variable and not os.environ.get(variable):
            raise InputError(
                f"judge {judge.name}: want its key in the environment variable {variable}, got none; set it, or name "
                "another judge with --metadata '{\"judge\": {…}}'"
            )
        return cls(benchmark, judge, Path(given["records"]), given["budget_usd"])


def documents(
    *,
    benchmark: Mapping[str, Any],
    judge: Mapping[str, Any],
    data: Mapping[str, str],
    records: str,
    budget_usd: float | None,
    **others: Any,
) -> dict[str, Any]:
    """A task's documents: `custom_dataset` of its YAML, given its `dataset_kwargs` and its `metadata`.

    `--metadata` puts a whole `judge`, a folder of `data` by benchmark, `records` or `budget_usd` in place of the
    file's; lm-eval adds the model's arguments, which are `others` and left alone. Raises InputError.
    """
    from datasets import Dataset

    strange = sorted(set(data) - set(JUDGED_BENCHMARKS))
    if strange:
        raise InputError(f"data.{strange[0]}: want folders by benchmark, out of {', '.join(JUDGED_BENCHMARKS)}")
    if "data" in benchmark and benchmark["kind"] in data:
        benchmark = {**benchmark, "data": {**benchmark["data"], "folder": data[benchmark["kind"]]}}
    given = {"benchmark": benchmark, "judge": judge, "records": records, "budget_usd": budget_usd}
    settings = json.dumps(given, ensure_ascii=False, sort_keys=True)
    items = Settings.read(given).benchmark.items()
    rows = [{"id": item.id, "prompt": item.prompt, "category": item.category, "settings": settings} for item in items]
    return {"test": Dataset.from_list(rows)}


def judged(replies: Sequence[Sequence[str]], documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each document its scores and the verdicts on its reply: the `custom` filter. All are judged side by side.

    The replies are first written to `<records>/lm_eval/`, since lm-eval itself writes nothing when a filter fails;
    then the measures with their coverage and the numbers of the benchmark's own scripts, which are also printed.
    lm-eval does not say how many tokens a reply has, or whether it was cut.
    """
    settings = Settings.read(json.loads(documents[0]["settings"]))
    benchmark, records = settings.benchmark, settings.records
    by_id = {item.id: item for item in benchmark.items()}
    items = [by_id[document["id"]] for document in documents]
    responses = [_response(item, reply) for item, reply in zip(items, replies, strict=True)]
    kept = records / "lm_eval" / f"{benchmark.name}-{content_id(*(response.text for response in responses))}"
    _write(kept.with_suffix(".responses.json"), [asdict(response) for response in responses])
    with JudgeSession(settings.judge, Judgements(records), Device(), settings.budget_usd) as session:
        verdicts = judge_all(benchmark, items, responses, session)
    table = item_scores(benchmark, items, responses, verdicts)
    official = benchmark.official(items, judged_by_item(responses, verdicts))
    found = measures(benchmark, table)
    _write(kept.with_suffix(".scores.json"), _summary(settings, found, official, verdicts))
    sys.stdout.write(_line(found, official, kept.with_suffix(".scores.json")) + "\n")
    said = {item.id: [asdict(verdict) for verdict in verdicts if verdict.item_id == item.id] for item in items}
    return [{"scores": scores_of(item, benchmark, table), "verdicts": said[item.id]} for item in items]


def unpacked(document: Mapping[str, Any], replies: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """A document's metrics: `process_results`."""
    return dict(replies[0]["scores"])


def scores_of(item: Item, benchmark: Benchmark, table: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Every metric of the benchmark, NaN where the item has no score for it, and `judge_ok`: 0 where the judge owes
    one. (A metric of another task or domain is not owed.)"""
    mine = {name: column[item.id] for name, column in table.items() if item.id in column}
    known = {name: math.nan if score is None else score for name, score in mine.items()}
    return {**dict.fromkeys(benchmark.ranges, math.nan), **known, "judge_ok": float(None not in mine.values())}


def _response(item: Item, reply: Sequence[str]) -> Response:
    if len(reply) != 1:
        raise InputError(f"{item.id}: want one reply for each document, got {len(reply)}; set repeats: 1 in the task")
    return Response.read(item.id, reply[0], truncated=False, tokens=0)


def _summary(
    settings: Settings, found: Sequence[Measure], official: Mapping[str, float], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        "benchmark": settings.benchmark.version,
        "judge": settings.judge.model_name,
        "official": dict(official),
        "measures": [{**asdict(measure), "coverage": measure.coverage} for measure in found],
        "unscored": dict(unscored_reasons(verdicts)),
    }


def _line(found: Sequence[Measure], official: Mapping[str, float], where: Path) -> str:
    def shown(measure: Measure) -> str:
        mean = "unscored" if measure.mean_of_scored is None else f"{measure.mean_of_scored:.4g}"
        return f"{measure.name} {mean} ({measure.scored} of {measure.total})"

    theirs = ", ".join(f"{name} {value:.4g}" for name, value in official.items())
    return "; ".join([*map(shown, found), *([f"as upstream's scripts: {theirs}"] if theirs else []), f"see {where}"])


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8", errors="surrogatepass")
