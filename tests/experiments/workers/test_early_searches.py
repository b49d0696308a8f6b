"""Searches begin while the last drafts are written, and nothing but the time depends on it."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.experiment import Experiment
from experiments.metrics.synthesis import DRAFT, REFINE
from experiments.pipeline import pipeline
from experiments.store.overlap import Overlap
from experiments.store.step import Artifact
from experiments.store.store import Store
from experiments.workers.early_searches import FirstDraft, early_searches
from experiments.workers.search_job import Results, SearchJob
from reer.calls import event_loop
from reer.errors import Incomplete, InputError
from reer.models.engines.servers import running
from reer.models.local.checkpoints import TinyModel
from reer.models.protocols import Completion, Device, Nats, Passage, Request
from reer.models.scripted import ScriptedModel
from reer.models.services.scoring_servers import ScoringServer
from reer.search.draft import DraftRules
from reer.search.methods import MultiStart, SegmentSearch
from reer.types import Pair, Start, Trajectory
from tests.fakes.engines import device, processes, tiny
from tests.fakes.plans import compose
from tests.fakes.searches import ServedModel, ServedSession, bytes_of, drafter_of, job_of, material, served
from tests.fakes.virtual_time import VirtualTimeLoop

PAIRS = 6
AT_AN_ADDRESS = ScoringServer(
    engine="sglang", checkpoint=TinyModel(), dtype="bfloat16", limit_tokens=512, served_as="m", base_url="http://h"
)


@pytest.fixture(scope="module")
def exp() -> Experiment:
    exp = compose("scale=smoke", "tracking=silent")
    return replace(exp, search=MultiStart(2, SegmentSearch(max_edits=3, n_candidates=2, threshold=0.0)))


@pytest.fixture(scope="module")
def pairs(exp: Experiment) -> dict[str, Pair]:
    return material(exp, PAIRS)[0]


@dataclass(frozen=True)
class Early:
    """What was done while drafts were written: how many were missing and how many calls the searches had made when each
    draft came, and all their calls."""

    seen: list[tuple[int, int]]
    calls: int
    drafts: Mapping[str, tuple[str, ...]]


class Settling:
    """Makes a session's first score of a text differ from those that follow."""

    def __init__(self, session: ServedSession) -> None:
        self.seen, self.score, self.nats_of = set[Passage](), session.score, session.nats_of
        session.score, session.nats_of = self.settling, self.settling_one

    def settling(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        for at, nats in self.score(passages):
            yield at, self.settled(passages[at], nats)

    async def settling_one(self, passage: Passage) -> Nats | None:
        return self.settled(passage, await self.nats_of(passage))

    def settled(self, passage: Passage, nats: Nats | None) -> Nats | None:
        known = replace(passage, group="")
        first = known not in self.seen
        self.seen.add(known)
        return tuple(n + 0.01 for n in nats) if nats is not None and first else nats


def draft_of(pair_id: str) -> FirstDraft:
    return FirstDraft(pair_id, Start((f"Start {pair_id}.", "Then."), 9, None))


def drafted(job: SearchJob, pairs: Mapping[str, Pair], model: ServedModel, width: int) -> Early:
    """First drafts of all pairs by a server, and searches meanwhile."""
    job, seen = replace(job, runtime=replace(job.runtime, width=width)), list[tuple[int, int]]()
    with event_loop(VirtualTimeLoop), early_searches(job, list(pairs.values())) as early:
        with model.open(job.runtime.device) as writer:
            drafter = drafter_of(job, writer)

            def on_draft(pair_id: str, start: Start) -> None:
                seen.append((PAIRS - len(seen) - 1, early.models.calls))
                early.add([FirstDraft(pair_id, start)])

            kept, _ = drafter.first_drafts(list(pairs.values()), width, on_draft)
        early.end()
        return Early(seen, early.models.calls, {row.pair_id: row.segments for row in kept})


def searched(job: SearchJob, pairs: Mapping[str, Pair], drafts: Mapping[str, tuple[str, ...]]) -> tuple[Results, int]:
    with event_loop(VirtualTimeLoop), job.open() as models:
        return models.run(pairs, drafts, 0.0, lambda _: None), models.calls


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, PAIRS + 2), seconds=st.sampled_from([1.0, 20.0]))
def test_no_delay_and_no_width_changes_what_is_searched_or_how_often_a_model_is_asked(
    exp: Experiment,
    pairs: dict[str, Pair],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    width: int,
    seconds: float,
) -> None:
    root = tmp_path_factory.mktemp("searches")
    job = served(job_of(exp, root / "ahead"), ServedModel(seed))
    early = drafted(job, pairs, ServedModel(seed, seconds=seconds), width)
    results, calls = searched(job, pairs, early.drafts)
    alone, calls_alone = searched(job_of(exp, root / "alone"), pairs, early.drafts)
    assert bytes_of(results) == bytes_of(alone)
    assert early.calls + calls == calls_alone, "no call is made twice, and none that the search does not want"
    assert [asked for missing, asked in early.seen if missing >= width] == [0] * max(0, PAIRS - width), (
        "no search begins while a draft waits"
    )


