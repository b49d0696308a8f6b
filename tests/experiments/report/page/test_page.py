"""The page of the six arms: whole, self-contained, inert against hostile text, and right in a browser."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.report.compare import compare
from experiments.report.page.page import write_html
from experiments.store.records import digests, read_record, write_record
from experiments.store.runs import all_results
from tests.conftest import ARMS
from tests.fakes.browser import CHROMIUM, seen
from tests.fakes.html import Page, parse

HOSTILE = (
    "</script></style><svg onload=alert(1)><img src=x onerror=alert(2)>"
    '<a href="javascript:alert(3)">" class="\' \u202e {{ 7*7 }}'
)
TEXTS = {"text", "thinking", "answer", "reply", "query", "solution", "category", "source"}  # fields of rows
LISTS = {"draft", "segments"}
WIDTHS = (390, 800, 1400)
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def written(root: Path, path: Path) -> Path:
    return write_html(compare(all_results(root / "runs")), path)


@pytest.fixture(scope="module")
def page(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(sweep, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def parsed(page: Path) -> Page:
    return parse(page.read_text(encoding="utf-8"))


def test_the_page_is_self_contained(page: Path, parsed: Page) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    assert not parsed.all("link")
    assert not parsed.all("img")
    assert not [attributes for _, attributes in parsed.elements if "src" in attributes or "style" in attributes]
    assert len(text.encode()) < 1_000_000


def test_the_policy_allows_the_pages_own_script_and_style_alone(page: Path, parsed: Page) -> None:
    (policy,) = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"(script|style)-src 'sha256-", policy) == ["style", "script"]
    assert len(parsed.all("script")) == len(parsed.all("style")) == 1


def test_every_section_is_there_and_every_link_leads_to_one(parsed: Page) -> None:
    anchors = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    links = {attributes["href"] for attributes in parsed.all("a")}
    assert links == {
        f"#study-0-{name}"
        for name in ("claims", "arms", "conditions", "origin", "stages", "search", "training", "prompts", "judge")
    }
    assert {link.removeprefix("#") for link in links} <= anchors


def test_the_page_opens_with_the_finding_and_its_limits(parsed: Page) -> None:
    assert "of 5 arms differ" in parsed.text
    assert "Scripted grades: they mean nothing." in parsed.text
    lead = ("claims supported", "of 5 arms differ", "How much this means", "Claims", "Arms")
    assert sorted(lead, key=parsed.text.index) == list(lead)


def test_the_contract_of_every_arm_is_shown_with_what_was_measured(parsed: Page) -> None:
    assert parsed.text.count("Contract: kept") == len(ARMS) - 1
    assert "refine.edits_accepted = 0 (measured: 0)" in parsed.text
    assert "control: the same arm with match=steps or match=tokens" in parsed.text


def test_every_chart_says_in_words_what_it_shows(parsed: Page) -> None:
    charts = [attributes for attributes in parsed.all("svg") if attributes.get("role") == "img"]
    assert len(charts) == len(parsed.all("svg")) >= 9
    assert all(len(chart["aria-label"]) > 20 for chart in charts)


def test_what_made_the_numbers_is_stated(sweep: Path, parsed: Page) -> None:
    for words in (
        "commit",
        "torch",
        "ScriptedModel",
        "BundledTexts",
        f"reer rerun no_literature_arts/smoke/s0 --root {sweep}",
    ):
        assert words in parsed.text, words
    assert "UTC" in parsed.text


def test_stages_that_arms_share_are_counted_once(parsed: Page) -> None:
    for words in ("1 for 5", "6 for 6", "sharing saved", "Planned:"):
        assert words in parsed.text, words


def test_every_prompt_is_there_with_the_answers_of_every_arm(parsed: Page) -> None:
    items = [attributes for attributes in parsed.all("details") if "data-order" in attributes]
    answers = parsed.all("article")
    assert len(items) == 14
    assert len(answers) == 14 * len(ARMS)
    assert {answer["data-arm"] for answer in answers} == set(map(str, range(len(ARMS))))
    assert "piano tuner" in parsed.text
    assert "umbrella whose broken ribs" in parsed.text


def test_prompts_come_worst_first_without_the_script(parsed: Page) -> None:
    items = [attributes for attributes in parsed.all("details") if "data-order" in attributes]
    means = [sum(float(item[f"data-change{arm}"]) for arm in range(1, len(ARMS))) for item in items]
    assert means == sorted(means)


def test_prompts_whose_benchmark_is_not_here_are_shown_without_their_text(arms: Path) -> None:
    for plan in arms.glob("runs/*/smoke/s0/plan.json"):
        content = json.loads(plan.read_text())
        content["benchmark"]["writing"]["items_limit"] = "many"
        plan.write_text(json.dumps(content))
    text = parse(written(arms, arms / "page.html").read_text(encoding="utf-8")).text
    assert "The prompts’ texts are left out: benchmark.writing.items_limit" in text
    assert "writing-01" in text
    assert "Planned:" not in text


def poisoned(root: Path) -> None:
    """Every text that a model or a source wrote becomes hostile; the records fit."""
    for file in root.glob("store/*/*/rows.jsonl"):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        file.write_text("".join(json.dumps(_hostile(row)) + "\n" for row in rows), encoding="utf-8")
        write_record(file.parent, replace(read_record(file.parent), files=digests(file.parent)))


def _hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hostile(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_hostile(inner, key) for inner in value]
    return HOSTILE + value if isinstance(value, str) and key in TEXTS | LISTS else value


@pytest.fixture(scope="module")
def hostile_page(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(sweep, tmp_path_factory.mktemp("hostile") / "out"))
    poisoned(root)
    return written(root, root / "page.html")


def test_hostile_text_in_every_field_is_text(hostile_page: Path) -> None:
    found = parse(hostile_page.read_text(encoding="utf-8"))
    assert len(found.all("script")) == len(found.all("style")) == 1
    assert not found.all("img")
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert all(attributes["href"].startswith("#study-") for attributes in found.all("a"))
    assert found.text.count("<svg onload=alert(1)>") > 14 * 2 * len(ARMS)
    assert "{{ 7*7 }}" in found.text
    assert "\u202e" not in found.text


LOOK = """
const at = (name, value) => { const c = page.querySelector(".controls"); c.elements[name].value = value;
  c.dispatchEvent(new Event("input")); };
