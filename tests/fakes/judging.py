"""A judge behind an HTTP server, four answers for it to judge, and its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.benchmark import Item, Response, Verdict
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.models.protocols import Device
from reer.models.services.openai import ChatServer

BENCHMARK = WritingPrompts(
    judge_prompt="{{prompt}}\n{{answer}}\n{{rubric}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)
ITEMS = [
    Item(id=f"i{n}", prompt=f"prompt {n}", language="en", category="c", length=100, rubric=("good?",)) for n in range(4)
]
ANSWERS = [Response.read(item.id, f"text {item.id}", False, 1) for item in ITEMS]
PRICES = {"usd_per_million_read": 100.0, "usd_per_million_written": 1000.0}
MOST_USD = 0.11  # a call costs less: its prompt has under 100 bytes, its reply at most 100 tokens


def judge(url: str, prices: Mapping[str, Any] = PRICES, **settings: Any) -> Judge:
    """A judge at `url`, whose calls cost at most `MOST_USD`; settings are those of its server."""
    model = ChatServer(model="m", base_url=url, **{"health_check": False, "attempts": 2, **settings})
    return Judge(name="j", model=model, temperature=0.5, top_p=0.9, max_tokens=100, attempts=1, **prices)


def verdicts(folder: Path, url: str, budget_usd: float | None = None, **settings: Any) -> list[Verdict]:
    """The verdicts on `ANSWERS`, recorded in `folder`."""
    with JudgeSession(judge(url, **settings), Judgements(folder), Device(), budget_usd) as session:
        return judge_all(BENCHMARK, ITEMS, ANSWERS, session)
