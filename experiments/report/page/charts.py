"""How charts look, and how they become SVG: one theme for all, rendered when the page is written, without a script.

A colour is written as its light variant, which the page's style replaces in dark mode.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from markupsafe import Markup

if TYPE_CHECKING:
    import altair as alt

WIDTH = 352  # pixels, axis labels included: a phone's width
ROW = 26  # pixels of an arm on a vertical axis
POINTS = 200  # of a line; longer ones are thinned evenly


class Ink(NamedTuple):
    """A colour on a light and on a dark page."""

    light: str
    dark: str


TEXT, SOFT, GRID = Ink("#1b2029", "#e7e9ee"), Ink("#5d6675", "#a2abba"), Ink("#dde1e8", "#343b47")
ACCENT, WORSE = Ink("#2359a8", "#82b1ff"), Ink("#b5401b", "#ff9d73")
PALE = Ink("#b9c6da", "#4a5b78")
ARMS = (
    Ink("#3b4252", "#d5dae3"),
    Ink("#c8473f", "#ff8a80"),
    Ink("#2b7bba", "#6cb8f5"),
    Ink("#b27a00", "#f0bd4e"),
    Ink("#7a4fb0", "#c4a1f5"),
    Ink("#2e8b57", "#6fd39b"),
    Ink("#c2417f", "#f58fc0"),
    Ink("#5b7f8a", "#9cc4d0"),
)
INKS = (TEXT, SOFT, GRID, ACCENT, WORSE, PALE, *ARMS)
ATTRIBUTES = ("fill", "stroke")

KEPT = {
    "d",
    "transform",
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "width",
    "height",
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "opacity",
    "text-anchor",
    "font-size",
    "font-weight",
}
"""Attributes of SVG that draw; the others, such as those that refer to something, are left out."""
UNDRAWN = ("", "M0,0h0v0h0Z")  # paths of marks and groups that show nothing

Row = Mapping[str, str | float | int | bool | None]
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that are not seen, or that reorder the text around them, and halves of characters."""
Shown = TypeVar("Shown")


def visible(value: Shown) -> Shown | str:
    """A text with its unseen characters as their numbers, such as `[202e]`; markup and other values as they are."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return UNSEEN.sub(lambda found: f"[{ord(found[0]):x}]", value)


def colours_of(arms: Sequence[str]) -> dict[str, str]:
    """The colour of each arm, the same in all charts."""
    return {name: ARMS[i % len(ARMS)].light for i, name in enumerate(arms)}


def dark_rules() -> Markup:
    """CSS that gives every colour of the charts its dark variant."""
    rules = (f'[{where}="{ink.light}"]{{{where}:{ink.dark}}}' for ink in INKS for where in ATTRIBUTES)
    return Markup("\n".join((*rules, *(f".arm{i}{{--arm:{ink.dark}}}" for i, ink in enumerate(ARMS)))))


def light_rules() -> Markup:
    """CSS of the colours of arms outside the charts."""
    return Markup("\n".join(f".arm{i}{{--arm:{ink.light}}}" for i, ink in enumerate(ARMS)))


def data(rows: Sequence[Row]) -> alt.Data:
    """Rows as a chart's own data."""
    import altair as alt

    return alt.Data(values=[{key: visible(value) for key, value in row.items()} for row in rows])


def arm_colour(colours: Mapping[str, str], field: str = "arm") -> alt.Color:
    """Marks in the colours of their arms; the page has one legend for all charts."""
    import altair as alt

    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most `POINTS` of these points at even distances, the last among them."""
    step = -(-len(points) // POINTS)
    return points if step <= 1 else [*points[:-1:step], points[-1]]


def layered(layers: Sequence[alt.Chart], height: float | alt.Step) -> alt.LayerChart:
    """Charts on top of one another, with one pair of axes."""
    import altair as alt

    return alt.LayerChart(layer=[*layers], height=height)


def in_order(rows: Sequence[Row], field: str) -> alt.Y:
    """A line of the chart for each value of a field, in the order of the rows, also of those that some layer lacks."""
    import altair as alt

    return alt.Y(f"{field}:N", sort=list(dict.fromkeys(str(row[field]) for row in rows)), title=None)


def whole_axis(rows: Sequence[Row], field: str = "x") -> alt.Axis:
    """An axis of whole numbers, with at most seven labels."""
    import altair as alt

    values = [int(value) for row in rows if isinstance(value := row[field], int | float)]
    first, last = min(values), max(values)
    return alt.Axis(grid=False, format="d", values=list(range(first, last + 1, -(-(last - first + 1) // 7))))


def change_axis() -> alt.Axis:
    """An axis of differences, with signs."""
    import altair as alt

    return alt.Axis(labelExpr="datum.value === 0 ? '0' : format(datum.value, '+~g')")


def figure(chart: alt.Chart | alt.LayerChart, title: str, finding: str) -> Markup:
    """A chart as a figure: the title, what the chart shows in words (which is also its text for screen readers), and
    the SVG, whose text and attributes are escaped."""
    import vl_convert

    spec = chart.properties(width=WIDTH, autosize=_fit()).to_dict(validate=False)  # a third of the time
    svg = vl_convert.vegalite_to_svg(spec, config=_config(), allowed_base_urls=[])
    return _figure(_inline(svg, finding), title, finding)


def _figure(svg: Markup, title: str, finding: str) -> Markup:
    caption = Markup("<figcaption><b>{}</b><span>{}</span></figcaption>").format(visible(title), visible(finding))
    return Markup("<figure>{}{}</figure>").format(caption, svg)


def _inline(svg: str, label: str) -> Markup:
    """The SVG of vl-convert as part of an HTML page: shapes and texts alone, and one label for the whole."""
    root = ElementTree.fromstring(svg)
    size = {name: root.attrib[name] for name in ("viewBox", "width", "height")}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name: value for name, value in element.attrib.items() if name in KEPT}
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag == "path" and c.get("d") in UNDRAWN]:
            parent.remove(child)
    root.attrib = {"class": "chart", "role": "img", "aria-label": str(visible(label)), **size}
    return Markup(ElementTree.tostring(root, encoding="unicode", method="html"))


def _fit() -> alt.AutoSizeParams:
    import altair as alt

    return alt.AutoSizeParams(type="fit-x", contains="padding")


def _config() -> dict[str, object]:
    """The theme, as Vega-Lite's own configuration."""
    font = "Helvetica, Arial, sans-serif"
    axis = {
        "labelColor": SOFT.light,
        "titleColor": SOFT.light,
        "gridColor": GRID.light,
        "domain": False,
        "ticks": False,
        "labelFont": font,
        "titleFont": font,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelPadding": 6,
        "titlePadding": 8,
        "tickCount": 5,
        "labelLimit": 150,
        "labelFlush": False,
    }
    return {
        "background": None,
        "font": font,
        "padding": {"left": 0, "right": 6, "top": 6, "bottom": 2},
        "view": {"stroke": None},
        "axis": axis,
        "text": {"color": TEXT.light, "fontSize": 11},
        "line": {"strokeWidth": 1.8},
        "rule": {"color": SOFT.light},
        "point": {"filled": True, "size": 50, "opacity": 1},
    }
