"""A model under lm-eval that thinks before it answers: thinking taken out, and what never came to an answer counted.

lm-eval (0.4.13) drops all up to the thinking's end, but gives back whole what was cut inside it (its issue 3382), so
thinking is scored as an answer; and a stop string ends the thinking as it ends the answer. Here neither happens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

from reer.errors import InputError

CLOSING_TAG = re.compile(r"</\w+>")


def thinking_model(loaded: Any, think_end_token: str, rows: int) -> Any:
    """A second lm-eval model around the weights of the first, with `enable_thinking` and `think_end_token` set.

    Its replies are what follows the last `think_end_token`, cut at the task's stop strings. One whose thinking was
    opened, by the template or by the model, and never closed is empty, as it is for the judged benchmarks; `unclosed`
    says so by task and document. Raises InputError where decoding would lose the token.
    """
    if think_end_token in loaded.tokenizer.all_special_tokens:
        raise InputError(
            f"benchmark lm_eval: want a think_end_token that stays in decoded text, got {think_end_token}, a special "
            "token of this tokenizer; mark it there as not special, or set think_end_token to null"
        )
    made: Any = _thinking_class()
    return made(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=rows,
        max_length=loaded.max_length,
        enable_thinking=True,
        think_end_token=think_end_token,
    )


@cache
def _thinking_class() -> type:
    """Made when it is used: the class it extends is heavy to import."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.utils import postprocess_generated_text

    class Thinking(cast(Any, HFLM)):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # Checked above by lm-eval, then kept from it: whether thinking ended shows in the raw reply alone.
            self.closing, self.think_end_token = str(self.think_end_token), None
            self.unclosed: dict[tuple[str, int], list[bool]] = {}

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            replies = super().generate_until([_unstopped(request) for request in requests], disable_tqdm)
            return [self._answer(request, reply) for request, reply in zip(requests, replies, strict=True)]

        def _answer(self, request: Any, reply: str) -> str:
            context, settings = request.args
            lost = never_closed(context, reply, self.closing)
            self.unclosed.setdefault((request.task_name, request.doc_id), []).append(lost)
            return "" if lost else postprocess_generated_text(reply, settings["until"], self.closing)

    return Thinking


def _unstopped(request: Any) -> Any:
    """The request without its stop strings, which end answers: thinking may well hold them."""
    context, settings = request.args
    return replace(request, arguments=(context, {**settings, "until": []}))


def never_closed(context: str, reply: str, closing: str) -> bool:
    """Whether a reply is thinking to its end: opened by the prompt's last words or its own first, and not closed."""
    opening = closing.replace("/", "")
    opened = context.rstrip().endswith(opening) or reply.lstrip().startswith(opening)
    return opened and closing not in reply
