"""The models of a search, opened together, and a search over some pairs with them: here, or in a process elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.experiment import GeneratorRole, Runtime, ScorerRole
from reer.models.protocols import Scorer
from reer.models.replay import ReplayedGenerator, ReplayedScorer, journal_for
from reer.prompts import Prompts, Triggers
from reer.search.draft import Drafter, DraftRules
from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import RequestScores, Segments
from reer.search.rewrite import Rewriter, Starter
from reer.search.score import NllScorer, repeat_noise
from reer.types import Pair, Refinement

NOISE_DRAFTS = 2  # each is scored three times
Results = dict[str, Refinement | Failure]


@dataclass(frozen=True)
class SearchJob:
    """All a process needs to search: plain records, so that it can be sent anywhere."""

    generator: GeneratorRole
    scorer: ScorerRole
    search: Any  # a reer.search.SearchMethod
    prompts: Prompts
    triggers: Triggers
    rules: DraftRules
    draft_tokens: int
    edit_tokens: int
    runtime: Runtime
    replay: Path

    @contextmanager
    def open(self) -> Iterator[OpenSearch]:
        """TrainingSetSize the models; one that writes and scores is loaded once."""
        device = self.runtime.device
        with ExitStack() as opened:
            writes = opened.enter_context(self.generator.model.open(device))
            beside = replace(device, name=self.runtime.scorer_device)
            same = self.scorer.model == self.generator.model
            scores = writes if same else opened.enter_context(self.scorer.model.open(beside))
            writer = ReplayedGenerator(writes, journal_for(self.replay, writes.name))
            reader = ReplayedScorer(scores, journal_for(self.replay, scores.name))
            yield OpenSearch(self, writer, reader, scores)

    def can_score(self, pair: Pair) -> bool:
        """False where nothing of the solution is left to score."""
        return self.scorer.score.passage(pair, ("",), self.prompts, self.triggers) is not None


@dataclass(frozen=True)
class OpenSearch:
    """A search with its models loaded."""

    job: SearchJob
    writer: ReplayedGenerator
    reader: ReplayedScorer
    bare_scorer: Scorer

    @property
    def calls(self) -> int:
        """How many model calls were not known before."""
        return self.writer.journal.misses + self.reader.journal.misses

    def noise(self, pairs: Mapping[str, Pair], drafts: Mapping[str, Segments]) -> float:
        """How much the scorer's repeats differ on a few drafts; asked of the model itself, not of the replay."""
        surprise = self._scorer(pairs)
        asked = [RequestScores(pair_id, (segments,)) for pair_id, segments in list(drafts.items())[:NOISE_DRAFTS]]
        passages = [passage for passage in surprise.passages(asked) if passage is not None]
        return repeat_noise(self.bare_scorer, surprise.surprise, passages)

    def run(
        self,
        pairs: Mapping[str, Pair],
        drafts: Mapping[str, Segments],
        noise: float,
        on_done: Callable[[Refinement | Failure], None],
    ) -> Results:
        """Search from every draft; results stand in the drafts' order."""
        job, seed = self.job, self.job.generator.seed
        method = job.search.rescaled(lambda nats: job.scorer.score.of((nats,)), noise)
        editing = job.generator.sampling(job.edit_tokens, stop=())
        drafting = job.generator.sampling(job.draft_tokens, stop=("</think>",))
        drafter = Drafter(self.writer, job.prompts, job.triggers, drafting, job.rules, seed)
        servers = Handlers(
            Rewriter(self.writer, pairs, job.prompts, job.triggers, editing, seed),
            self._scorer(pairs),
            Starter(drafter, pairs),
        )
        searches = {pair_id: method.steps(pair_id, segments) for pair_id, segments in drafts.items()}
        return run_searches(searches, servers, job.runtime.width, on_done)

    def _scorer(self, pairs: Mapping[str, Pair]) -> NllScorer:
        return NllScorer(self.reader, self.job.scorer.score, pairs, self.job.prompts, self.job.triggers)
