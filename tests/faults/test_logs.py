"""Logs of model calls and judgements: torn, altered and foreign lines, failures, and other models."""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging.records import Judgement, Judgements, Question, judgement
from reer.errors import InputError
from reer.files import JsonObject
from reer.logs import AppendLog, Entry, damaged_lines, repair_log, seal
from reer.models.protocols import Completion, Nats, Passage, Prompt, Request, Sampling, StopReason
from reer.models.replay import ReplayedGenerator, ReplayedScorer, journal_for
from reer.types import Message
from tests.fakes.calls import completions, scores

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=10)
COUNT = 9


def entry(row: JsonObject) -> Entry:
    return Entry(row["key"], float(row["n"]))


def filled(folder: Path) -> tuple[Path, list[bytes]]:
    """A log of rows 0 to 8 that is not open any more: its file and the lines in it."""
    log = AppendLog(folder, entry)
    for n in range(COUNT):
        log.append({"key": f"{n + 1:032x}", "n": n, "text": "想\u2028" * 9})
    (file,) = folder.glob("*.jsonl")
    return file, file.read_bytes().splitlines(keepends=True)


def found(log: AppendLog) -> list[int]:
    """The numbers of the rows that a log gives."""
    rows = (log.get(f"{n + 1:032x}") for n in range(COUNT))
    return [row["n"] for row in rows if row is not None]


TAILS = {"cut": -9, "cut inside a character": -80, "cut at its start": 1}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("cut", TAILS.values(), ids=TAILS)
def test_fault_12_a_torn_last_line_is_left_out_counted_and_kept(
    tmp_path: Path, cut: int, indexed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A last line that was half written, also inside a character, is no data: it is left out, reported once with its
    file and count, and copied beside the file."""
    file, lines = filled(tmp_path)
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
    if not indexed:
        file.with_suffix(".index").unlink()
    for _ in range(3):
        assert found(AppendLog(tmp_path, entry)) == list(range(COUNT - 1))
    assert [message.partition(" ")[2] for message in caplog.messages] == [
        f"1 lines are damaged; they are left out, with a copy in {file.stem}.damaged"
    ]
    assert file.with_suffix(".damaged").read_bytes() == lines[-1][:cut] + b"\n"


def test_fault_12_zeros_at_the_end_are_left_out(tmp_path: Path) -> None:
    """A block of NUL bytes, as a power cut leaves it, costs no row."""
    file, lines = filled(tmp_path)
    file.write_bytes(b"".join(lines) + bytes(4096))
    file.with_suffix(".index").unlink()
    assert found(AppendLog(tmp_path, entry)) == list(range(COUNT))
    assert len(damaged_lines(file)) == 1


ALTERED = {
    "a digit": lambda line: line.replace(b'"n": 4', b'"n": 7'),
    "a bit": lambda line: line[:60] + bytes([line[60] ^ 1]) + line[61:],
    "no checksum": lambda line: json.dumps({"key": f"{5:032x}", "n": 4, "text": ""}).encode() + b"\n",
    "another line": lambda line: b"[]\n",
    "deep": lambda line: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("kind", ALTERED)
def test_fault_13_an_altered_line_costs_no_other(
    tmp_path: Path, kind: str, indexed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A line altered in the middle is never given out; the lines around it are. It is reported with its file, copied
    beside it, and gone from the file after the repair, which leaves all others as they were."""
    file, lines = filled(tmp_path)
    lines[4] = ALTERED[kind](lines[4])
    file.write_bytes(b"".join(lines))
    if not indexed:
        file.with_suffix(".index").unlink()
    others = [n for n in range(COUNT) if n != 4]
    assert found(AppendLog(tmp_path, entry)) == others
    assert sum("1 lines are damaged" in message and str(file) in message for message in caplog.messages) == 1
    assert file.with_suffix(".damaged").read_bytes() == lines[4]
    repair_log(file)
    assert file.read_bytes() == b"".join(lines[:4] + lines[5:])
    assert damaged_lines(file) == []
    assert found(AppendLog(tmp_path, entry)) == others


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2000), byte=st.integers(0, 255), cut=st.booleans(), indexed=st.booleans())
def test_fault_13_any_altered_byte_or_cut_costs_at_most_its_own_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: bool, indexed: bool
) -> None:
    """Whatever byte is altered and wherever the file is cut, every row that is given out is as it was written, and only
    the line that was hit (two, where the end of a line was hit) can be missing."""
    file, lines = filled(tmp_path_factory.mktemp("log"))
    whole = b"".join(lines)
    at %= len(whole)
    file.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
    if not indexed:
        file.with_suffix(".index").unlink()
    hit = whole[:at].count(b"\n")
    intact = range(hit) if cut else [n for n in range(COUNT) if n not in (hit, hit + 1)]
    rows = found(AppendLog(file.parent, entry))
    assert set(intact) <= set(rows) <= set(range(COUNT))


