"""lm-eval's tasks on a model that an engine serves, through the same session as everything else.

lm-eval's own `local-completions` gives a task up after three failed calls and leaves end tokens and sampling defaults
to the server; here calls are repeated, routed and checked as those of the search are. Tokens are made and cut as by
lm-eval's `hf` model (0.4.13), so that both give the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from reer.errors import InputError
from reer.models.engines.session import EngineSession
from reer.models.engines.wire import Writing
from reer.models.protocols import Sampling, in_order
from reer.types import item_seed

Ids = list[int]
SAMPLED = {"temperature", "top_p", "top_k", "do_sample", "until", "max_gen_toks"}  # settings of tasks that are known
DEFAULT_TOKENS = 256  # of lm-eval, for a task that states no limit


def engine_model(session: EngineSession) -> Any:
    """An open session as a model of lm-eval."""
    return model_class()(pretrained=session)


@cache
def model_class() -> Any:
    """The class that lm-eval makes the model of."""
    from lm_eval.api.model import TemplateLM

    return type("EngineModel", (EngineModel, cast(Any, TemplateLM)), {})


class EngineModel:
    """What lm-eval asks a model for; `model_class` adds its base class, which is slow to import. The arguments are
    those of `HFLM` that a thinking model is made with."""

    def __init__(self, *, pretrained: EngineSession, think_end_token: str | None = None, **settings: Any) -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_length = pretrained, pretrained.tokens.tokenizer, pretrained.limit
        self.think_end_token = think_end_token
        thinks = settings.get("enable_thinking")
        self.chat_template_args = {} if thinks is None else {"enable_thinking": thinks}

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.eot_token_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id

    @property
    def tokenizer_name(self) -> str:
        return self.model.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> Ids:
        from lm_eval.models.utils import has_bos_prefix

        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **given)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.chat_template_args,
        )

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        pairs = [(context[len(answer) + 1 - self.max_length :], answer) for _, context, answer in requests]
        rated = in_order(self.model.rate(pairs), len(pairs))
        return [(-sum(each.nats), each.is_greedy) for each in rated]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        from lm_eval import utils

        sums: list[float] = []
        for request in requests:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1,
                context_len=1,
            )
            parts = [(None, *utils.make_disjoint_window(window)) for window in windows]
            sums.append(sum(value for value, _ in self._loglikelihood_tokens(parts)))
        return sums

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

        settings = [normalize_gen_kwargs(request.args[1], DEFAULT_TOKENS) for request in requests]
        asked = [self._writing(request, each) for request, each in zip(requests, settings, strict=True)]
        written = in_order(self.model.write(asked, [""] * len(asked)), len(asked))
        texts = [self.model.tokens.completion(each.ids, ()) for each in written]
        stops = [each.get("until", []) for each in settings]
        return [postprocess_generated_text(text, until, None) for text, until in zip(texts, stops, strict=True)]

    def _writing(self, request: Any, settings: Mapping[str, Any]) -> Writing:
        limit = int(settings["max_gen_toks"])
        return Writing(
            context=self.tok_encode(request.args[0])[limit - self.max_length :],
            sampling=_sampling(settings, limit),
            seed=item_seed(request.task_name, request.doc_id, request.idx),
            limit=limit,
            ends=self.model.ends,
        )


def _sampling(settings: Mapping[str, Any], limit: int) -> Sampling:
    """A task's sampling. Raises InputError for a setting that would have no effect."""
    if unknown := sorted(settings.keys() - SAMPLED):
        raise InputError(
            f"benchmark lm_eval: a task samples with {', '.join(unknown)}, which engines are not asked for here; use "
            "student.engine=transformers, or leave the task out"
        )
    return Sampling(
        temperature=float(settings["temperature"]) if settings["do_sample"] else 0.0,
        top_p=float(settings.get("top_p", 1.0)),
        top_k=int(settings.get("top_k", 0)),
        max_tokens=limit,
        stop=tuple(stop for stop in settings.get("until", []) if stop),
    )
