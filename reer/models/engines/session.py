"""A model behind servers that this run started: it writes and scores like the model in process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from reer.errors import Incomplete
from reer.models.engines.commands import SERVED_AS, ServedModel
from reer.models.engines.servers import Serving, serving
from reer.models.engines.wire import WIRES, Rated, Writing, Written
from reer.models.http.client import Call, Client, connect_with
from reer.models.local.tokens import Tokens, load_tokenizer
from reer.models.placement import Engines, ServerEngine
from reer.models.protocols import Completion, Nats, Passage, Request
from reer.models.services.scoring_servers import EngineApi, Ids, ScoringServer, ScoringSession

ATTEMPTS = 6
SCORED_BY: dict[ServerEngine, EngineApi] = {
    "vllm": "vllm_completions",
    "vllm_cached": "vllm_cached",
    "sglang": "sglang",
}
Result = TypeVar("Result")


class _Sessions(threading.local):
    """The open sessions of a thread, by their model."""

    def __init__(self) -> None:
        self.opened: dict[ServedModel, EngineSession] = {}


_sessions = _Sessions()


@contextmanager
def opened(model: ServedModel, engines: Engines) -> Iterator[EngineSession]:
    """A session with the model's servers, which are started if nobody did. Before it is handed over, each replica has
    scored a token that it generated; see `reer.models.services.scoring_servers`. Within it, the same thread gets the
    same session again, whatever placement it states, so that the limits of calls in flight hold for all it asks.
    Raises InputError for an engine that cannot be started, or whose scores cannot be trusted."""
    if (session := _sessions.opened.get(model)) is not None:
        yield session
        return
    weights = model.checkpoint.fetch()
    tokenizer = load_tokenizer(weights)
    limit = _context_tokens(weights, engines.placement.context_tokens)
    with serving(model, weights, limit, engines) as found:
        server = _endpoint(model, found, limit, engines)
        with connect_with(found.key, model.name, server, engines.placement.tokens) as client:
            session = EngineSession(model, found, client, ScoringSession(server, client, Tokens(tokenizer)))
            session.ends = end_tokens(weights, tokenizer)
            session.scoring.validate()
            _sessions.opened[model] = session
            try:
                yield session
            finally:
                del _sessions.opened[model]


def _endpoint(model: ServedModel, found: Serving, limit: int, engines: Engines) -> ScoringServer:
    return ScoringServer(
        engine=SCORED_BY[model.engine],
        checkpoint=model.checkpoint,
        dtype=model.dtype,
        limit_tokens=limit,
        served_as=SERVED_AS,
        base_url=found.urls[0],
        replicas=found.urls[1:],
        concurrency=engines.placement.calls,
        timeout_seconds=engines.answer_seconds,
        total_seconds=ATTEMPTS * engines.answer_seconds,
        attempts=ATTEMPTS,
        outage_seconds=engines.start_seconds,
        outage_pause_seconds=1.0,
    )


def _context_tokens(weights: Path, stated: int | None) -> int:
    """The longest sequence: what the model allows, or less where it is stated."""
    from transformers import AutoConfig

    own: int = AutoConfig.from_pretrained(weights, trust_remote_code=False).max_position_embeddings
    return min(own, stated or own)


def end_tokens(weights: Path, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a completion: the tokenizer's end token, and those that the checkpoint names."""
    from transformers import AutoConfig

    stated = weights / "generation_config.json"
    if stated.exists():
        stops = json.loads(stated.read_text(encoding="utf-8")).get("eos_token_id")
    else:
        stops = AutoConfig.from_pretrained(weights, trust_remote_code=False).eos_token_id
    ends = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
    return tuple(sorted(ends - {None}))