def test_searches_are_under_way_when_the_last_draft_comes(
    exp: Experiment, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    early = drafted(served(job_of(exp, tmp_path), ServedModel(3)), pairs, ServedModel(3, seconds=20), PAIRS)
    assert early.seen[-1][0] == 0
    assert early.seen[-1][1] > 10
    assert not early.seen[0][1]


def test_the_noise_is_that_of_the_drafts_that_the_search_would_take(
    exp: Experiment, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    """The first two that can be searched, whichever come first. It is measured once: a server that has scored them
    repeats itself."""
    settling: list[Settling] = []
    model = ServedModel(0, opened=lambda session: settling.append(Settling(session)))
    job = served(job_of(exp, tmp_path), model)
    first, second, third, *others = pairs
    with event_loop(VirtualTimeLoop), early_searches(job, list(pairs.values())) as early:
        for pair_id in (third, *others[:2]):
            early.add([draft_of(pair_id)])
        early.add([FirstDraft(first, Start((), 0, "draft_too_short"))])
        assert not list(tmp_path.glob("noise/*"))
        early.add([draft_of(second)])
        early.end()
        (measured,) = tmp_path.glob("noise/*")
    drafts = {pair_id: draft_of(pair_id).start.segments for pair_id in (second, third)}
    with job.open() as models:
        assert models.noise(pairs, drafts) == json.loads(measured.read_text())["score_noise"] == pytest.approx(0.01)
        others_drafts = dict(reversed(drafts.items())) | {third: ("Another.", "Then.")}
        assert models.noise(pairs, others_drafts) == pytest.approx(0.01), "of other drafts it is measured again"


def test_a_call_without_an_answer_ends_the_searches(exp: Experiment, pairs: dict[str, Pair], tmp_path: Path) -> None:
    job = served(job_of(exp, tmp_path), ServedModel(0, 12))
    with pytest.raises(Incomplete, match="no answer"):
        drafted(job, pairs, ServedModel(3, seconds=20), PAIRS)
    kept = sum(len(file.read_text().splitlines()) for file in tmp_path.rglob("*.jsonl"))
    job = served(job_of(exp, tmp_path / "whole"), ServedModel(0))
    early = drafted(job, pairs, ServedModel(3, seconds=20), PAIRS)
    _, calls = searched(served(job_of(exp, tmp_path), ServedModel(0)), pairs, early.drafts)
    _, calls_later = searched(served(job_of(exp, tmp_path / "whole"), ServedModel(0)), pairs, early.drafts)
    assert calls + kept == early.calls + calls_later, "what was answered is not asked again"
    assert 0 < kept <= 24


def test_a_scorer_that_is_no_server_of_passages_lets_no_search_begin(
    exp: Experiment, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    job = served(job_of(exp, tmp_path), ServedModel(0))
    judging = compose("scale=smoke", "tracking=silent", "scorer=judge").scorer
    job = replace(job, scorer=replace(judging, model=job.scorer.model))
    early = drafted(job, pairs, ServedModel(0, seconds=20), PAIRS)
    assert len(early.seen) == PAIRS
    assert early.calls == 0


def test_drafts_that_come_together_make_no_other_draft_wait(
    exp: Experiment, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    """The first four come at once; what begins first then are the drafts of the other two."""
    order: list[str] = []

    class Instant(ServedSession):
        async def complete(self, request: Request) -> Completion:
            order.append("draft" if request.sampling.max_tokens == 400 else "rewrite")
            if order.count("draft") > 4:
                await asyncio.sleep(1)
            return self._reply(request)

        async def nats_of(self, passage: Passage) -> Nats | None:
            order.append("score")
            return self._score(passage)

    @dataclass(frozen=True)
    class InstantModel(ServedModel):
        @contextmanager
        def open(self, device: Device) -> Iterator[ServedSession]:
            yield Instant(0, 10**9)

    drafted(served(job_of(exp, tmp_path), InstantModel(0)), pairs, InstantModel(0), 4)
    written = [call for call in order if call != "score"]
    assert written[:PAIRS] == ["draft"] * PAIRS
    assert len(written) > PAIRS


def experiment(root: Path, *options: str, overlap: bool = True) -> Experiment:
    """The smoke experiment with generator and scorer on engines of their own."""
    exp = compose("scale=smoke", "tracking=silent")
    runtime = replace(exp.runtime, root=str(root), device=device(*options), overlap=overlap)
    generator = replace(exp.generator, model=tiny(seed=1))
    scorer = replace(exp.scorer, model=tiny(seed=0))
    filters = replace(exp.filters, draft=DraftRules(0, 1))
    return replace(exp, runtime=runtime, generator=generator, scorer=scorer, filters=filters)


def built(exp: Experiment, *names: Any) -> list[Artifact[Any]]:
    steps = pipeline(exp)
    with Overlap(steps.values()) as overlap:
        store = Store(root=exp.runtime.store, runtime=exp.runtime, overlap=overlap)
        return [store.build(steps[name.named()]) for name in names]


def test_the_stage_finds_what_was_searched_before_its_last_draft(tmp_path: Path) -> None:
    """The last draft comes after the other seven and five rewrites; the server dies if those are not asked for."""
    _, ahead = built(experiment(tmp_path / "ahead", "--delays", "--hold", "12", "--held", "8"), DRAFT, REFINE)
    draft, alone = built(experiment(tmp_path / "alone", overlap=False), DRAFT, REFINE)
    assert (ahead.path / "rows.jsonl").read_bytes() == (alone.path / "rows.jsonl").read_bytes()
    assert ahead.metrics == alone.metrics, "calls that were made ahead count, each once"
    assert draft.metrics.calls == len(draft.rows(Trajectory))
    assert not running()
    assert not processes()


def test_a_scorer_that_does_not_start_costs_no_draft(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    broken = replace(exp.scorer, model=tiny("sglang"))
    engines = replace(exp.runtime.device.engines, sglang=device("--exit").engines.sglang)
    exp = replace(exp, scorer=broken, runtime=replace(exp.runtime, device=replace(exp.runtime.device, engines=engines)))
    (draft,) = built(exp, DRAFT)
    assert draft.rows(Trajectory)
    with pytest.raises(InputError, match="engine: the server ended with code 3"):
        built(exp, REFINE)


@pytest.mark.parametrize(
    ("generator", "scorer", "expected"),
    [
        (tiny(seed=1), tiny(), True),
        (tiny(), tiny(), False),
        (tiny(), AT_AN_ADDRESS, True),
        (tiny(), ScriptedModel(), False),
        (tiny(), replace(tiny(), engine="transformers"), False),
        (replace(tiny(), engine="transformers"), tiny(), False),
        (ScriptedModel(), tiny(), False),
    ],
    ids=[
        "two engines",
        "one for both",
        "address",
        "scripted scorer",
        "scorer here",
        "generator here",
        "scripted writer",
    ],
)
def test_searches_begin_early_only_on_servers(
    exp: Experiment, tmp_path: Path, generator: Any, scorer: Any, expected: bool
) -> None:
    job = job_of(exp, tmp_path)
    job = replace(job, generator=replace(job.generator, model=generator), scorer=replace(job.scorer, model=scorer))
    assert job.scores_elsewhere is expected
