"""A search over some pairs with its models opened together: in this process, or in a worker elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from experiments.experiment import GeneratorRole, Runtime, ScorerRole
from reer.models.protocols import Scorer
from reer.models.replay import ReplayedGenerator, ReplayedScorer, journal_for
from reer.prompts import BoundPrompts
from reer.search.draft import Drafter, DraftRules
from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import RequestScores, SearchMethod, Segments
from reer.search.rewrite import Rewriter, RewriteRules
from reer.search.score import NllScorer, repeat_noise
from reer.types import Pair, Refinement

NOISE_DRAFTS = 2  # each is scored three times
Results = dict[str, Refinement | Failure]


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """Everything a process needs to search; it holds plain records only, so it can be sent to another process."""

    generator: GeneratorRole
    scorer: ScorerRole
    search: SearchMethod
    prompts: BoundPrompts
    rules: DraftRules
    rewrites: RewriteRules
    draft_tokens: int
    edit_tokens: int
    runtime: Runtime
    replay: Path

    @contextmanager
    def open(self) -> Iterator[OpenSearch]:
        """Load the models; a model that both generates and scores is loaded once."""
        device = self.runtime.device
        with ExitStack() as stack:
            generator = stack.enter_context(self.generator.model.open(device))
            scorer_device = replace(device, name=self.runtime.scorer_device)
            if self.scorer.model == self.generator.model and isinstance(generator, Scorer):
                scorer: Scorer = generator
            else:
                scorer = stack.enter_context(self.scorer.model.open(scorer_device))
            scorer = self.scorer.scoring(scorer)
            replayed_generator = ReplayedGenerator(generator, journal_for(self.replay, generator.name))
            replayed_scorer = ReplayedScorer(scorer, journal_for(self.replay, scorer.name))
            yield OpenSearch(self, replayed_generator, replayed_scorer, scorer)

    def can_score(self, pair: Pair) -> bool:
        """False if nothing of the solution is left to score."""
        return self.scorer.score.passage(pair, ("",), self.prompts) is not None


@dataclass(frozen=True)
class OpenSearch:
    """A search whose models are loaded. `bare_scorer` is the scorer without the replay."""

    job: SearchJob
    generator: ReplayedGenerator
    scorer: ReplayedScorer
    bare_scorer: Scorer

    @property
    def calls(self) -> int:
        """Number of model calls that the replay did not answer."""
        return self.generator.journal.misses + self.scorer.journal.misses

    def noise(self, pairs: Mapping[str, Pair], drafts: Mapping[str, Segments]) -> float:
        """How much repeated scores of a few drafts differ; measured on the model itself, not on the replay."""
        requests = [RequestScores(pair_id, (segments,)) for pair_id, segments in list(drafts.items())[:NOISE_DRAFTS]]
        passages = [passage for passage in self._score_handler(pairs).passages(requests) if passage is not None]
        return repeat_noise(self.bare_scorer, self.job.scorer.score, passages)

    def run(
        self,
        pairs: Mapping[str, Pair],
        drafts: Mapping[str, Segments],
        noise: float,
        on_done: Callable[[Refinement | Failure], None],
    ) -> Results:
        """Search from every draft. Results are in the order of the drafts."""
        job, seed = self.job, self.job.generator.seed
        method = job.search.rescaled(lambda nats: job.scorer.score.from_nats((nats,)), noise)
        edit_sampling = job.generator.sampling(job.edit_tokens, stop=())
        draft_sampling = job.generator.sampling(job.draft_tokens, stop=("</think>",))
        drafter = Drafter(
            generator=self.generator, prompts=job.prompts, sampling=draft_sampling, rules=job.rules, seed=seed
        )
        handlers = Handlers(
            rewrite=Rewriter(
                generator=self.generator,
                pairs=pairs,
                prompts=job.prompts,
                sampling=edit_sampling,
                rules=job.rewrites,
                seed=seed,
            ),
            score=self._score_handler(pairs),
            draft=partial(drafter.further_drafts, pairs),
        )
        searches = {pair_id: method.steps(pair_id, segments) for pair_id, segments in drafts.items()}
        return run_searches(searches, handlers, job.runtime.width, on_done)

    def _score_handler(self, pairs: Mapping[str, Pair]) -> NllScorer:
        return NllScorer(self.scorer, self.job.scorer.score, pairs, self.job.prompts)
