"""A search job over scripted drafts of made-up pairs."""

import json
from pathlib import Path

from experiments.experiment import Experiment
from experiments.workers.search_job import Results, SearchJob
from reer.files import plain
from reer.models.scripted import ScriptedSession
from reer.search.draft import Drafter
from reer.types import Pair, content_id

TOPICS = ("harbour", "orchard", "station", "library", "mountain", "kitchen", "workshop", "theatre")


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
