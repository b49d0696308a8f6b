"""Judges that are asked before all answers are there: which, and what a session knows when it is entered again."""

from dataclasses import replace
from pathlib import Path

from evals.judging.judge import Judge
from evals.judging.panel import JudgePanel, session_of
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_ahead, judge_all
from reer.models.protocols import Device
from reer.models.scripted import ScriptedModel
from tests.fakes.http import Serve, says
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS, judge

GRADE = '{"score": 7}'
CUT = '{"score": '
SCRIPTED = Judge(name="here", model=ScriptedModel(), temperature=0.5, top_p=1.0, max_tokens=40, attempts=1)


def test_what_was_asked_ahead_is_not_asked_again_by_the_same_session(tmp_path: Path, serve: Serve) -> None:
    """Neither what is on record, nor a reply that is no answer, which any other session would ask for again."""
    server, url = serve(says(CUT, finish="length"), says(GRADE))
    with JudgeSession(judge(url, concurrency=1), Judgements(tmp_path), Device()) as session:
        judge_ahead(BENCHMARK, ITEMS[:3], ANSWERS[:3], session)
    assert (session.asked, session.in_flight, len(server.bodies)) == (3, 0, 3)
    with session:
        verdicts = judge_all(BENCHMARK, ITEMS, ANSWERS, session)
    assert (session.asked, len(server.bodies)) == (4, 4)
    assert [verdict.why for verdict in verdicts] == ["unfinished", None, None, None]
    assert all(session.find(key) for verdict in verdicts for key in verdict.records)
    with JudgeSession(judge(url), Judgements(tmp_path), Device()) as other:
        judge_all(BENCHMARK, ITEMS, ANSWERS, other)
    assert (other.asked, len(server.bodies)) == (1, 5)


def test_within_one_use_of_a_session_a_reply_that_is_no_answer_is_asked_for_again(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(says(CUT, finish="length"), says(GRADE))
    with JudgeSession(judge(url), Judgements(tmp_path), Device()) as session:
        (first,), (second,) = (judge_all(BENCHMARK, ITEMS[:1], ANSWERS[:1], session) for _ in range(2))
    assert (first.why, second.why, len(server.bodies)) == ("unfinished", None, 2)


def test_retries_ahead_are_those_of_the_stage(tmp_path: Path, serve: Serve) -> None:
    """A reply without a verdict is asked for again ahead, with the seeds that the stage would use."""
    server, url = serve(says("no grade"), says(GRADE))
    stubborn = replace(judge(url, concurrency=1), attempts=3)
    with JudgeSession(stubborn, Judgements(tmp_path), Device()) as session:
        judge_ahead(BENCHMARK, ITEMS, ANSWERS, session)
    assert len(server.bodies) == 5
    with session:
        verdicts = judge_all(BENCHMARK, ITEMS, ANSWERS, session)
    assert ([verdict.attempts for verdict in verdicts], len(server.bodies)) == ([2, 1, 1, 1], 5)


def test_the_members_of_a_panel_in_this_process_are_not_asked_ahead(tmp_path: Path, serve: Serve) -> None:
    server, url = serve(says(GRADE))
    panel = JudgePanel(name="two", members={"here": SCRIPTED, "there": judge(url)})
    with session_of(panel, tmp_path, Device(), None) as session:
        judge_ahead(BENCHMARK, ITEMS, ANSWERS, session)
    assert (session.asked, len(server.bodies)) == (4, 4)
    with session:
        verdicts = judge_all(BENCHMARK, ITEMS, ANSWERS, session)
    assert (session.asked, len(server.bodies), len(verdicts)) == (8, 4, 4)
