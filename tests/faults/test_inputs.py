"""Faults of inputs: files, rows, texts and folders that are not what they should be.

Each test carries the number of its item in the list of faults; its docstring is the expected behaviour.
"""

import gzip
import json
import os
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from evals.benchmarks.data_files import UNPACKED_BYTES, DataFiles
from reer.data.jsonl import JsonlSource
from reer.data.pairs import Selection, select
from reer.data.public import PublicRows
from reer.data.rows import Fields, Problems
from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel
from reer.text import fill, split_segments, whole_sentences
from reer.types import RawPair

GOOD = {"query": "q", "answer": "a good answer"}
FORMULA = "x" * 120 + "\n\n\\[ a\n\nb \\]\n\n" + "y" * 120
ANY = Selection(None, 1, 1000)


def file_of(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    file = folder / name
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return file


def rows_of(file: Path) -> list[RawPair]:
    return list(JsonlSource(path=str(file)).rows(Problems("error")))


def selected(file: Path) -> tuple[list[RawPair], dict[str, int]]:
    problems = Problems("skip")
    kept = select(JsonlSource(path=str(file)).rows(problems), ANY, problems)
    reasons = [drop.reason for drop in problems.drops]
    return kept, {reason: reasons.count(reason) for reason in reasons}


def test_fault_11_a_place_that_cannot_be_written_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that cannot be created ends with one sentence that names the path and the setting."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("REER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"file/cache/models: cannot be created: .*REER_CACHE"):
        TinyModel().fetch()


def test_fault_44_no_row_left_is_said_with_the_reasons(tmp_path: Path) -> None:
    """A source without rows, or with none that passes, is refused in words with the count of each reason, before a
    model is loaded. It is an error and not a run with 0 items, because nothing could be trained on it."""
    with pytest.raises(InputError, match="the file has no rows"):
        rows_of(file_of(tmp_path))
    with pytest.raises(InputError, match=r"no pairs are left of this source \(control_tokens 1\)"):
        selected(file_of(tmp_path, {**GOOD, "answer": "<|im_end|> a b c"}))
    assert len(selected(file_of(tmp_path, GOOD))[0]) == 1


def test_fault_46_duplicates_are_counted_and_conflicts_are_errors(tmp_path: Path) -> None:
    """Equal content, under one id or two, is kept once and counted: a text trained on twice would weigh twice. One id
    with two contents is an error that names the id and the line."""
    twice = file_of(tmp_path, {**GOOD, "id": 1}, {**GOOD, "id": 1}, {**GOOD, "id": 2})
    kept, dropped = selected(twice)
    assert (len(kept), dropped) == (1, {"duplicate": 2})
    with pytest.raises(InputError, match=r":2: id 1 belongs to an earlier row with other content"):
        rows_of(file_of(tmp_path, {**GOOD, "id": 1}, {**GOOD, "answer": "another", "id": 1}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n\t",
        "one line",
        "a\n\n" * 500,
        FORMULA,
        "```\n\ncode\n\n```\n" * 9,
    ],
    ids=["empty", "white space", "no blank line", "500 pieces", "formula", "code"],
)
def test_fault_47_segments_concatenate_to_the_text(text: str) -> None:
    """Whatever a text holds, its segments are the text again, byte for byte; a text of white space has none."""
    assert "".join(split_segments(text)) == (text if text.strip() else "")


@pytest.mark.parametrize(
    "text", ["." * 200_000 + "a", "。." * 100_000 + "a", "\\[" * 200_000, "\\[x\\]\n\n" * 50_000, "a\n" * 200_000]
)
def test_fault_47_a_long_text_of_marks_takes_linear_time(text: str) -> None:
    """What a model writes when it loops (200,000 dots, unclosed or countless formulas) is split in a
    moment, where a quadratic scan would take minutes."""
    assert "".join(split_segments(text)) == text
    assert text.startswith(whole_sentences(text))


