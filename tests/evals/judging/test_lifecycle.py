"""Retired judges: a warning 90 days ahead, a refusal with the date and what to take instead, and records that stay."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from evals.judging.judge import Judge
from evals.judging.lifecycle import Life
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Request
from reer.models.scripted import ScriptedModel
from reer.models.services.openai import ChatServer
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS

RETIRES = date(2026, 10, 23)
LIFE = Life(
    provider="OpenAI",
    host="127.0.0.1",
    snapshot="gpt-4o-2024-05-13",
    source="https://openai.example/deprecations",
    retires=RETIRES,
    instead="openai",
)


@dataclass
class Served:
    """The snapshot on the provider's own host."""

    model: str = LIFE.snapshot
    base_url: str = "http://127.0.0.1:9/v1"
    name: str = "served"
    asked: list[Request] = field(default_factory=list)

    @contextmanager
    def open(self, device: Device) -> Iterator["Served"]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for i, request in enumerate(requests):
            self.asked.append(request)
            yield i, Completion(text='{"score": 7}', stopped="stop", prompt_tokens=9, tokens=9)


def judge(url: str = "http://127.0.0.1:9/v1", model: str = LIFE.snapshot, life: Life | None = LIFE) -> Judge:
    server = ChatServer(model=model, base_url=url, health_check=False)
    return Judge(name="j", model=server, temperature=0.5, top_p=0.9, max_tokens=100, attempts=1, life=life)


@pytest.mark.parametrize(
    ("days", "text", "over"),
    [
        (-91, None, False),
        (-90, "OpenAI retires gpt-4o-2024-05-13 on 2026-10-23, in 90 days", False),
        (-1, "in 1 days", False),
        (0, "OpenAI retired gpt-4o-2024-05-13 on 2026-10-23 (https://openai.example/deprecations)", True),
        (400, "take judge=openai instead", True),
    ],
)
def test_a_retirement_is_announced_90_days_ahead_and_then_stated(days: int, text: str | None, over: bool) -> None:
    notice = judge().retirement(RETIRES + timedelta(days=days))
    assert (notice is None) == (text is None)
    if notice is not None and text is not None:
        assert text in notice.text
        assert notice.over == over


def test_a_promise_that_has_ended_is_told_and_is_no_retirement() -> None:
    promised = judge(life=replace(LIFE, retires=None, kept_until=date(2027, 2, 17)))
    assert promised.retirement(date(2027, 2, 16)) is None
    notice = promised.retirement(date(2027, 2, 17))
    assert notice is not None
    assert not notice.over
    assert "promised gpt-4o-2024-05-13 until 2027-02-17 only; see https://openai.example" in notice.text


def test_nothing_is_known_of_another_model_or_the_same_one_on_another_host() -> None:
    for other in (judge(model="gpt-4o-2024-11-20"), judge("https://gateway.example/v1"), judge(life=None)):
        assert other.retirement(date(2030, 1, 1)) is None
    assert replace(judge(), model=ScriptedModel()).retirement(date(2030, 1, 1)) is None


def test_a_retired_judge_is_asked_nothing_and_judges_again_from_its_records(tmp_path: Path) -> None:
    served = Served()

    def judged(today: date) -> int:
        with JudgeSession(
            replace(judge(), model=served), Judgements(tmp_path), Device(), today=lambda: today
        ) as session:
            return len([v for v in judge_all(BENCHMARK, ITEMS, ANSWERS, session) if v.scores])

    with pytest.raises(InputError, match=r"judge j: OpenAI retired .* on 2026-10-23.*take judge=openai instead"):
        judged(RETIRES)
    assert served.asked == []
    assert judged(RETIRES - timedelta(days=1)) == 4
    assert judged(RETIRES) == 4
    assert len(served.asked) == 4
