"""A search over some pairs with its models opened together: in this process, or in a worker elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from experiments.experiment import GeneratorRole, Runtime, ScorerRole
from reer.files import write_json
from reer.models.local.model import LocalModel
from reer.models.protocols import BatchProgress, Passage, Scorer, ignored, report_batches
from reer.models.replay import (
    ReplayedConcurrentGenerator,
    ReplayedConcurrentScorer,
    ReplayedGenerator,
    ReplayedScorer,
    journal_for,
    replayed_generator,
    replayed_scorer,
)
from reer.models.services.scoring_servers import ScoringServer
from reer.prompts import BoundPrompts
from reer.search.draft import Drafter, DraftRules
from reer.search.driver import Concurrent, Failure, Handlers, run_searches
from reer.search.methods import RequestScores, Search, SearchMethod, Segments
from reer.search.rewrite import Rewriter, RewriteRules
from reer.search.score import NllScorer, repeat_noise, repeat_noise_served
from reer.types import Pair, Refinement, content_id

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
    raw_drafts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Drafts as they were generated, for a score of them as such."""

    @contextmanager
    def open(self, on_batch: Callable[[BatchProgress], None] = ignored) -> Iterator[OpenSearch]:
        """Load the models; a model that both generates and scores is loaded once. `on_batch` follows the generator's
        batches."""
        with ExitStack() as stack:
            generator = stack.enter_context(self.generator.model.open(self.runtime.device_for("generator")))
            report_batches(generator, on_batch)
            if self.scorer.model == self.generator.model and isinstance(generator, Scorer):
                scorer: Scorer = generator
            else:
                scorer = stack.enter_context(self.scorer.model.open(self.runtime.device_for("scorer")))
            scorer = self.scorer.scoring(scorer)
            generating = replayed_generator(generator, journal_for(self.replay, generator.name))
            scoring = replayed_scorer(scorer, journal_for(self.replay, scorer.name))
            yield OpenSearch(self, generating, scoring, scorer)

    @property
    def scores_elsewhere(self) -> bool:
        """Whether an engine that this run starts writes, and other servers score: not beside what is being written."""
        generator, scorer = self.generator.model, self.scorer.model
        return (
            _is_engine(generator) and scorer != generator and (_is_engine(scorer) or isinstance(scorer, ScoringServer))
        )

    def can_score(self, pair: Pair) -> bool:
        """False if nothing of the solution is left to score."""
        return self.scorer.score.passage(pair, ("",), self.prompts) is not None


def measured_once(path: Path, measure: Callable[[], float]) -> float:
    """The noise of a scorer, measured where no file holds it yet."""
    if not path.exists():
        _keep_noise(path, measure())
    return _kept_noise(path)


def _keep_noise(path: Path, noise: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"score_noise": noise})


def _kept_noise(path: Path) -> float:
    return json.loads(path.read_text(encoding="utf-8"))["score_noise"]


def _is_engine(model: object) -> bool:
    return isinstance(model, LocalModel) and model.engine != "transformers"


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
        """How much repeated scores of a few drafts differ. Measured on the model itself, not on the replay, but once:
        a server that has seen the drafts repeats itself more closely."""
        passages, path = self._measured_on(pairs, drafts)
        return measured_once(path, lambda: repeat_noise(self.bare_scorer, self.job.scorer.score, passages))

    async def noise_served(self, pairs: Mapping[str, Pair], drafts: Mapping[str, Segments]) -> float:
        """See `noise`; of a server, while other calls are in flight."""
        assert isinstance(self.scorer, ReplayedConcurrentScorer)
        passages, path = self._measured_on(pairs, drafts)
        if not path.exists():
            _keep_noise(path, await repeat_noise_served(self.scorer.concurrent, self.job.scorer.score, passages))
        return _kept_noise(path)

    def _measured_on(self, pairs: Mapping[str, Pair], drafts: Mapping[str, Segments]) -> tuple[list[Passage], Path]:
        """What is scored to measure the noise, and the file that keeps it."""
        requests = [RequestScores(pair_id, (segments,)) for pair_id, segments in list(drafts.items())[:NOISE_DRAFTS]]
        passages = [passage for passage in self._score_handler(pairs).passages(requests) if passage is not None]
        key = content_id(self.scorer.name, str(self.job.scorer.score), *map(str, passages))
        return passages, self.job.replay / "noise" / f"{key}.json"

    def run(
        self,
        pairs: Mapping[str, Pair],
        drafts: Mapping[str, Segments],
        noise: float,
        on_done: Callable[[Refinement | Failure], None],
    ) -> Results:
        """Search from every draft. Results are in the order of the drafts."""
        try:
            return run_searches(self.searches(drafts, noise), self.handlers(pairs), self.job.runtime.width, on_done)
        finally:
            self.sync()

    def searches(self, drafts: Mapping[str, Segments], noise: float) -> dict[str, Search]:
        """A search from each draft that has not begun."""
        score = self.job.scorer.score
        method = self.job.search.rescaled(lambda nats: score.from_nats((nats,)), noise)
        return {pair_id: method.steps(pair_id, segments) for pair_id, segments in drafts.items()}

    def sync(self) -> None:
        """Have the replies of models on the disk."""
        self.generator.journal.log.sync()
        self.scorer.journal.log.sync()

    def handlers(self, pairs: Mapping[str, Pair]) -> Handlers:
        """Servers are sent single requests, models in this process batches."""
        generator, scorer = self.generator, self.scorer
        rewriter, drafter, nll = self._rewriter(pairs), self._drafter(), self._score_handler(pairs)
        score = Concurrent(partial(nll.handle, scorer)) if isinstance(scorer, ReplayedConcurrentScorer) else nll
        if not isinstance(generator, ReplayedConcurrentGenerator):
            return Handlers(rewrite=rewriter, score=score, draft=partial(drafter.further_drafts, pairs))
        return Handlers(
            rewrite=Concurrent(partial(rewriter.handle, generator)),
            score=score,
            draft=Concurrent(partial(drafter.handle, generator, pairs)),
        )

    def _rewriter(self, pairs: Mapping[str, Pair]) -> Rewriter:
        job = self.job
        return Rewriter(
            generator=self.generator,
            pairs=pairs,
            prompts=job.prompts,
            sampling=job.generator.sampling(job.edit_tokens, stop=()),
            rules=job.rewrites,
            seed=job.generator.seed,
        )

    def _drafter(self) -> Drafter:
        job = self.job
        return Drafter(
            generator=self.generator,
            prompts=job.prompts,
            sampling=job.generator.sampling(job.draft_tokens, stop=("</think>",)),
            rules=job.rules,
            seed=job.generator.seed,
        )

    def _score_handler(self, pairs: Mapping[str, Pair]) -> NllScorer:
        return NllScorer(self.scorer, self.job.scorer.score, pairs, self.job.prompts, self.job.raw_drafts)