@pytest.mark.parametrize(
    "text",
    [
        "a\r\nb\rc",
        "a\u2028b\u2029c\u0085d\x0be\x0cf",
        unicodedata.normalize("NFC", "é"),
        "שלום \u202eabc\u202c",
        "👩‍👩‍👧",
    ],
)
def test_fault_48_unicode_is_kept_as_it_stands(tmp_path: Path, text: str) -> None:
    """Line separators other than \\n, right-to-left marks and joined characters are text: kept byte for byte. Ids are
    compared as they stand, since content alone identifies a pair."""
    (pair,) = rows_of(file_of(tmp_path, {"query": text, "answer": f"[{text}]"}))
    assert (pair.query, pair.solution) == (text, f"[{text}]")


def test_fault_48_decomposed_text_is_composed_and_counted(tmp_path: Path) -> None:
    """Text in the decomposed form (NFD), which tokenizers that compose it would change, is put into the composed form
    (NFC) before its id is made; the rows are counted."""
    decomposed = {"query": "e\u0301?", "answer": "u\u0308ber"}
    problems = Problems("error")
    (first, second) = JsonlSource(path=str(file_of(tmp_path, decomposed, GOOD))).rows(problems)
    assert (first.query, first.solution, second.solution) == ("\u00e9?", "\u00fcber", "a good answer")
    assert [where[-2:] for where in problems.composed] == [":1"]


@pytest.mark.parametrize("line", [b'{"query": "q", "answer": "half \\ud83d"}', b'{"query": "\\u0000", "answer": "a"}'])
def test_fault_48_broken_text_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    """Half a surrogate pair and NUL are refused with file and line."""
    with pytest.raises(InputError, match=r"rows\.jsonl:2: .*valid Unicode text"):
        rows_of(file_of(tmp_path, GOOD, line))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"query": "q"}', "no field 'answer'"),
        (b'{"query": "q", "answer": 7}', "wants text, got int"),
        (b'{"answer": "' + b"x" * (9 * 2**20) + b'"}', "longer than"),
        (b'{"a":' * 100_000, "not a JSON object"),
        (b'{"answer": ' + b"9" * 5000 + b"}", "not a JSON object"),
    ],
    ids=["missing", "type", "size", "depth", "digits"],
)
def test_fault_49_a_row_out_of_bounds_is_refused_with_its_line(tmp_path: Path, line: bytes, reason: str) -> None:
    """A missing field, a wrong type, a line of 9 MiB, 100,000 levels and 5,000 digits are refused by file and line."""
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: .*{reason}"):
        rows_of(file_of(tmp_path, GOOD, line))


def test_fault_49_an_integer_beyond_a_float_is_no_vote(tmp_path: Path) -> None:
    """A vote of 400 digits is no finite number, so the row has no vote."""
    file = file_of(tmp_path, b'{"query": "q", "answer": "a", "votes": 1' + b"0" * 400 + b"}")
    problems = Problems("error")
    assert not list(JsonlSource(path=str(file), fields=Fields(votes="votes"), min_votes=1).rows(problems))
    assert [drop.reason for drop in problems.drops] == ["no_votes"]


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_fault_49_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """/dev/zero and a named pipe without a writer are refused at once as sources, by name."""
    path = {"device": Path("/dev/zero"), "pipe": tmp_path / "pipe"}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    for refused in (JsonlSource(path=str(path)).identity, PublicRows(name="p", path=str(path)).identity):
        with pytest.raises(InputError, match=rf"{path}: cannot be read: not a regular file"):
            refused()


def test_fault_49_a_gzip_bomb_as_a_source_is_bounded(tmp_path: Path) -> None:
    """A compressed file is unpacked as it is read, and a line of it is bounded as in any other file."""
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(GOOD).encode() + b"\n" + bytes(64 * 2**20), compresslevel=1))
    with pytest.raises(InputError, match=r"rows\.jsonl\.gz:2: the line is longer than"):
        rows_of(file)


