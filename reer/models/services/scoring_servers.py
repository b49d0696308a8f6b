"""Scorers behind HTTP servers that return the log-probabilities of a prompt: SGLang and vLLM.

Both receive token ids, and every reply is checked against them: the right number of finite values, for the right
tokens, none above zero. A reply that fails this is not a score. On connection each server is validated: a token that it
generates must, when scored, have the log-probability that it was generated with. A server whose prompt scores are
shifted by one position, or come from uninitialised memory, does not pass.
"""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import InstanceOf, PositiveInt

from reer.errors import Incomplete, InputError
from reer.models.http.client import Call, Client, Endpoint, Unreadable, connect
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.tokens import Tokens, load_tokenizer
from reer.models.protocols import Device, JsonReply, Nats, Passage, Prompt
from reer.types import Message

if TYPE_CHECKING:
    import numpy as np

Result = TypeVar("Result")
Ids = list[int]
EngineApi = Literal["sglang", "vllm", "vllm_cached", "vllm_completions"]
CACHE_OPTIONS = ("--enable-scale-out", "--enable-prompt-tokens-details")
"""Of vLLM: the endpoint that takes all sampling parameters, and the count of tokens from the prefix cache."""
MAX_NATS = 1e6  # of a token; models give at most some hundreds
ROUNDING_NATS = 1e-4  # a log-probability may be above zero by this much
PROOF = "Seven violet lanterns hum beneath the orchard."
CACHED_TOKENS = 321  # of a context that proves a cache: blocks of 16 tokens (GPUs) or 128 (CPUs), and one token more
CACHE_PROOFS = 8  # contexts tried: unwritten rows may hold NaN, which JSON cannot: 12 of 22 replies of vllm 0.32 had it
WITHOUT_CACHE = "choose engine=vllm, which reads no cache for scores, or vllm_completions for a server of your own"
TOLERANCE_NATS = 0.05  # decoding and prefill use different kernels, whose bfloat16 results differ by up to this


class Engine(Protocol):
    """The wire format of one kind of server."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]: ...

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        """A call that generates the likeliest next token and returns it with its log-probability."""
        ...


class Sglang:
    """`/generate` with `logprob_start_len` (sglang 0.5.23), which reuses the radix cache up to the context's end."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        body = {
            "input_ids": context + answer,
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": len(context) - 1,
            "top_logprobs_num": 0,
        }

        def read(reply: JsonReply) -> Nats:
            rows = reply["meta_info"]["input_token_logprobs"][1:]  # the first token has no predecessor: always None
            if [row[1] for row in rows] != answer:
                raise Unreadable(f"the {len(rows)} scored tokens are not the {len(answer)} tokens of the answer")
            return checked([row[0] for row in rows])

        return Call(path="/generate", body=body, read=read)

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        body = {
            "input_ids": context,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
        }

        def read(reply: JsonReply) -> tuple[int, float]:
            logprob, token, *_ = reply["meta_info"]["output_token_logprobs"][0]
            return int(token), -checked([logprob])[0]

        return Call(path="/generate", body=body, read=read)


class VllmCompletions:
    """`/v1/completions` with `prompt_logprobs` (any vLLM), which computes the whole prompt again for every call."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        body = {
            "model": model,
            "prompt": context + answer,
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
        }

        def read(reply: JsonReply) -> Nats:
            rows = reply["choices"][0]["prompt_logprobs"]
            if len(rows) != len(context) + len(answer):
                raise Unreadable(f"{len(rows)} rows for a prompt of {len(context) + len(answer)} tokens")
            return checked(
                [row[str(token)]["logprob"] for row, token in zip(rows[len(context) :], answer, strict=True)]
            )

        return Call(path="/v1/completions", body=body, read=read)

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        body = {
            "model": model,
            "prompt": context,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 0,
            "return_tokens_as_token_ids": True,
        }

        def read(reply: JsonReply) -> tuple[int, float]:
            logprobs = reply["choices"][0]["logprobs"]
            return int(logprobs["tokens"][0].removeprefix("token_id:")), -checked([logprobs["token_logprobs"][0]])[0]

        return Call(path="/v1/completions", body=body, read=read)


class VllmCached(VllmCompletions):
    """`/inference/v1/generate` with `prompt_logprobs`, and with the prefix cache that vLLM leaves unread by default
    where they are asked for (vllm 0.32, started with `CACHE_OPTIONS`). Rows of cached tokens are memory that was never
    written, or are left out. So a reply counts only if its cached tokens end before the answer. A passage that had
    more, such as one that was scored before, is scored again without the cache."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        whole = self._score(model, context, answer, reads_cache=False)
        return replace(self._score(model, context, answer, reads_cache=True), instead=whole)

    def _score(self, model: str, context: Ids, answer: Ids, *, reads_cache: bool) -> Call[Nats]:
        sampling = {
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
            "detokenize": False,
            "skip_reading_prefix_cache": not reads_cache,
        }

        def read(reply: JsonReply) -> Nats:
            cached, rows = _cached_tokens(reply), reply["prompt_logprobs"]
            if cached >= len(context):  # the first row after n cached tokens is that of token n + 1
                raise Unreadable(f"{cached} cached tokens, and the answer begins after {len(context)}")
            tokens = len(context) + len(answer)
            if len(rows) not in (tokens, tokens - cached):
                raise Unreadable(f"{len(rows)} rows for a prompt of {tokens} tokens")
            scored = rows[-len(answer) :]
            return checked([row[str(token)]["logprob"] for row, token in zip(scored, answer, strict=True)])

        body = {"model": model, "token_ids": context + answer, "sampling_params": sampling}
        return Call(path="/inference/v1/generate", body=body, read=read)


