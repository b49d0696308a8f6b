"""Scorers behind HTTP servers that return the log-probabilities of a prompt: SGLang and vLLM.

Both are given token ids of our own, and every reply is held against them: the right number, the right tokens, nothing
above zero, nothing that is no number. What fails this is no score. When a server is opened it has to prove itself: a
token that it generates must have, when scored, the log-probability that it was generated with. A server whose prompt
scores are off by one position, or read from memory that was never written, does not pass.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from pydantic import InstanceOf, PositiveInt

from reer.errors import InputError
from reer.models.http.client import Call, Client, Endpoint, Unreadable, connect
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.tokens import Tokens
from reer.models.protocols import Device, Nats, Passage, Prompt
from reer.types import Message

Result = TypeVar("Result")
Ids = list[int]
PROOF_NATS = 0.05  # generating and prefilling run other kernels: bfloat16 moves a log-probability by this much


class Engine(Protocol):
    """The wire format of one server."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]: ...

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        """The likeliest next token and its log-probability, by generating it."""
        ...


class Sglang:
    """`/generate` with `logprob_start_len` (sglang 0.5.23): the radix cache is read up to the context's end."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        body = {
            "input_ids": context + answer,
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": len(context) - 1,
            "top_logprobs_num": 0,
        }

        def read(reply: Any) -> Nats:
            rows = reply["meta_info"]["input_token_logprobs"][1:]  # the first row has no predecessor: always None
            if [row[1] for row in rows] != answer:
                raise Unreadable(f"scored {len(rows)} tokens that are not the {len(answer)} of the answer")
            return checked([row[0] for row in rows])

        return Call("/generate", body, read)

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        body = {
            "input_ids": context,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
        }

        def read(reply: Any) -> tuple[int, float]:
            logprob, token, *_ = reply["meta_info"]["output_token_logprobs"][0]
            return int(token), float(logprob)

        return Call("/generate", body, read)


class VllmCompletions:
    """`/v1/completions` with `prompt_logprobs` (any vLLM): the whole prompt is read again for every call."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        body = {
            "model": model,
            "prompt": context + answer,
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
        }

        def read(reply: Any) -> Nats:
            rows = reply["choices"][0]["prompt_logprobs"]
            if len(rows) != len(context) + len(answer):
                raise Unreadable(f"{len(rows)} rows for a prompt of {len(context) + len(answer)} tokens")
            return checked(
                [row[str(token)]["logprob"] for row, token in zip(rows[len(context) :], answer, strict=True)]
            )

        return Call("/v1/completions", body, read)

    def next_token(self, model: str, context: Ids) -> Call[tuple[int, float]]:
        body = {
            "model": model,
            "prompt": context,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 0,
            "return_tokens_as_token_ids": True,
        }

        def read(reply: Any) -> tuple[int, float]:
            found = reply["choices"][0]["logprobs"]
            return int(found["tokens"][0].removeprefix("token_id:")), float(found["token_logprobs"][0])

        return Call("/v1/completions", body, read)


class VllmTokens(VllmCompletions):
    """`/inference/v1/generate` with one candidate for each scored row (vllm 0.33, model runner 2): the head runs on the
    answer's rows only."""

    def score(self, model: str, context: Ids, answer: Ids) -> Call[Nats]:
        sampling = {
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprob_token_ids": [[token] for token in answer],
            "prompt_logprob_start": len(context) - 1,
        }

        def read(reply: Any) -> Nats:
            import numpy as np

            matrix = np.load(io.BytesIO(base64.b64decode(reply["prompt_token_id_logprobs"])), allow_pickle=False)
            if matrix.shape != (len(answer), 1):
                raise Unreadable(f"a matrix of {matrix.shape} for an answer of {len(answer)} tokens")
            return checked([float(value) for value in matrix[:, 0]])

        body = {"model": model, "token_ids": context + answer, "sampling_params": sampling}
        return Call("/inference/v1/generate", body, read)


ENGINES: dict[str, Engine] = {"sglang": Sglang(), "vllm": VllmTokens(), "vllm_completions": VllmCompletions()}


def checked(logprobs: Sequence[Any]) -> Nats:
    """Log-probabilities as nats of surprise. Raises Unreadable for what cannot be one."""
    for value in logprobs:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-4:
            raise Unreadable(f"{value!r} is no log-probability")
    return tuple(max(0.0, -float(value)) for value in logprobs)


@dataclass(frozen=True)
class ScoringServer(Endpoint):
    """A model served for scoring. `checkpoint` gives the tokenizer (its weights are the server's), `served_as` the
    name it is served under, `dtype` the precision it is served in, `limit_tokens` its context."""

    engine: Literal["sglang", "vllm", "vllm_completions"]
    checkpoint: InstanceOf[Checkpoint]
    dtype: str
    limit_tokens: PositiveInt = field(metadata={"identity": False})
    served_as: str = field(metadata={"identity": False})

    @contextmanager
    def open(self, device: Device) -> Iterator[ScoringSession]:
        from transformers import AutoTokenizer

        tokens = Tokens(AutoTokenizer.from_pretrained(self.checkpoint.fetch()))
        with connect(self.served_as, self) as client:
            session = ScoringSession(self, client, tokens)
            session.prove()
            yield session


class ScoringSession:
    """An open connection; see `Scorer`."""

    def __init__(self, server: ScoringServer, client: Client, tokens: Tokens) -> None:
        self.server, self.client, self.tokens = server, client, tokens
        self.engine = ENGINES[server.engine]
        self.name = f"{server.checkpoint.name}/{server.dtype}/{server.engine}-server"

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`; None where the server's context cannot hold the passage."""
        pairs = [self.tokens.passage_ids(passage) for passage in passages]
        fits = [i for i, (c, a) in enumerate(pairs) if len(c) + len(a) < self.server.limit_tokens]
        yield from ((i, None) for i in sorted(set(range(len(pairs))) - set(fits)))
        for at, nats in self.client.ask([self._call(*pairs[i], passages[i].group) for i in fits]):
            yield fits[at], nats

    def _call(self, context: Ids, answer: Ids, group: str) -> Call[Nats]:
        call = self.engine.score(self.server.served_as, context, answer)
        return replace(call, group=group)

    def prove(self) -> None:
        """Have each replica generate a token and score it. Raises InputError where the two disagree."""
        context = self.tokens.context_ids(Prompt((Message("user", "Count from one to five."),)))
        for url in self.server.urls:
            ask = replace(self.engine.next_token(self.server.served_as, context), url=url)
            token, logprob = self._only(ask)
            nats = self._only(replace(self._call(context, [token], ""), url=url))
            if abs(nats[0] + logprob) > PROOF_NATS:
                raise InputError(
                    f"server {url}: a token generated with log-probability {logprob:.4f} is scored {-nats[0]:.4f}; its "
                    f"prompt scores cannot be trusted with engine {self.server.engine!r}"
                )

    def _only(self, call: Call[Result]) -> Result:
        """The answer to one call. Raises InputError where the server has no room for a few tokens."""
        ((_, answer),) = self.client.ask([call])
        if answer is None:
            raise InputError("server: its context has no room for a prompt of a few words")
        return answer
