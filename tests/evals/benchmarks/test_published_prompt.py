"""A judge that is asked in words of another commit: which questions are in them, and what they identify."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from evals.benchmark import Response, Verdict
from evals.benchmarks.published_prompt import PublishedPrompt
from evals.benchmarks.writingbench import WritingBench
from evals.judging.judge import Judge
from evals.judging.panel import JudgePanel
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, official_scores
from experiments.pipeline import pipeline
from reer.errors import InputError
from reer.models.protocols import Device, Sampling
from reer.models.scripted import ScriptedModel
from reer.models.services.openai import ChatServer
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS
from tests.fakes.plans import compose

RELEASED = ["scale=smoke", "benchmark=[writingbench]", "judge=writingbench_critic_released"]
JUDGED = ("hygiene:writingbench", "reliability:writingbench")
ROW = {
    "index": 1,
    "domain1": "Education",
    "domain2": "Notes",
    "lang": "en",
    "query": "Q",
    "checklist": [{"name": "Depth", "criteria_description": "deep"}],
}
JUDGE = Judge(name="j", model=ScriptedModel(), temperature=0.5, top_p=1.0, max_tokens=40, attempts=1)


def released() -> tuple[Judge, WritingBench]:
    exp = compose(*RELEASED)
    (benchmark,) = exp.benchmarks.values()
    assert isinstance(exp.judge, Judge)
    assert isinstance(benchmark, WritingBench)
    return exp.judge, benchmark


def words(folder: Path, user: str) -> PublishedPrompt:
    """The prompt in a folder, and a query of the benchmark beside it."""
    content = json.dumps({"system": "S", "user": user})
    folder.mkdir()
    (folder / "judge_prompt.json").write_text(content)
    digest = sha256(content.encode()).hexdigest()
    return PublishedPrompt(
        folder=str(folder), sha256={"judge_prompt.json": digest}, upstream="a test", benchmark="writingbench"
    )


@pytest.fixture
def bench(tmp_path: Path) -> WritingBench:
    """One query with one criterion, whose own words are `now`."""
    now, (_, benchmark) = words(tmp_path / "now", "now {criteria} {query} {response}"), released()
    rows = json.dumps(ROW)
    (tmp_path / "now" / "benchmark_all.jsonl").write_text(rows)
    digests = {**now.sha256, "benchmark_all.jsonl": sha256(rows.encode()).hexdigest()}
    return replace(benchmark, data=replace(benchmark.data, folder=now.folder, sha256=digests), items_limit=None)


def test_its_own_benchmark_is_asked_in_the_words_and_every_other_in_its_own(
    bench: WritingBench, tmp_path: Path
) -> None:
    judge = replace(JUDGE, prompt=words(tmp_path / "then", "then {query} {response}"))
    (item,) = bench.items()
    for delimited in (False, True):
        asked, answer = replace(judge, delimit_answer=delimited), Response.of_text(item.id, "A text.")
        with JudgeSession(asked, Judgements(tmp_path / str(delimited)), Device()) as session:
            (verdict,) = judge_all(bench, [item], [answer], session)
            record = session.find(verdict.records[0])
        assert record is not None
        assert record.messages[-1].content.startswith("then Q ")
        assert ("<text-" in record.messages[-1].content) == delimited
    other = judge.calls(BENCHMARK, ITEMS[0], ANSWERS[0])
    assert other == BENCHMARK.calls(ITEMS[0], ANSWERS[0])


def test_the_critic_as_released_samples_as_its_script_did_and_leaves_official_numbers_out() -> None:
    judge, benchmark = released()
    assert judge.sampling(benchmark) == Sampling(temperature=0.7, top_p=0.8, top_k=20, max_tokens=2048)
    assert (judge.attempts, judge.trained_for, judge.asks_as_published) == (5, ("writingbench",), False)


def test_official_numbers_want_a_judge_that_is_asked_as_the_scripts_ask(bench: WritingBench, tmp_path: Path) -> None:
    (item,) = bench.items()
    answers, reply = [Response.of_text(item.id, "A text.")], '{"score": 7, "reason": "r"}'
    verdict = Verdict(item_id=item.id, criterion="Depth", scores={"score": 7.0}, reply=reply, why=None, attempts=1)
    others = (
        replace(JUDGE, prompt=words(tmp_path / "then", "then {query} {response}")),
        replace(JUDGE, structured=True),
        replace(JUDGE, delimit_answer=True),
        JudgePanel(name="two", members={"a": JUDGE, "b": JUDGE}),
    )
    assert official_scores(bench, JUDGE, [item], answers, [verdict])["overall"].value == 7.0
    assert [official_scores(bench, other, [item], answers, [verdict]) for other in others] == [{}] * 4


def test_other_words_are_another_judge_of_the_same_answers() -> None:
    judge, _ = released()
    then = compose(*RELEASED)
    now = replace(then, judge=replace(judge, prompt=None))
    before, after = (pipeline(exp) for exp in (then, now))
    same = {str(name) for name in before if before[name].fingerprint == after[name].fingerprint}
    assert "generate:writingbench" in same
    assert {str(name) for name in before} - same == {"grade:writingbench", *JUDGED}


def test_missing_words_and_other_benchmarks_are_refused_before_any_work(tmp_path: Path) -> None:
    judge, benchmark = released()
    assert judge.prompt is not None
    missing = replace(judge, prompt=replace(judge.prompt, folder=str(tmp_path)))
    with pytest.raises(InputError, match=r"`reer fetch critic_prompt` with the same judge\.prompt\.folder"):
        missing.require_meant_for(benchmark)
    with pytest.raises(InputError, match="words are those of writingbench, got writing, which is asked in its own"):
        replace(missing, trained_for=()).require_meant_for(BENCHMARK)
    with pytest.raises(InputError, match="want one file with the prompt, got 2"):
        replace(judge.prompt, sha256={"a": "1", "b": "2"})


def test_a_bound_that_a_server_is_not_sent_is_refused() -> None:
    server = ChatServer(model="m", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(InputError, match=r"judge\.top_k: m/.* is not sent it; set judge\.model\.send_top_k=true"):
        replace(JUDGE, model=server, top_k=20)
    assert replace(JUDGE, model=replace(server, send_top_k=True), top_k=20).sampling(BENCHMARK).top_k == 20