const items = () => [...page.querySelectorAll(".item[data-order]")].filter((item) => !item.hidden);
at("arm", "2"); at("order", "best");
const best = items().map((item) => Number(item.dataset.change2));
const open = items()[0]; open.open = true;
const cards = [...open.querySelectorAll("article")].filter((card) => !card.hidden).map((card) => card.dataset.arm);
at("order", "score");
const scores = items().map((item) => Number(item.dataset.score));
at("find", "PIANO tuner");
const found = items().length;
at("find", ""); open.open = false;
return { width: page.documentElement.scrollWidth, screen: view.innerWidth, best, scores, cards, found,
  background: view.getComputedStyle(page.body).backgroundColor, font: view.getComputedStyle(page.body).fontSize,
  text: view.getComputedStyle(page.querySelector(".chart text")).fill };
"""


@in_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser_the_page_fits_sorts_and_finds_without_errors(page: Path, tmp_path: Path, dark: bool) -> None:
    reports, console = seen(page, WIDTHS, LOOK, dark=dark, screenshot=tmp_path / "page.png")
    assert console == []
    assert [report["screen"] for report in reports] == list(WIDTHS)
    for report in reports:
        assert report["width"] == report["screen"], "nothing overflows sideways"
        assert report["best"] == sorted(report["best"], reverse=True)
        assert report["scores"] == sorted(report["scores"])
        assert report["cards"] == ["0", "2"], "the baseline beside the chosen arm"
        assert report["found"] == 1
        assert (report["background"] == "rgb(20, 23, 29)") == dark
        assert (report["text"] == "rgb(93, 102, 117)") == (not dark), "charts follow the colour scheme"
    assert (tmp_path / "page.png").stat().st_size > 10_000


@in_chromium
def test_in_a_browser_hostile_text_does_nothing(hostile_page: Path, tmp_path: Path) -> None:
    look = "return page.querySelectorAll('script, img, a[href^=javascript]').length"
    reports, console = seen(hostile_page, [800], look, dark=False, screenshot=tmp_path / "page.png")
    assert reports == [1]
    assert console == []
