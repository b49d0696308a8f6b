"""Arms side by side as a self-contained HTML page.

Model text is hostile: everything is escaped, and the page forbids scripts and outside resources.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.report.compare import Comparison
from experiments.report.formatting import EQUIVALENCE
from experiments.report.page.views import view_of
from experiments.store.runs import Result

TEMPLATE = Path(__file__).parent / "page.html.j2"


def report_name(results: Sequence[Result]) -> str:
    """The file name of the page of these runs."""
    return "report.html" if len(results) > 1 else f"report-{results[0].run_name.replace('/', '-')}.html"


def write_html(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Write the page of these comparisons; returns its path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    views = [view_of(comparison) for comparison in comparisons]
    page = environment.get_template(TEMPLATE.name).render(views=views, equivalence=EQUIVALENCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
