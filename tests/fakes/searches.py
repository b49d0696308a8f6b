"""A search job over scripted drafts of made-up pairs, with scripted models here or behind servers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from experiments.experiment import Experiment
from experiments.workers.search_job import Results, SearchJob
from reer.errors import Incomplete
from reer.files import plain
from reer.models.protocols import Completion, Device, Generator, Nats, Passage, Request
from reer.models.scripted import ScriptedModel, ScriptedSession
from reer.search.draft import Drafter
from reer.types import Pair, content_id

TOPICS = ("harbour", "orchard", "station", "library", "mountain", "kitchen", "workshop", "theatre")


class ServedSession(ScriptedSession):
    """The scripted model as a server: an answer comes after a random time of `seconds` in the median. After `calls` of
    them there is none."""

    def __init__(self, seed: int, calls: int, seconds: float = 1.0) -> None:
        super().__init__(0)
        self.draw, self.left, self.made, self.seconds = Random(seed), calls, 0, seconds

    async def complete(self, request: Request) -> Completion:
        await self._wait()
        return self._reply(request)

    async def nats_of(self, passage: Passage) -> Nats | None:
        await self._wait()
        return self._score(passage)

    async def _wait(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Incomplete("no answer")
        await asyncio.sleep(self.seconds * self.draw.lognormvariate(0, 1))
        self.made += 1


@dataclass(frozen=True)
class ServedModel(ScriptedModel):
    """The scripted model behind a server."""

    calls: int = 10**9
    opened: Callable[[ServedSession], None] = lambda _: None
    seconds: float = 1.0

    @contextmanager
    def open(self, device: Device) -> Iterator[ServedSession]:
        session = ServedSession(self.seed, self.calls, self.seconds)
        self.opened(session)
        yield session


def job_of(x: Experiment, replay: Path) -> SearchJob:
    return SearchJob(
        generator=x.generator,
        scorer=x.scorer,
        search=x.search,
        prompts=x.prompts.with_triggers(x.reflection.triggers),
        rules=x.filters.draft,
        rewrites=x.filters.rewrite,
        draft_tokens=400,
        edit_tokens=200,
        runtime=x.runtime,
        replay=replay,
    )


def served(job: SearchJob, model: ScriptedModel, scorer: bool = True) -> SearchJob:
    job = replace(job, generator=replace(job.generator, model=model))
    return replace(job, scorer=replace(job.scorer, model=model)) if scorer else job


def drafter_of(job: SearchJob, writer: Generator) -> Drafter:
    """What writes the first drafts of a search with this open model."""
    return Drafter(
        generator=writer,
        prompts=job.prompts,
        sampling=job.generator.sampling(job.draft_tokens, stop=("</think>",)),
        rules=job.rules,
        seed=job.generator.seed,
    )


def material(x: Experiment, count: int) -> tuple[dict[str, Pair], dict[str, tuple[str, ...]]]:
    texts = [f"Write about a {TOPICS[n % 8]} number {n}" for n in range(count)]
    body = "The morning is quiet and the work begins. " * 4
    pairs = [
        Pair(
            id=content_id(t),
            query=t,
            solution=f"{t}. {body}\n\nLater the {TOPICS[n % 8]} is busy. {body}",
            category="others",
            language="en",
            source="t",
        )
        for n, t in enumerate(texts)
    ]
    drafter = Drafter(
        generator=ScriptedSession(0),
        prompts=x.prompts.with_triggers(x.reflection.triggers),
        sampling=x.generator.sampling(400, stop=("</think>",)),
        rules=x.filters.draft,
        seed=0,
    )
    drafts, _ = drafter.first_drafts(pairs)
    return {pair.id: pair for pair in pairs}, {draft.pair_id: draft.segments for draft in drafts}


def bytes_of(results: Results) -> str:
    return "\n".join(json.dumps(plain(row), ensure_ascii=False) for row in results.values())
