"""What is asked of an engine's server beside scores: completions as token ids, and whether a text is the likeliest.

Prompts are token ids, and so are completions: the checkpoint's own tokenizer and template make both, as in process.
Requests state every setting, the end tokens among them, so that no default of the engine enters a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import Protocol

from reer.models.http.client import Call, Unreadable
from reer.models.placement import ServerEngine
from reer.models.protocols import JsonReply, Nats, Sampling
from reer.models.services.scoring_servers import Engine, Ids, Sglang, VllmCompletions


@dataclass(frozen=True)
class Written:
    """The tokens of a completion, an end token included, and why it ended."""

    ids: tuple[int, ...]
    stopped: Literal["stop", "length"]


@dataclass(frozen=True)
class Rated:
    """The nats of an answer's tokens, and whether each of them is the likeliest at its place."""

    nats: Nats
    is_greedy: bool


@dataclass(frozen=True, kw_only=True)
class Writing:
    """One completion to write after a context: at most `limit` tokens, ended by any of `ends`."""

    context: Ids
    sampling: Sampling
    seed: int
    limit: int
    ends: Sequence[int]
    schema: str | None = None


class Wire(Engine, Protocol):
    """The wire format of one engine."""

    def write(self, model: str, asked: Writing) -> Call[Written]: ...

    def rate(self, model: str, context: Ids, answer: Ids) -> Call[Rated]: ...


class Vllm(VllmCompletions):
    """`/v1/completions` (vllm 0.32)."""

    def write(self, model: str, asked: Writing) -> Call[Written]:
        body = {
            "model": model,
            "prompt": asked.context,
            "max_tokens": asked.limit,
            "seed": asked.seed,
            "return_token_ids": True,
            **_settings(asked),
        }
        if asked.schema is not None:
            body["structured_outputs"] = {"json": json.loads(asked.schema)}

        def read(reply: JsonReply) -> Written:
            choice = reply["choices"][0]
            return _written(choice["token_ids"], choice["finish_reason"])

        return Call(path="/v1/completions", body=body, read=read)

    def rate(self, model: str, context: Ids, answer: Ids) -> Call[Rated]:
        call = self.score(model, context, answer)

        def read(reply: JsonReply) -> Rated:
            rows = reply["choices"][0]["prompt_logprobs"][len(context) :]
            ranks = [row[str(token)]["rank"] for row, token in zip(rows, answer, strict=True)]
            return Rated(call.read(reply), all(rank == 1 for rank in ranks))

        return Call(path=call.path, body=call.body, read=read)


class SglangNative(Sglang):
    """`/generate` (sglang 0.5.23)."""

    def write(self, model: str, asked: Writing) -> Call[Written]:
        settings = {"max_new_tokens": asked.limit, "sampling_seed": asked.seed, **_settings(asked)}
        if asked.schema is not None:
            settings["json_schema"] = asked.schema

        def read(reply: JsonReply) -> Written:
            return _written(reply["output_ids"], reply["meta_info"]["finish_reason"]["type"])

        return Call(path="/generate", body={"input_ids": asked.context, "sampling_params": settings}, read=read)

    def rate(self, model: str, context: Ids, answer: Ids) -> Call[Rated]:
        call = self.score(model, context, answer)

        def read(reply: JsonReply) -> Rated:
            likeliest = [row[0] for row in reply["meta_info"]["input_top_logprobs"][1:]]
            nats = call.read(reply)
            return Rated(nats, [token for _, token, *_ in likeliest] == answer)

        return Call(path=call.path, body={**call.body, "top_logprobs_num": 1}, read=read)


WIRES: dict[ServerEngine, Wire] = {"vllm": Vllm(), "vllm_cached": Vllm(), "sglang": SglangNative()}


def _settings(asked: Writing) -> dict[str, Any]:
    """The sampling parameters that both engines call the same."""
    sampling = asked.sampling
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop": list(sampling.stop),
        "stop_token_ids": list(asked.ends),
    }


def _written(ids: Sequence[Any], reason: Any) -> Written:
    """A completion as read. Raises Unreadable for a reason other than an end or the limit, such as `abort`."""
    if reason not in ("stop", "length"):
        raise Unreadable(f"the completion ended for the reason {str(reason)[:40]!r}")
    if not all(isinstance(token, int) for token in ids):
        raise Unreadable("the completion holds something that is no token id")
    return Written(tuple(ids), reason)
