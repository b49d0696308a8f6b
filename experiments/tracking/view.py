"""The saved view and the report of a scale in W&B, made from code and updated in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from experiments.report import formatting
from experiments.report.claims.table import counted, reasons
from experiments.report.claims.verdicts import ClaimVerdict
from experiments.report.compare import Comparison, SeedsComparison, compare
from experiments.report.exports.row import Row, confounded_by, headline_measures, score_columns, slug, summary_row
from experiments.report.exports.tables import in_markdown
from experiments.report.page.study import Study as StudyOfScale
from experiments.report.page.study import claims_of, studies
from experiments.store.runs import Result
from experiments.tracking.client import wandb_calls
from experiments.tracking.ledger import SUPERSEDED, Ledger, Mirror
from experiments.tracking.tracker import TrackingFailed
from reer.errors import Incomplete, InputError
from reer.files import adapter, write_json

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import BarPlot, PanelTypes, Report
    from wandb_workspaces.workspaces import Section, Workspace

FILE = Path("wandb") / "views.json"  # under the runtime's root
OF_A_SCORE = ("score", "delta", "p_holm", "finding", "published", "published_delta")
CURVES: Mapping[str, tuple[str, ...]] = {
    "search": ("refine/score_after", "refine/accepted_share", "refine/tokens_per_second", "draft/tokens_per_second"),
    "training": ("train/loss", "train/learning_rate", "train/grad_norm", "train/tokens_per_second"),
}
"""Sections of curves: the metrics, each over the axis of its stage."""
COSTS = ("cost/usd", "cost/device_hours", "seconds")


@dataclass(frozen=True)
class Saved:
    """The address of a saved view, and the id of a report, so that the next call updates both."""

    view: str
    report: str


@dataclass(frozen=True)
class Study:
    """What is shown: all comparisons of one scale, the W&B run of the first arm at the first seed, and the verdicts on
    the claims."""

    of_scale: StudyOfScale
    first: Mirror
    claims: tuple[ClaimVerdict, ...] = ()

    @property
    def comparison(self) -> Comparison:
        """The comparison at the first seed."""
        return self.of_scale.comparisons[0]

    @property
    def table(self) -> Comparison | SeedsComparison:
        """The table of the report: the arms over their seeds where these were compared, else at the first seed."""
        return self.of_scale.over_seeds or self.comparison

    @property
    def title(self) -> str:
        return f"REER ablations: {self.comparison.scale}"

    @property
    def measures(self) -> list[str]:
        return [slug(name) for name in headline_measures(self.table.measures)]

    @property
    def filter(self) -> str:
        return f"Config('scale') = '{self.comparison.scale}' and Tags() not in ['{SUPERSEDED}']"

    def columns(self) -> list[str]:
        """The pinned columns: those of the scores that any arm has."""
        rows = [summary_row(self.comparison, arm) for arm in self.comparison.arms]
        wanted = [f"{column}/{measure}" for measure in self.measures for column in OF_A_SCORE]
        known = {key for row in rows for key in row}
        return [f"summary:{name}" for name in wanted if name in known]


def save_views(root: Path, results: Sequence[Result]) -> list[str]:
    """Make or update the view and the report of every scale among the results; returns their addresses. Raises
    Incomplete where W&B fails, and InputError where no run is in W&B."""
    studies = list(_studies(results))
    if not studies:
        raise InputError("W&B has no run of these results, so there is nothing to show; send them first: reer sync")
    saved, addresses = _read(root / FILE), list[str]()
    for study in studies:
        try:
            with wandb_calls():
                view, report = _save(study, saved.get(study.title))
        except TrackingFailed as error:
            raise Incomplete(f"W&B: {error}; run the same command again") from error
        saved[study.title] = Saved(view.url, report.id)
        addresses += [view.url, report.url]
    write_json(root / FILE, {title: asdict(entry) for title, entry in saved.items()})
    return addresses


def _studies(results: Sequence[Result]) -> Iterator[Study]:
    shown = set[str]()
    for of_scale in studies(compare(results)):
        comparison = of_scale.comparisons[0]
        folder = comparison.arms[0].result.folder
        first = Ledger(folder).current if folder else None
        if comparison.scale not in shown and first is not None and first.online and first.entity:
            shown.add(comparison.scale)
            yield Study(of_scale, first, claims_of(of_scale))


def _read(path: Path) -> dict[str, Saved]:
    try:
        return adapter(dict[str, Saved]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _save(study: Study, before: Saved | None) -> tuple[Workspace, Report]:
    view, report = _view(study, before), _report(study)
    view.save()
    if before is not None:
        report.id = before.report
    report.save()
    return view, report


def _view(study: Study, before: Saved | None) -> Workspace:
    """All runs by arm, with their seeds aggregated; the baseline and the columns of the scores are pinned."""
    import wandb_workspaces.workspaces as ws

    entity, project = study.first.entity or "", study.first.project
    new = ws.Workspace(name=study.title, entity=entity, project=project)
    view = ws.Workspace.from_url(before.view) if before else new
    view.sections = list(_sections(study))
    view.runset_settings = ws.RunsetSettings(
        filters=study.filter,
        groupby=[ws.Config("arm")],
        pinned_columns=study.columns(),
        baseline_run=study.first.id if study.comparison.arms[0].is_baseline else None,
    )
    return view


def _sections(study: Study) -> Iterator[Section]:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    scores: list[PanelTypes] = [
        _bars(f"{column}/{name}") for name in study.measures for column in ("score", "delta", "published_delta")
    ]
    yield ws.Section(name="scores", panels=scores, is_open=True)
    for name, metrics in CURVES.items():
        lines: list[PanelTypes] = [wr.LinePlot(title=m, x=f"{m.partition('/')[0]}/{_axis(m)}", y=[m]) for m in metrics]
        yield ws.Section(name=name, panels=lines, is_open=True)
    benchmarks = dict.fromkeys(name.partition("/")[0] for name in study.comparison.measures)
    judged: list[PanelTypes] = [
        wr.LinePlot(title=f"{b}: {m}", x=f"grade/{b}/done", y=[f"grade/{b}/{m}"])
        for b in benchmarks
        for m in ("score", "per_second", "in_flight", "usd")
    ]
    yield ws.Section(name="judge", panels=judged, is_open=False)
    yield ws.Section(name="cost", panels=[_bars(name) for name in COSTS], is_open=False)


def _axis(metric: str) -> str:
    return "step" if metric.startswith("train/") else "done"


def _bars(metric: str) -> BarPlot:
    """One bar for each arm: the mean of its seeds."""
    import wandb_workspaces.reports.v2 as wr

    by_arm = wr.Config("arm")
    return wr.BarPlot(title=metric, metrics=[wr.SummaryMetric(metric)], groupby=by_arm, groupby_aggfunc="mean")


def _report(study: Study) -> Report:
    """The table in words, then the charts over the same runs."""
    import wandb_workspaces.reports.v2.interface as wr

    entity, project = study.first.entity or "", study.first.project
    runs = wr.Runset(
        entity=entity,
        project=project,
        name=study.title,
        filters=study.filter,
        groupby=["config.arm"],
        pinned_columns=study.columns(),
    )
    bars: list[PanelTypes] = [_bars(f"{column}/{name}") for name in study.measures for column in ("score", "delta")]
    blocks = [
        wr.H1("Differences from the baseline"),
        wr.MarkdownBlock(markdown(study)),
        wr.H1("Claims"),
        wr.MarkdownBlock(claims_markdown(study.claims)),
        wr.H1("Contracts and confounds"),
        wr.MarkdownBlock(contracts_markdown(study.table)),
        wr.PanelGrid(runsets=[runs], panels=[*bars, *(_bars(name) for name in COSTS)]),
        wr.H1("What differs between the runs"),
        wr.PanelGrid(runsets=[runs], panels=[wr.RunComparer(diff_only="split")]),
    ]
    description = "Written by `reer sync --view`."
    return wr.Report(entity=entity, project=project, title=study.title, description=description, blocks=blocks)


def markdown(study: Study) -> str:
    """The rows as a Markdown table: each score with its difference, and the published difference beside ours."""
    head = ["arm", *(f"{name} | ours | p (Holm) | paper" for name in study.measures), "finding"]
    width = 2 + 4 * len(study.measures)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * width}"]
    for arm in study.table.arms:
        row = score_columns(study.table, arm)
        cells = [_text(row, f"{column}/{name}") for name in study.measures for column in _SHOWN]
        findings = [f"{name} {row[key]}" for name in study.measures if (key := f"finding/{name}") in row]
        lines.append(f"| {' | '.join([arm.label, *cells, ', '.join(findings)])} |")
    cautions = [f"- {in_markdown(text)}" for text in _notes(study)]
    return "\n".join([*lines, *(["", *cautions] if cautions else [])])


def _notes(study: Study) -> Iterator[str]:
    """How to read the table, and what limits the meaning of its numbers."""
    if over := study.of_scale.over_seeds:
        yield f"Means over seeds {', '.join(map(str, over.seeds))}"
    if shared := study.comparison.shared_overrides:
        yield formatting.shared_text(shared)
    if last := study.of_scale.comparisons[-1].over_seeds:
        yield from last.left_out
    yield from study.of_scale.cautions


def claims_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """The verdict on each claim, with the comparisons that it rests on."""
    if not verdicts:
        return "Nothing was compared, so no claim can be judged."
    lines = [f"{counted(verdicts)}. Undecided is no evidence against a claim.", ""]
    for verdict in verdicts:
        lines.append(f"- **{verdict.outcome}**: {in_markdown(verdict.says)}")
        lines += [f"  - {in_markdown(text)}" for text in reasons(verdict)]
    return "\n".join(lines)


def contracts_markdown(table: Comparison | SeedsComparison) -> str:
    """Whether each arm kept its contract, what was measured for it, and what else explains its differences."""
    lines = ["| arm | contract | measured | confounded by |", "|---|---|---|---|"]
    for arm in table.arms:
        if not arm.is_baseline:
            terms = "; ".join(map(str, arm.contract.terms)) or "–"
            cells = (arm.label, arm.contract_word, terms, confounded_by(arm))
            lines.append(f"| {' | '.join(map(in_markdown, cells))} |")
    return "\n".join(lines)


_SHOWN = ("score", "delta", "p_holm", "published_delta")


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, float | int):
        return "–"
    return f"{value:+.3g}" if "delta" in key else f"{value:.4g}"
