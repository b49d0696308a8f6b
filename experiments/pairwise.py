"""`reer duel ARM BASELINE`: a judge prefers one run's answers or the other's, item by item, in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.benchmark import Response
from evals.judging.pairwise import Outcome, judge_pairs
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from experiments.experiment import Experiment
from experiments.report import terminal as show
from experiments.report.formatting import difference_text
from experiments.stages import evaluation
from experiments.store.metrics import counts
from experiments.store.runs import Result, find_run, read_result
from reer.errors import InputError
from reer.files import plain, read_rows, write_json, write_rows


def duel(arguments: Sequence[str]) -> int:
    """Two finished runs by name, then overrides where and by whom: `judge=`, `scale=`, `seed=`, `benchmark=`."""
    from experiments.config import compose_plans, experiment_from

    names = [a for a in arguments if "=" not in a and not a.startswith("-")]
    if len(names) != 2:
        raise InputError(f"duel: want the names of two finished runs, got {names or 'none'}: reer duel ARM BASELINE")
    (plan,) = compose_plans([a for a in arguments if "=" in a], multirun=False)
    x = experiment_from(plan)
    arm, opponent = (_result(x, name) for name in names)
    for benchmark in x.benchmark:
        if arm.folder_of(evaluation.generate, benchmark) and opponent.folder_of(evaluation.generate, benchmark):
            _played(x, benchmark, arm, opponent)
    return 0


def _result(x: Experiment, name: str) -> Result:
    folder = find_run(x.runtime.runs, name, x.scale.name, x.seed)
    result = read_result(folder)
    if result is None:
        raise InputError(f"duel: the run {name} has not finished; reer rerun {name}")
    return result


def _answers(result: Result, benchmark: str) -> list[Response]:
    folder = result.folder_of(evaluation.generate, benchmark)
    return read_rows(folder / "rows.jsonl", Response) if folder else []


def _played(x: Experiment, benchmark: str, arm: Result, opponent: Result) -> None:
    items: Any = x.benchmark[benchmark].items()
    records = Judgements(x.runtime.judgements_folder or x.runtime.store / "judgements")
    with JudgeSession(x.judge, records, x.runtime.device, x.budget.usd) as session:
        answers = _answers(arm, benchmark), _answers(opponent, benchmark)
        with show.Progress(f"{arm.name} against {opponent.name}", 1) as progress:
            progress.started(evaluation.generate.named(benchmark))
            found, verdicts = judge_pairs(
                x.pairwise, items, *answers, session, lambda n: progress.advance("verdicts", n, 2 * len(items))
            )
    folder = Path(x.runtime.root) / "duels" / f"{arm.name}-{opponent.name}-{x.scale.name}-s{x.seed}-{benchmark}"
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{x.judge.name}.jsonl", verdicts)
    write_json(folder / f"{x.judge.name}.json", {"judge": x.judge.name, **plain(found)})
    _show(f"{arm.name} against {opponent.name} on {benchmark}, judged by {x.judge.name}", found, x.judge.caution)


def _show(title: str, found: Outcome, caution: str) -> None:
    apart = ("difference", "unscored", "first_place")
    columns = {key: str(value) for key, value in asdict(found).items() if key not in apart}
    show.table(title, tuple(columns), [tuple(columns.values())])
    if found.first_place is not None:
        show.line(f"the first place wins oftener by {found.first_place:+.3g}; pairs that flipped with it count as ties")
    show.line(f"mean win from one half: {difference_text(found.difference) or 'none judged'}")
    if found.unscored:
        show.line(f"unscored {counts(found.unscored)}")
    if caution:
        show.line(caution)
