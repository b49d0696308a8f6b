"""The judged benchmarks as lm-eval tasks: the functions that the YAML files in `evals/data/lm_judged` name.

lm-eval generates; items, judge, parsing, records and scores are this project's. A `custom` filter receives all replies
of a task at once, so that they are judged concurrently; `process_results`, which lm-eval calls per document, only
unpacks. A filter receives replies and documents only, so each document carries the task's settings. Missing scores are
NaN, which `nanmean` leaves out and `judge_ok` counts; `nanmean` then equals `Measure.mean_of_scored`. The other numbers
are stored with the records (see `judged`).
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

from evals.benchmark import (
    Item,
    JudgedBenchmark,
    Measure,
    OfficialScore,
    Response,
    Verdict,
    item_scores,
    measures,
)
from evals.benchmarks.kinds import JUDGED_BENCHMARKS
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, official_scores, unscored_reasons
from reer.errors import InputError
from reer.models.kinds import CHECKPOINTS, MODELS
from reer.models.protocols import Device
from reer.parts import build
from reer.types import content_id

KINDS: Mapping[str, type] = {**JUDGED_BENCHMARKS, **MODELS, **CHECKPOINTS}


@dataclass(frozen=True)
class Settings:
    """The settings of a task: a benchmark with its data, a judge, the folder of its judgements and a budget in USD."""

    benchmark: JudgedBenchmark
    judge: Judge
    records: Path
    budget_usd: float | None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Settings:
        """From plain values. Raises InputError, also for a judge that cannot grade the benchmark, and if its key is not
        in the environment: a task must fail for that before the model generates, not after."""
        benchmark = build(content["benchmark"], KINDS, "benchmark", JudgedBenchmark)
        judge = build(content["judge"], KINDS, "judge", Judge)
        variable = getattr(judge.model, "key_variable", "")
        if variable and not os.environ.get(variable):
            raise InputError(
                f"judge {judge.name}: want its key in the environment variable {variable}, got none; set it, or choose "
                "another judge with --metadata '{\"judge\": {…}}'"
            )
        judge.require_meant_for(benchmark)
        judge.require_form_of(benchmark)
        return cls(benchmark, judge, Path(content["records"]), content["budget_usd"])


def documents(
    *,
    benchmark: Mapping[str, Any],
    judge: Mapping[str, Any],
    data: Mapping[str, str],
    records: str,
    budget_usd: float | None,
    **others: object,
) -> dict[str, Any]:
    """A task's documents: `custom_dataset` of its YAML, called with its `dataset_kwargs` and `metadata`.

    `--metadata` replaces the file's `judge` as a whole, a folder of `data` by benchmark, `records` or `budget_usd`.
    lm-eval adds the model's arguments (`others`), which are ignored. Raises InputError.
    """
    from datasets import Dataset

    unknown = sorted(set(data) - set(JUDGED_BENCHMARKS))
    if unknown:
        raise InputError(f"data.{unknown[0]}: unknown benchmark; want folders of {', '.join(JUDGED_BENCHMARKS)}")
    if "data" in benchmark and benchmark["kind"] in data:
        benchmark = {**benchmark, "data": {**benchmark["data"], "folder": data[benchmark["kind"]]}}
    given = {"benchmark": benchmark, "judge": judge, "records": records, "budget_usd": budget_usd}
    settings = json.dumps(given, ensure_ascii=False, sort_keys=True)
    items = Settings.read(given).benchmark.items()
    rows = [{"id": item.id, "prompt": item.prompt, "category": item.category, "settings": settings} for item in items]
    return {"test": Dataset.from_list(rows)}


def judged(replies: Sequence[Sequence[str]], documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `custom` filter: for each document its scores and the verdicts on its reply, all judged concurrently.

    The replies are first written to `<records>/lm_eval/`, since lm-eval itself writes nothing if a filter fails; then
    the measures with their coverage and the numbers of the benchmark's own scripts, which are also printed. lm-eval
    reports neither a reply's token count nor whether it was truncated.
    """
    settings = Settings.read(json.loads(documents[0]["settings"]))
    benchmark, records = settings.benchmark, settings.records
    by_id = {item.id: item for item in benchmark.items()}
    items = [by_id[document["id"]] for document in documents]
    responses = [_response(item, reply) for item, reply in zip(items, replies, strict=True)]
    output = records / "lm_eval" / f"{benchmark.name}-{content_id(*(response.text for response in responses))}"
    _write(output.with_suffix(".responses.json"), [asdict(response) for response in responses])
    with JudgeSession(settings.judge, Judgements(records), Device(), settings.budget_usd) as session:
        verdicts = judge_all(benchmark, items, responses, session)
    table = item_scores(benchmark, items, responses, verdicts)
    official = official_scores(benchmark, settings.judge, items, responses, verdicts)
    scored = measures(benchmark, table)
    _write(output.with_suffix(".scores.json"), _summary(settings, scored, official, verdicts))
    sys.stdout.write(_line(scored, official, output.with_suffix(".scores.json")) + "\n")
    by_item = {item.id: [asdict(verdict) for verdict in verdicts if verdict.item_id == item.id] for item in items}
    return [{"scores": scores_of(item, benchmark, table), "verdicts": by_item[item.id]} for item in items]


def unpacked(document: Mapping[str, Any], replies: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`process_results`: a document's metrics."""
    return dict(replies[0]["scores"])


def scores_of(
    item: Item, benchmark: JudgedBenchmark, table: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float]:
    """All metrics of the benchmark, NaN where the item has no score, and `judge_ok`: 0 if the judge failed on one of
    the item's own metrics. (Metrics of another task or domain do not count.)"""
    own = {name: column[item.id] for name, column in table.items() if item.id in column}
    known = {name: math.nan if score is None else score for name, score in own.items()}
    return {**dict.fromkeys(benchmark.ranges, math.nan), **known, "judge_ok": float(None not in own.values())}


def _response(item: Item, reply: Sequence[str]) -> Response:
    if len(reply) != 1:
        raise InputError(f"{item.id}: want one reply per document, got {len(reply)}; set repeats: 1 in the task")
    return Response.read(item.id, reply[0], truncated=False, tokens=0)


def _summary(
    settings: Settings, scored: Sequence[Measure], official: Mapping[str, OfficialScore], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        "benchmark": settings.benchmark.version,
        "judge": settings.judge.model_name,
        "official": {name: asdict(score) for name, score in official.items()},
        "measures": [{**asdict(measure), "coverage": measure.coverage} for measure in scored],
        "unscored": dict(unscored_reasons(verdicts)),
    }


def _line(scored: Sequence[Measure], official: Mapping[str, OfficialScore], file: Path) -> str:
    def shown(measure: Measure) -> str:
        mean = "unscored" if measure.mean_of_scored is None else f"{measure.mean_of_scored:.4g}"
        return f"{measure.name} {mean} ({measure.scored} of {measure.total})"

    upstream = ", ".join(f"{name} {s.value:.4g} ({s.counted}/{s.total})" for name, s in official.items())
    scripts = [f"by the benchmark's own scripts: {upstream}"] if upstream else []
    return "; ".join([*map(shown, scored), *scripts, f"see {file}"])


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8", errors="surrogatepass")