def test_fault_13_an_altered_index_changes_no_amount(tmp_path: Path) -> None:
    """The amounts in an index, which a budget is compared with, are believed only under their checksum."""
    file, _ = filled(tmp_path)
    index = file.with_suffix(".index")
    content = bytearray(index.read_bytes())
    for at in range(len(content)):
        content[at] ^= 1
        index.write_bytes(content)
        log = AppendLog(tmp_path, entry)
        assert (len(log), log.amount) == (COUNT, sum(range(COUNT)))
        content[at] ^= 1


@pytest.mark.parametrize("content", [b"", b"\n", bytes(64), b"{}\n"])
def test_fault_14_an_entry_that_holds_nothing_is_a_miss(tmp_path: Path, content: bytes) -> None:
    """A file that is empty, blank or zeros answers no call."""
    file, _ = filled(tmp_path)
    file.write_bytes(content)
    assert found(AppendLog(tmp_path, entry)) == []


def test_fault_14_an_entry_under_another_key_is_a_miss(tmp_path: Path) -> None:
    """An index that leads to the line of another key is not believed: the row that is asked for is found by reading."""
    file, lines = filled(tmp_path)
    file.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert found(AppendLog(tmp_path, entry)) == list(range(COUNT))


@pytest.mark.parametrize("version", [0, 2, "next"])
@pytest.mark.parametrize("indexed", [True, False])
def test_fault_14_lines_of_another_version_are_refused_in_words(tmp_path: Path, version: object, indexed: bool) -> None:
    """Whole lines of another version of the program are no damage: the log is refused, naming the file and both
    versions, so that a newer store is neither served nor quarantined by an older program."""
    file, lines = filled(tmp_path)
    row = json.loads(lines[0])
    ours = seal({"key": row["key"], "n": 0})
    file.write_bytes(sealed_as(ours, version))
    if not indexed:
        file.with_suffix(".index").unlink()
    with pytest.raises(
        InputError, match=f"has lines of version {version}, and this program reads version 1"
    ) as refused:
        found(AppendLog(tmp_path, entry))
    assert str(file) in str(refused.value)
    assert not file.with_suffix(".damaged").exists()


def sealed_as(line: bytes, version: object) -> bytes:
    """A line as another version of the program would seal it."""
    body = line[: line.index(b', "sha256"')].replace(b'"version": 1', b'"version": ' + json.dumps(version).encode())
    return body + b', "sha256": "' + hashlib.sha256(body).hexdigest()[:16].encode() + b'"}\n'


@dataclass
class Model:
    """Answers with what it is given, and counts the calls."""

    name: str = "model"
    stopped: StopReason = "stop"
    nats: Nats = (0.5, 1.5)
    asked: int = 0

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for i, _ in enumerate(requests):
            self.asked += 1
            yield i, Completion(text=f"by {self.name}", stopped=self.stopped, prompt_tokens=1, tokens=2)

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        for i, _ in enumerate(passages):
            self.asked += 1
            yield i, self.nats


