"""`reer pairwise ARM BASELINE`: a judge compares two runs' answers item by item, each pair in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evals.benchmark import JudgedBenchmark, Response
from evals.judging.pairwise import PairwiseResult, comparing, judge_pairs
from evals.judging.panel import Grader, members_of, session_of
from evals.judging.per_benchmark import judge_of
from experiments.experiment import Experiment
from experiments.metrics import evaluation
from experiments.metrics.evaluation import between_members_lines
from experiments.report import console as show
from experiments.report.formatting import difference_text
from experiments.report.progress import Progress
from experiments.store.metrics import counts
from experiments.store.runs import Result, find_run, read_result
from reer.errors import InputError
from reer.files import plain, write_json, write_rows


def pairwise(arm_name: str, baseline_name: str, overrides: Sequence[str], config_dir: Path | None = None) -> None:
    """Compare two finished runs, given by name; the overrides (`judge=`, `scale=`, `seed=`, `benchmark=`) choose the
    judge and which runs of these names are meant."""
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from

    exp = experiment_from(compose_one(overrides, config_dir))
    arm, baseline = (_result(exp, name) for name in (arm_name, baseline_name))
    answered = [
        (name, benchmark, comparing(judge_of(exp.judge, benchmark.name)))
        for name, benchmark in exp.benchmarks.items()
        if isinstance(benchmark, JudgedBenchmark)
        and all(run.folder_of(evaluation.GENERATE, name) for run in (arm, baseline))
    ]
    if not answered:
        raise InputError(
            f"pairwise: {arm.name} and {baseline.name} have no answers to {', '.join(exp.benchmarks) or 'compare'}; "
            "name a judged benchmark that both answered: benchmark=[writing]"
        )
    for name, benchmark, judge in answered:
        _compare(exp, name, benchmark, judge, arm, baseline)


def _result(exp: Experiment, name: str) -> Result:
    result = read_result(find_run(exp.runtime.runs, name, exp.scale.name, exp.seed))
    if result is None:
        raise InputError(
            f"pairwise: the run {name} has not finished; finish it with: "
            f"reer rerun {name} --root {exp.runtime.root} --scale {exp.scale.name} --seed {exp.seed}"
        )
    return result


def _compare(
    exp: Experiment, name: str, benchmark: JudgedBenchmark, judge: Grader, arm: Result, baseline: Result
) -> None:
    """Judge the answers to one benchmark, write verdicts and result below `pairwise/`, and print the result."""
    items, title = benchmark.items(), f"{arm.name} against {baseline.name}"
    records, device = exp.runtime.judgements_folder, exp.runtime.device_for("judge")
    with session_of(judge, records, device, exp.budget.usd) as session, Progress(title, 1) as progress:
        progress.started()
        result, verdicts = judge_pairs(
            exp.pairwise,
            items,
            arm.rows(evaluation.GENERATE, Response, name),
            baseline.rows(evaluation.GENERATE, Response, name),
            session,
            lambda settled, _: progress.advance("verdicts", settled, 2 * len(items)),
        )
    folder = Path(exp.runtime.root) / "pairwise" / f"{arm.name}-{baseline.name}-{exp.scale.name}-s{exp.seed}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{judge.name}.jsonl", verdicts)
    write_json(folder / f"{judge.name}.json", {"judge": judge.name, **plain(result)})
    cautions = [member.caution for member in members_of(judge).values() if member.caution]
    _show(f"{title} on {name}, judged by {judge.name}", result, cautions)


def _show(title: str, result: PairwiseResult, cautions: Sequence[str]) -> None:
    outcomes = (result.pairs, result.wins, result.losses, result.ties, result.flipped)
    show.table(title, ("pairs", "wins", "losses", "ties", "flipped"), [tuple(map(str, outcomes))])
    if result.position_bias is not None:
        counted = "preferences are means over the panel" if result.between_members else "flipped pairs count as ties"
        show.line(
            f"position bias {result.position_bias:+.3g} (win rate in the first position minus the second); {counted}"
        )
    show.line(f"mean win rate minus 0.5: {difference_text(result.difference) or 'no pair was judged'}")
    if result.unscored:
        show.line(f"unscored {counts(result.unscored)}")
    for line in (*between_members_lines(result.between_members), *dict.fromkeys(cautions)):
        show.line(line)
