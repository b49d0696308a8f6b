"""Studies as one self-contained HTML page: nothing is loaded, and the only script sorts and filters prompts.

Model text is hostile: everything is escaped, control characters are made visible, and the page's policy allows no
script and no style but its own, named by their hashes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from experiments.report.claims.table import counted, reasons
from experiments.report.claims.verdicts import ClaimVerdict
from experiments.report.compare import Comparison
from experiments.report.formatting import EQUIVALENCE, shared_text
from experiments.report.page import charts
from experiments.report.page.conditions import ConditionsView, conditions_view
from experiments.report.page.items import BrowserView, browsers
from experiments.report.page.judging import JudgeView, judge_view
from experiments.report.page.origin import OriginView, origin_view
from experiments.report.page.scores import ScoresView, scores_view
from experiments.report.page.search import SearchesView, searches_view
from experiments.report.page.stages import StagesView, stages_view
from experiments.report.page.study import Study, claims_of, studies
from experiments.report.page.training import TrainingView, training_view
from experiments.store.runs import Result

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """One study as the template lays it out. `anchor` begins the anchors of its sections; there are no `claims` where
    nothing was compared."""

    anchor: str
    scale: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    shared_overrides: tuple[str, ...]
    claims: tuple[ClaimVerdict, ...]
    scores: ScoresView
    conditions: ConditionsView
    origin: OriginView
    stages: StagesView
    searches: SearchesView
    training: TrainingView
    browsers: tuple[BrowserView, ...]
    judge: JudgeView

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and name of the sections that the study has."""
        optional = [
            ("search", "search", self.searches.rows),
            ("training", "training", self.training.rows),
            ("prompts", "every prompt", self.browsers),
        ]
        claims = [("claims", "claims")] if self.claims else []
        head = [
            *claims,
            ("arms", "arms"),
            ("conditions", "what differs"),
            ("origin", "origin"),
            ("stages", "time and cost"),
        ]
        return [*head, *((anchor, name) for anchor, name, content in optional if content), ("judge", "judge")]


def report_name(results: Sequence[Result]) -> str:
    """The file name of the page of these runs."""
    return "report.html" if len(results) > 1 else f"report-{results[0].run_name.replace('/', '-')}.html"


def write_html(comparisons: Sequence[Comparison], path: Path, left_out: Sequence[str] = ()) -> Path:
    """Write the page of these comparisons; `left_out` says which other runs have no result, and why. Returns its
    path."""
    environment = _environment()
    style = environment.get_template("style.css.j2").render(light=charts.light_rules(), dark=charts.dark_rules())
    script = environment.get_template("browser.js.j2").render()
    page = environment.get_template("page.html.j2").render(
        studies=[_view(study, f"study-{number}") for number, study in enumerate(studies(comparisons))],
        left_out=left_out,
        equivalence=EQUIVALENCE,
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=charts.visible,
    )
    environment.globals |= {
        "colours": len(charts.ARMS),
        "counted": counted,
        "reasons": reasons,
        "shared_text": shared_text,
    }
    return environment


def _hash(content: str) -> str:
    """The hash by which the page's policy names its own style or script."""
    return b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _view(study: Study, anchor: str) -> StudyView:
    colours = charts.colours_of(study.arms)
    return StudyView(
        anchor=anchor,
        scale=study.scale,
        seeds=study.seeds,
        arms=study.arms,
        shared_overrides=study.comparisons[0].shared_overrides,
        claims=claims_of(study),
        scores=scores_view(study),
        conditions=conditions_view(study),
        origin=origin_view(study),
        stages=stages_view(study),
        searches=searches_view(study, colours),
        training=training_view(study, colours),
        browsers=tuple(browsers(study)),
        judge=judge_view(study),
    )