REQUEST = Request(Prompt((Message("user", "q"),)), SAMPLING, 0)
PASSAGE = Passage(REQUEST.prompt, "a")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_fault_15_a_score_that_is_not_finite_is_never_stored(tmp_path: Path, bad: float) -> None:
    """NaN and infinity are failures: they are handed on once, and the call is made again next time, when the good score
    is stored."""
    failing, good = Model(nats=(0.5, bad)), Model()
    (first,) = scores(ReplayedScorer(failing, journal_for(tmp_path, "model")), [PASSAGE])
    assert first is not None
    assert not math.isfinite(sum(first))
    for _ in range(2):
        assert scores(ReplayedScorer(good, journal_for(tmp_path, "model")), [PASSAGE]) == [(0.5, 1.5)]
    assert (failing.asked, good.asked) == (1, 1)


@pytest.mark.parametrize("stopped", ["refused", "prompt_too_long"])
def test_fault_15_a_reply_that_is_no_answer_is_never_stored(tmp_path: Path, stopped: StopReason) -> None:
    """A refusal and a prompt that is too long are not replayed: the next run asks again and stores the answer."""
    failing, good = Model(stopped=stopped), Model()
    completions(ReplayedGenerator(failing, journal_for(tmp_path, "model")), [REQUEST])
    for _ in range(2):
        (reply,) = completions(ReplayedGenerator(good, journal_for(tmp_path, "model")), [REQUEST])
        assert reply.stopped == "stop"
    assert (failing.asked, good.asked) == (1, 1)


QUESTION = Question(benchmark="b", item_id="i", criterion="c", judge="j", request=REQUEST, attempt=0)
REPLY = Completion(text='{"score": 7}', stopped="stop", prompt_tokens=1, tokens=2)


def kept(folder: Path, record: Judgement) -> Judgements:
    records = Judgements(folder)
    records.keep(record)
    records.close()
    return Judgements(folder)


def test_fault_13_an_edited_judgement_is_asked_again(tmp_path: Path) -> None:
    """A score edited in a stored judgement is not served; the question counts as not asked."""
    record = judgement(QUESTION, REPLY, "read", 0.25)
    assert kept(tmp_path, record).find(QUESTION.key) == record
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"7", b"9"))
    assert Judgements(tmp_path).find(QUESTION.key) is None
    assert file.with_suffix(".damaged").exists()


@pytest.mark.parametrize("usd", [math.nan, math.inf, -math.inf, -0.01])
def test_fault_15_a_judgement_whose_cost_is_no_amount_is_refused(tmp_path: Path, usd: float) -> None:
    """A cost that is NaN, infinite or negative would disable the budget: it is neither kept nor counted."""
    with pytest.raises(ValueError, match="usd"):
        kept(tmp_path, judgement(QUESTION, REPLY, "read", usd))
    (tmp_path / "foreign.jsonl").write_bytes(
        seal({"key": QUESTION.key, "stopped": "stop", "usd": usd if math.isfinite(usd) else -1.0})
    )
    records = kept(tmp_path, judgement(QUESTION, REPLY, "read", 0.25))
    assert records.usd == 0.25


@dataclass
class Difference:
    """A call that differs from `REQUEST` in one thing."""

    name: str = "model"
    request: Request = field(default=REQUEST)


OTHERS = {
    "model, precision, engine, template (all in its name)": Difference(name="model/bfloat16"),
    "a byte of the prompt": Difference(request=replace(REQUEST, prompt=Prompt((Message("user", "q "),)))),
    "sampling": Difference(request=replace(REQUEST, sampling=replace(SAMPLING, temperature=0.8))),
    "sample index": Difference(request=replace(REQUEST, seed=1)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_fault_16_any_difference_in_a_call_is_a_miss(tmp_path: Path, other: Difference) -> None:
    """One folder used with another model, precision, engine, template byte, sampling or index gives no hit."""
    completions(ReplayedGenerator(Model(), journal_for(tmp_path, "shared")), [REQUEST])
    model = Model(name=other.name)
    completions(ReplayedGenerator(model, journal_for(tmp_path, "shared")), [other.request])
    assert model.asked == 1


def test_damage_is_reported_once_in_a_run_of_many_readers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, lines = filled(tmp_path)
    file.write_bytes(b"".join([b"x\n", *lines, b"y\n", b"z\n"]))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert found(AppendLog(tmp_path, entry)) == list(range(COUNT))
    assert sum("3 lines are damaged" in message for message in caplog.messages) == 1
