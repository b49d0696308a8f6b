"""Comparisons as JSON, CSV, Markdown and LaTeX, and the origin of a number."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from experiments.report.compare import compare
from experiments.report.exports.tables import FORMS, CellRow, in_latex, in_markdown, render, tables_of
from experiments.report.exports.where import where
from experiments.store.provenance import provenance
from experiments.store.records import InputBuild, Record, digest_of, digests, write_record
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from reer.errors import InputError
from tests.fakes.commands import reer
from tests.fakes.results import GRADE, generated, graded, step, varied

HOSTILE = r"no_50%&$#{}~^\|<b>`*"


def arms(root: Path, *names: str, seeds: Sequence[int] = (0,)) -> list[Result]:
    return [graded(root, name, varied(0.5 * n, 0.5 * n), seed) for seed in seeds for n, name in enumerate(names)]


def test_json_holds_what_the_comparison_found(tmp_path: Path) -> None:
    (comparison,) = compare(arms(tmp_path, "full", "arm"))
    (data,) = json.loads(render([comparison], "json"))
    assert (data["scale"], data["seeds"], data["baseline"]) == ("smoke", [0], "full")
    assert [arm["arm"] for arm in data["arms"]] == ["full", "arm"]
    difference = comparison.arms[1].cells["writing/quality"].difference
    assert difference is not None
    cell = data["cells"][1]
    assert (cell["delta"], cell["delta_low"], cell["p_holm"], cell["finding"]) == (
        difference.mean,
        difference.low,
        difference.p_holm,
        "different",
    )
    assert (cell["scored"], cell["total"], cell["family"]) == (40, 40, 1)
    assert data["cells"][0]["delta"] is None
    assert data == json.loads(json.dumps([asdict(table) for table in tables_of([comparison])]))[0]


def test_tables_for_a_paper_say_once_what_all_arms_share(tmp_path: Path) -> None:
    comparisons = compare(arms(tmp_path, "full+source=jsonl", "other+source=jsonl"))
    for form in ("markdown", "latex"):
        text = FORMS[form](tables_of(comparisons))
        assert text.count("source=jsonl") == 1
        assert "full (baseline)" in text or "\nfull & " in text
        assert "Differences from full:" in text
    rows = list(csv.DictReader(io.StringIO(render(comparisons, "csv"))))
    assert [(row["arm"], row["label"]) for row in rows] == [
        ("full+source=jsonl", "full"),
        ("other+source=jsonl", "other"),
    ]


def test_csv_has_a_line_for_each_arm_and_measure_over_seeds_first(tmp_path: Path) -> None:
    text = render(compare(arms(tmp_path, "full", 'a "quoted", arm', seeds=(0, 1))), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [*CellRow.__dataclass_fields__]
    assert [(row["seeds"], row["arm"]) for row in rows] == [
        (seeds, arm) for seeds in ("0 1", "0", "1") for arm in ("full", 'a "quoted", arm')
    ]
    assert float(rows[1]["score_sd"]) >= 0
    assert len(rows[1]["digests"].split()) == 2
    assert [(row["scored"], row["total"]) for row in rows[::2]] == [("80", "80"), ("40", "40"), ("40", "40")]
    assert rows[0]["delta"] == ""


def test_a_card_has_a_digest_for_each_number_and_shows_seeds_once(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "arm", seeds=(0, 1))
    card = render(compare(runs), "markdown")
    assert card.count("## smoke, seeds 0, 1") == 1
    assert "## smoke, seed 0" not in card
    for run in runs:
        assert digest_of(run.steps[GRADE].path / "scores.json").sha256[:10] in card
    lines = [line for line in card.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, "all rows have the same columns"
    assert lines[0] == "| arm | score | scored | difference, 95 % | p (Holm) | finding | digest |", (
        "no paper's value here"
    )
    assert all("| 80/80 |" in line for line in lines[2:])
    assert "corrected by Holm's method for 1 test" in card
    assert "- arm: not comparable: trained on the tokens of the baseline" in card


def test_a_latex_table_is_balanced_and_splits_many_measures(tmp_path: Path) -> None:
    (data,) = tables_of(compare(arms(tmp_path, "full", "no_arm")))
    names = [f"bench/m_{n}" for n in range(5)]
    wide = replace(data, cells=tuple(replace(cell, measure=name) for name in names for cell in data.cells))
    text = FORMS["latex"]([wide])
    assert text.count(r"\begin{tabular}{lrlrlrl}") == text.count(r"\begin{tabular}{lrlrl}") == 1
    assert text.count(r"\begin") == text.count(r"\end")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    rows = [line for line in text.splitlines() if line.startswith("no\\_arm")]
    assert [line.count(" & ") for line in rows] == [6, 4]
    assert "$+$0.487 [$+$0.352, $+$0.622]*" in rows[0]


@pytest.mark.parametrize("form", FORMS)
def test_hostile_names_and_cautions_break_no_form(tmp_path: Path, form: str) -> None:
    run = replace(graded(tmp_path, "full", varied(0)), name=HOSTILE, caution=f"first\n\n{HOSTILE}")
    text = FORMS[form](tables_of(compare([run])))  # type: ignore[index]
    if form == "latex":
        unescaped = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}", "", text.partition(r"\caption{")[2].partition("\n")[0])
        assert not set(r"&%$#_~^\<>|") & set(unescaped)
    if form == "markdown":
        assert "\n\nfirst no" in text
        (row,) = [line for line in text.splitlines() if line.startswith("| no")]
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, (
            "arm, score, scored and digest: there is nothing to compare with"
        )
    if form == "json":
        assert json.loads(text)[0]["arms"][0]["arm"] == HOSTILE
    if form == "csv":
        assert next(csv.DictReader(io.StringIO(text)))["arm"] == HOSTILE


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_sets_the_table_of_hostile_names(tmp_path: Path) -> None:
    run = replace(graded(tmp_path, "full", varied(0)), name=HOSTILE)
    text = FORMS["latex"](tables_of(compare([run, graded(tmp_path, "no_arm", varied(1))])))
    page = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\\end{document}\n"
    (tmp_path / "page.tex").write_text(page % text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "page.pdf").is_file()


def test_escaping_is_complete() -> None:
    assert in_latex("a_b & 5% \\ ~ ^ {x} $ # < > |") == (
        r"a\_b \& 5\% \textbackslash{} \textasciitilde{} \textasciicircum{} \{x\} \$ \# \textless{} \textgreater{} "
        r"\textbar{}"
    )
    assert in_markdown("a|b\nc `d` *e* <f> \\") == r"a\|b c \`d\` \*e\* \<f> \\"


def origin(root: Path) -> Result:
    """A graded run whose answers are a stage result of their own; one more stage has no part in its score."""
    run = graded(root, "full", varied(0))
    steps = dict(run.steps)
    inputs = {"generate": {}, "unused": {}, "grade": {"answers": InputBuild("generate-f", "b")}}
    for stage, builds in inputs.items():
        folder = root / "store" / stage / f"writing-{stage}-f"
        folder.mkdir(parents=True)
        if stage == "grade":
            (folder / "scores.json").write_text((run.steps[GRADE].path / "scores.json").read_text())
        (folder / "rows.jsonl").write_text("")
        record = Record(
            stage=stage,
            fingerprint=f"{stage}-f",
            build="b",
            identity={},
            inputs=builds,
            metrics={},
            files=digests(folder),
            seconds=1.5,
            provenance=provenance(),
        )
        write_record(folder, record)
        metrics = run.steps[GRADE].metrics if stage == "grade" else step(generated(0)).metrics
        steps[StepName(stage, "writing")] = StepResult(f"{stage}-f", "b", folder, metrics)
    judge = {"kind": "Judge", "name": "a-judge", "temperature": 0.5}
    steps = {name: steps[name] for name in (StepName("generate", "writing"), StepName("unused", "writing"), GRADE)}
    return replace(run, steps=steps, identity={**run.identity, "judge": judge}, folder=root / "runs/full/smoke/s0")


def test_where_says_what_made_a_number(tmp_path: Path) -> None:
    (source,) = where([origin(tmp_path)], ["full/smoke/s0", "writing/quality"], tmp_path)
    assert [(o.step, o.folder, o.build) for o in source.origins] == [
        ("generate:writing", "store/generate/writing-generate-f", "b"),
        ("grade:writing", "store/grade/writing-grade-f", "b"),
    ]
    assert [(m.value, m.scored, m.total) for m in source.measures] == [(6.5, 40, 40)]
    assert source.judge["name"] == "a-judge"
    assert source.files == (
        "store/grade/writing-grade-f/scores.json",
        "store/grade/writing-grade-f/rows.jsonl",
        "store/generate/writing-generate-f/rows.jsonl",
    )
    assert source.command == f"reer rerun full/smoke/s0 --root {tmp_path}"
    assert source.origins[0].provenance == provenance()


def test_a_digest_of_the_card_leads_to_its_number(tmp_path: Path) -> None:
    run = origin(tmp_path)
    (digest,) = tables_of(compare([run]))[0].cells[0].digests
    assert [source.run for source in where([run], [digest], tmp_path)] == ["full/smoke/s0"]
    with pytest.raises(InputError, match="no finished run here has a file of scores with the digest 0000000000"):
        where([run], ["0" * 10], tmp_path)


def test_a_cell_that_does_not_exist_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    run = origin(tmp_path)
    with pytest.raises(InputError, match="did you mean writing/quality"):
        where([run], ["full", "writing/qualty"], tmp_path)
    with pytest.raises(InputError, match="no run with a current result is called 'ful'; did you mean full"):
        where([run], ["ful", "writing/quality"], tmp_path)
    for cell in (["full"], ["full", "writing/quality", "more"]):
        with pytest.raises(InputError, match="want RUN MEASURE"):
            where([run], cell, tmp_path)


def test_options_that_ask_for_two_forms_or_an_unknown_one_are_refused(tmp_path: Path) -> None:
    two = reer(tmp_path, "compare", "--json", "--csv")
    assert (two.code, two.out) == (2, "")
    assert "--json and --csv: want one of them" in two.text
    unknown = reer(tmp_path, "table", "--out", str(tmp_path / "table.docx"))
    assert unknown.code == 2
    assert "want a file that ends in .md, .tex, .csv, .json" in unknown.text
    for seeds in ("0,x", "", "-1"):
        assert reer(tmp_path, "compare", f"--seed={seeds}").code == 2
    assert "--seed 0,x: 'x' is no seed; want numbers such as 0 or 0,1" in reer(tmp_path, "table", "--seed=0,x").text