class EngineSession:
    """An open connection to the servers of one model; see `ConcurrentGenerator` and `ConcurrentScorer`."""

    ends: tuple[int, ...] = ()

    def __init__(self, model: ServedModel, found: Serving, client: Client, scoring: ScoringSession) -> None:
        self.name, self.serving, self.client, self.scoring = model.name, found, client, scoring
        self.wire, self.tokens, self.limit = WIRES[model.engine], scoring.tokens, scoring.server.limit_tokens

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`. Requests of one group, and those with equal prompts, go to one replica."""
        contexts = {prompt: self.tokens.context_ids(prompt) for prompt in dict.fromkeys(r.prompt for r in requests)}
        asked = [self._writing(contexts[request.prompt], request) for request in requests]
        fits = [i for i, writing in enumerate(asked) if writing.limit > 0]
        yield from ((i, _too_long(asked[i])) for i in sorted(set(range(len(asked))) - set(fits)))
        for at, written in self.write([asked[i] for i in fits], [_group_of(requests[i]) for i in fits]):
            yield fits[at], self._completion(asked[fits[at]], written)

    async def complete(self, request: Request) -> Completion:
        """See `ConcurrentGenerator`; requests go to replicas as in `generate`."""
        asked = self._writing(self.tokens.context_ids(request.prompt), request)
        if asked.limit <= 0:
            return _too_long(asked)
        self.serving.require_alive()
        written = await self.client.answer(self._write(asked, _group_of(request)))
        return self._completion(asked, self._answered(written))

    def _writing(self, context: Ids, request: Request) -> Writing:
        limit = min(request.sampling.max_tokens, self.limit - len(context))
        return Writing(
            context=context,
            sampling=request.sampling,
            seed=request.seed,
            limit=limit,
            ends=self.ends,
            schema=request.schema,
        )

    def write(self, asked: Sequence[Writing], groups: Sequence[str]) -> Iterator[tuple[int, Written]]:
        """Completions as token ids, each with its index, as they arrive."""
        yield from self._ask([self._write(writing, group) for writing, group in zip(asked, groups, strict=True)])

    def _write(self, asked: Writing, group: str) -> Call[Written]:
        tokens = len(asked.context) + asked.limit
        return replace(self.wire.write(SERVED_AS, asked), group=group, tokens=tokens)

    def rate(self, pairs: Sequence[tuple[Ids, Ids]]) -> Iterator[tuple[int, Rated]]:
        """The answers of (context, answer) rated, each with its index, as they arrive."""
        yield from self._ask(
            [
                replace(self.wire.rate(SERVED_AS, context, answer), tokens=len(context) + len(answer))
                for context, answer in pairs
            ]
        )

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`."""
        self.serving.require_alive()
        return self.scoring.score(passages)

    async def nats_of(self, passage: Passage) -> Nats | None:
        """See `ConcurrentScorer`."""
        self.serving.require_alive()
        return await self.scoring.nats_of(passage)

    def _ask(self, calls: Sequence[Call[Result]]) -> Iterator[tuple[int, Result]]:
        self.serving.require_alive()
        for at, answer in self.client.ask(calls):
            yield at, self._answered(answer)

    def _answered(self, answer: Result | None) -> Result:
        """An answer of the engine. Raises Incomplete where it refused a prompt that fits into its context."""
        if answer is None:
            raise Incomplete(f"engine {self.name}: it refused a prompt within its own context; see its log")
        return answer

    def _completion(self, asked: Writing, written: Written) -> Completion:
        return Completion(
            text=self.tokens.completion(written.ids, asked.sampling.stop),
            stopped=written.stopped,
            prompt_tokens=len(asked.context),
            tokens=len(written.ids),
        )


def _group_of(request: Request) -> str:
    """The group of a request; without one, its prompt, so that equal prompts go to one replica."""
    prompt = request.prompt
    return request.group or "\n".join([*(message.content for message in prompt.messages), prompt.prefill])


def _too_long(asked: Writing) -> Completion:
    return Completion(text="", stopped="prompt_too_long", prompt_tokens=len(asked.context), tokens=0)
