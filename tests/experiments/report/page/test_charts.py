"""Charts as inert inline SVG, and texts whose characters are all seen."""

import re

import pytest
from markupsafe import Markup

from experiments.report.page import charts
from experiments.report.page.scores import forest
from experiments.report.page.search import line_chart
from tests.fakes.html import parse

HOSTILE = '</title></svg><svg onload=alert(1)><script>alert(2)</script>"><img src=x onerror=alert(3)> & \u202egnp'


def drawn(name: str = "full", finding: str = "It falls.") -> str:
    rows: list[charts.Row] = [{"arm": name, "line": name, "x": x, "y": 1 / (x + 1)} for x in range(5)]
    return str(charts.figure(line_chart(rows, charts.colours_of([name]), "x", "y"), name, finding))


def test_a_chart_is_one_labelled_image_without_references() -> None:
    figure = drawn(finding="It falls from 1 to 0.2.")
    assert figure.count('role="img"') == 1
    assert 'aria-label="It falls from 1 to 0.2."' in figure
    assert not re.search(r"https?:|xmlns|href|url\(|<image|style=|class=\"mark", figure)


def test_text_in_a_chart_is_escaped_wherever_it_stands() -> None:
    parsed = parse(drawn(HOSTILE, HOSTILE))
    assert {tag for tag, _ in parsed.elements} <= {
        "figure",
        "figcaption",
        "b",
        "span",
        "svg",
        "g",
        "path",
        "line",
        "text",
    }
    assert not {name for _, attributes in parsed.elements for name in attributes if name.startswith("on")}
    assert parsed.text.count("<script>alert(2)</script>") == 2
    assert "\u202e" not in parsed.text


def test_differences_of_any_size_have_plain_labels() -> None:
    import altair as alt

    for largest, label in ((80.0, "+50"), (0.2, "+0.2")):
        data = alt.Data(values=[{"change": -largest}, {"change": largest}])
        chart = alt.Chart(data).mark_point().encode(x=alt.X("change:Q", axis=charts.change_axis()))
        found = re.findall(r">([+−]?[\d.e+]+)</text>", str(charts.figure(chart, "t", "f")))
        assert "0" in found
        assert label in found
        assert not [text for text in found if "e" in text]


def test_a_small_difference_is_not_labelled_as_none() -> None:
    changes = (0.00223, -0.00144, -13.8, 123.0)
    rows: list[charts.Row] = [
        {"arm": str(n), "mean": change, "low": change - 1, "high": change + 1, "finding": "undecided"}
        for n, change in enumerate(changes)
    ]
    text = parse(str(charts.figure(forest(rows, "points"), "t", "f"))).text
    for label in ("+0.00223", "−0.00144", "−13.8", "+123"):
        assert label in text


def test_arms_stand_in_their_order_also_where_one_has_no_interval() -> None:
    rows: list[charts.Row] = [
        {"arm": arm, "mean": 0.5, "low": low, "high": low and 1.0, "finding": "undecided", "from": None, "to": None}
        for arm, low in (("zeta", 0.1), ("mid", None), ("alpha", 0.2))
    ]
    text = parse(str(charts.figure(forest(rows, "points"), "t", "f"))).text
    assert text.index("zeta") < text.index("mid") < text.index("alpha")


def test_a_chart_fits_a_phone() -> None:
    width = re.search(r'<svg[^>]* width="([\d.]+)"', drawn())
    assert width is not None
    assert float(width[1]) <= 390 - 2 * 16


def test_every_colour_has_a_dark_variant() -> None:
    rules = charts.dark_rules()
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', drawn()))
    assert used
    assert all(f'="{colour}"]' in rules for colour in used)


def test_arms_keep_their_colours_in_all_charts() -> None:
    names = [f"arm{i}" for i in range(10)]
    colours = charts.colours_of(names)
    assert len(set(colours.values())) == len(charts.ARMS)
    assert charts.colours_of(names[:3]) == {name: colours[name] for name in names[:3]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n文", "plain\ttext\n文"),
        ("a\u202eb\x00c", "a[202e]b[0]c"),
        ("\ud800", "[d800]"),
        (Markup("<b>\u202e</b>"), "<b>\u202e</b>"),
        (3, 3),
    ],
)
def test_characters_that_are_not_seen_are_shown_by_their_number(text: object, shown: object) -> None:
    assert charts.visible(text) == shown


def test_long_lines_are_thinned_to_their_ends() -> None:
    line = [(float(x), 0.0) for x in range(1001)]
    thin = charts.thinned(line)
    assert len(thin) <= charts.POINTS + 1
    assert (thin[0], thin[-1]) == (line[0], line[-1])
    assert charts.thinned(line[:5]) == line[:5]