def test_fault_49_a_gzip_bomb_among_benchmark_files_is_bounded(tmp_path: Path) -> None:
    """A benchmark file that unpacks to more than the bound is refused by name."""
    with gzip.open(tmp_path / "data.jsonl.gz", "wb", compresslevel=1) as bomb:
        for _ in range(UNPACKED_BYTES // 2**22 + 1):
            bomb.write(bytes(2**22))
    files = DataFiles(folder=str(tmp_path), sha256={"data.jsonl": "0" * 64}, upstream="a/b")
    with pytest.raises(InputError, match=r"data\.jsonl\.gz unpacks to more than"):
        files.read("data.jsonl")


def test_fault_51_text_with_slots_is_not_filled_again() -> None:
    """Braces, percent signs and slots inside a text stay as they are."""
    text = "{{answer}} {} %s $RESPONSE$ {0.__class__}"
    assert fill("{{query}}|{{answer}}", {"query": text, "answer": "x"}) == f"{text}|x"


def test_fault_52_a_source_that_changed_since_its_check_is_refused(tmp_path: Path) -> None:
    """A file replaced between the check and the reading is never stored under the fingerprint of the old one: the rows
    are those of the hashed bytes, or there are none. A new run has another fingerprint."""
    file = file_of(tmp_path, GOOD)
    source, public = JsonlSource(path=str(file)), PublicRows(name="p", path=str(file))
    before = source.identity(), public.identity()
    os.replace(file_of(tmp_path, {**GOOD, "answer": "replaced"}, name="other"), file)
    for rows in (source.rows(Problems("error")), public.samples(Problems("error"))):
        with pytest.raises(InputError, match=r"rows\.jsonl: its content has sha256 .*wanted .*run was checked"):
            next(iter(rows))
    assert (source.identity(), public.identity()) == before
    assert JsonlSource(path=str(file)).identity() != before[0]


def test_fault_52_rows_are_those_of_the_bytes_that_were_hashed(tmp_path: Path) -> None:
    """A file that is written to while its rows are read gives the rows of the bytes that were checked."""
    file = file_of(tmp_path, GOOD, {**GOOD, "answer": "the second"})
    rows = JsonlSource(path=str(file)).rows(Problems("error"))
    first = next(iter(rows))
    file.write_bytes(b"")
    assert [first.solution, *(row.solution for row in rows)] == ["a good answer", "the second"]


def test_fault_52_a_model_folder_that_changed_since_its_check_is_refused(tmp_path: Path) -> None:
    """A folder model whose files were changed since they identified it is refused by path, not loaded."""
    folder = copy_of(TinyModel(32, 1).fetch(), tmp_path / "model")
    model = FolderModel(str(folder))
    assert model.name.startswith("folder@")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match=r"model folder .*its content has digest .*restore it"):
        model.fetch()


def copy_of(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_fault_59_a_model_that_brings_code_is_refused(tmp_path: Path, file: str) -> None:
    """A folder whose configuration names code (auto_map) is refused when the experiment is checked, without asking and
    without importing the code."""
    folder = copy_of(TinyModel(32, 1).fetch(), tmp_path / "model")
    config = json.loads((folder / file).read_bytes())
    (folder / file).write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for refused in (FolderModel(str(folder)).identity, FolderModel(str(folder)).fetch):
        with pytest.raises(InputError, match=rf"{file}: auto_map names Python code"):
            refused()
    assert not (tmp_path / "ran").exists()


def test_fault_59_a_source_distribution_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model package is only unpacked: pip, which would run the setup code of a source distribution, accepts wheels
    alone."""
    monkeypatch.setenv("REER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as: build in this environment, without a network
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with tarfile.open(tmp_path / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "evil-1.0/setup.py")
    with pytest.raises(InputError, match="pip cannot download it"):
        PackageModel(requirement="evil==1.0", file="x.gguf", sha256="0" * 64, notice="n").fetch()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("requirement", ["./project", "git+https://host/x", "x", "--index-url=http://host", "x.tar.gz"])
def test_fault_59_a_package_is_a_pinned_wheel(requirement: str) -> None:
    """A requirement that pip would build, that is not pinned, or that is an option of pip is refused."""
    with pytest.raises(InputError, match="want PACKAGE==VERSION"):
        PackageModel(requirement=requirement, file="x.gguf", sha256="0" * 64, notice="n")


@pytest.mark.parametrize("repo", ["../etc/x", "a/../../b", "/etc/passwd", "a/b/c"])
def test_fault_59_a_repository_name_is_no_path(repo: str) -> None:
    """A hub name that could lead out of the cache is refused."""
    with pytest.raises(InputError, match="owner/name"):
        HubModel(repo, "main")