def _cached_tokens(reply: JsonReply) -> int:
    """How many tokens of a prompt came from the prefix cache. Raises Unreadable where the server does not count."""
    counts = reply["usage"]["prompt_tokens_details"] or {"cached_tokens": None}
    cached = counts["cached_tokens"]
    if not isinstance(cached, int):
        raise Unreadable(f"no count of cached tokens; start the server with {' '.join(CACHE_OPTIONS)}")
    return cached


class VllmTokens(VllmCompletions):
    """`/inference/v1/generate` with one candidate token per scored row (vllm 0.33, model runner 2), which runs the LM
    head on the answer's rows only."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        sampling = {
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprob_token_ids": [[token] for token in answer],
            "prompt_logprob_start": len(context) - 1,
        }

        def read(reply: JsonReply) -> Nats:
            matrix = _matrix(base64.b64decode(reply["prompt_token_id_logprobs"]))
            if matrix.shape != (len(answer), 1):
                raise Unreadable(f"a matrix of {matrix.shape} for an answer of {len(answer)} tokens")
            return checked([float(value) for value in matrix[:, 0]])

        body = {"model": model, "token_ids": context + answer, "sampling_params": sampling}
        return Call(path="/inference/v1/generate", body=body, read=read)


def _matrix(content: bytes) -> np.ndarray:
    """The matrix in a .npy file. Raises ValueError where it is none, or claims more numbers than there are."""
    import numpy as np

    if not content.startswith(b"\x93NUMPY"):  # np.load would also open archives
        raise ValueError("the matrix is no .npy file")
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (MemoryError, EOFError, SyntaxError, TokenError) as error:
        raise ValueError(f"the matrix is unreadable ({type(error).__name__})") from None


ENGINES: dict[str, Engine] = {
    "sglang": Sglang(),
    "vllm": VllmTokens(),
    "vllm_cached": VllmCached(),
    "vllm_completions": VllmCompletions(),
}


def checked(logprobs: Sequence[Any]) -> Nats:
    """Log-probabilities as negative log-likelihoods in nats. Raises Unreadable for a value that cannot be one."""
    for value in logprobs:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_NATS < value <= ROUNDING_NATS:
            raise Unreadable(f"{str(value)[:40]!r} is not a log-probability")
    return tuple(max(0.0, -float(value)) for value in logprobs)


@dataclass(frozen=True, kw_only=True)
class ScoringServer(Endpoint):
    """A model behind a server that scores prompts."""

    engine: EngineApi
    checkpoint: InstanceOf[Checkpoint]
    """The checkpoint that is served; only its tokenizer is loaded here."""
    dtype: str
    """The precision that the model is served in."""
    limit_tokens: PositiveInt = field(metadata={"identity": False})
    """The context of the served model."""
    served_as: str = field(metadata={"identity": False})
    """The name that the model is served under."""

    @property
    def name(self) -> str:
        return f"{self.checkpoint.name}/{self.dtype}/{self.engine}-server"

    @contextmanager
    def open(self, device: Device) -> Iterator[ScoringSession]:
        tokens = Tokens(load_tokenizer(self.checkpoint.fetch()))
        with connect(self.served_as, self) as client:
            session = ScoringSession(self, client, tokens)
            session.validate()
            yield session


class ScoringSession:
    """An open connection; see `ConcurrentScorer`."""

    def __init__(self, server: ScoringServer, client: Client, tokens: Tokens) -> None:
        self.server, self.client, self.tokens = server, client, tokens
        self.engine = ENGINES[server.engine]
        self.name = server.name
        self._proof: Nats = ()
        self._validated_at = 0  # the number of interruptions by then
        self._validating = asyncio.Lock()

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`; None where the server's context cannot hold the passage, and where no reply holds its score.
        Answers that come after an
        interruption are handed on once the servers are validated again. Raises InputError where one has another model
        then."""
        pairs = [self.tokens.passage_ids(passage) for passage in passages]
        fits = [i for i, (c, a) in enumerate(pairs) if len(c) + len(a) < self.server.limit_tokens]
        yield from ((i, None) for i in sorted(set(range(len(pairs))) - set(fits)))
        held: list[tuple[int, Nats | None]] = []
        try:
            for at, nats in self.client.ask([self._scoring(*pairs[i], passages[i].group) for i in fits]):
                if self.client.interruptions == self._validated_at:
                    yield fits[at], nats
                else:
                    held.append((fits[at], nats))
        except Incomplete:
            yield from self._confirmed(held)
            raise
        yield from self._confirmed(held)

    async def nats_of(self, passage: Passage) -> Nats | None:
        """See `ConcurrentScorer`; None and errors are as in `score`."""
        context, answer = self.tokens.passage_ids(passage)
        if len(context) + len(answer) >= self.server.limit_tokens:
            return None
        nats = await self.client.answer(self._scoring(context, answer, passage.group))
        async with self._validating:
            if self.client.interruptions != self._validated_at:
                await self._validate()
        return nats

    def _confirmed(self, answers: Sequence[tuple[int, Nats | None]]) -> Iterator[tuple[int, Nats | None]]:
        """The answers, once the servers are validated."""
        if answers:
            self.validate()
        yield from answers

    def _scoring(self, context: Ids, answer: Ids, group: str) -> Call[Nats]:
        """A call that has no score where the server never gives one, such as a log-probability that stays NaN."""
        return replace(self._call(context, answer, group), unreadable=lambda: None)

    def _call(self, context: Ids, answer: Ids, group: str) -> Call[Nats]:
        call = self.engine.score(self.server.served_as, context, answer)
        return replace(call, group=group, tokens=len(context) + len(answer))

    def validate(self) -> None:
        """Let each replica generate a token and score it, and score a fixed text. Raises InputError where the two
        log-probabilities of the token differ, or where the text has other scores than it had first."""
        self.client.runner.run(self._validate())

    async def _validate(self) -> None:
        self._validated_at = self.client.interruptions
        context = self.tokens.context_ids(Prompt((Message("user", "Count from one to five."),)))
        for url in self.server.urls:
            ask = replace(self.engine.next_token(self.server.served_as, context), url=url)
            token, logprob = await self._only(ask)
            nats = await self._only(replace(self._call(context, [token], ""), url=url))
            if abs(nats[0] + logprob) > TOLERANCE_NATS:
                raise InputError(
                    f"server {url}: a token generated with log-probability {logprob:.4f} is scored as {-nats[0]:.4f}; "
                    f"its prompt scores cannot be trusted with engine {self.server.engine!r}"
                )
            await self._compare(url, context)
            await self._compare_cached(url)

    async def _compare(self, url: str, context: Ids) -> None:
        """Raise InputError where a replica scores the fixed text otherwise than the first one did at first."""
        proof = await self._only(replace(self._call(context, self.tokens.ids(PROOF), ""), url=url))
        self._proof = self._proof or proof
        difference = _mean_difference(proof, self._proof)
        if difference > TOLERANCE_NATS:
            raise InputError(
                f"server {url}: the scores of a fixed text differ by {difference:.2f} nats per token from those of the "
                "server that was opened first: it serves another model. Serve the same model at every address, and run "
                "the same command again"
            )

    async def _compare_cached(self, url: str) -> None:
        """Raise InputError where a replica that reads its cache scores the fixed text otherwise with it than without,
        or gives no scores with it. Each context is a new one; another answer puts it, and nothing of the fixed text,
        into the cache."""
        for _ in range(CACHE_PROOFS):
            context = self.tokens.ids(f"{secrets.token_hex(8)} {PROOF * CACHED_TOKENS}")
            context = context[: min(CACHED_TOKENS, self.server.limit_tokens // 2)]
            call = self._call(context, self.tokens.ids(PROOF), "")
            if call.instead is None:
                return
            await self._only(replace(self._call(context, self.tokens.ids("No."), ""), url=url))
            unscored = replace(call.instead, read=lambda _: ())  # empty: no reply counted
            if cached := await self._only(replace(call, url=url, instead=unscored)):
                break
        else:
            raise InputError(
                f"server {url}: it gave no scores after cached tokens for {CACHE_PROOFS} new contexts; {WITHOUT_CACHE}"
            )
        whole = await self._only(replace(call.instead, url=url))
        if (difference := _mean_difference(cached, whole)) > TOLERANCE_NATS:
            raise InputError(
                f"server {url}: after cached tokens the scores of a text differ by {difference:.2f} nats per token "
                f"from those without the cache, so they cannot be trusted; {WITHOUT_CACHE}"
            )

    async def _only(self, call: Call[Result]) -> Result:
        """The answer to one call. Raises InputError where the server has no room for a few tokens."""
        answer = await self.client.answer(call)
        if answer is None:
            raise InputError("server: a prompt of a few words exceeds its context; check how it was started")
        return answer


def _mean_difference(scores: Nats, others: Nats) -> float:
    """The mean absolute difference of two scores of one text, in nats per token."""
    return statistics.fmean(abs(a - b) for a, b in zip(scores, others, strict=True))
