"""An lm-eval model that thinks before it answers: thinking is removed, and replies without an answer are counted.

lm-eval (0.4.13) removes the text up to the end of the thinking, but keeps a reply that ends inside its thinking in full
(its issue 3382), so thinking is scored as an answer; and a stop string inside the thinking ends the reply. This module
fixes both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from reer.errors import InputError

CLOSING_TAG = re.compile(r"</\w+>")


def thinking_model(loaded: Any, think_end_token: str, rows: int) -> Any:
    """A second lm-eval model on the weights of the first, with `enable_thinking` and `think_end_token` set.

    Its replies are the text after the last `think_end_token`, cut at the task's stop strings. If thinking was opened,
    by the template or the model, and not closed, the reply is empty, as for the judged benchmarks, and `unclosed`
    records it by task and document. Raises InputError if decoding would drop the token.
    """
    if think_end_token in loaded.tokenizer.all_special_tokens:
        raise InputError(
            f"benchmark lm_eval: want a think_end_token that decoding keeps, got {think_end_token}, a special token of "
            "this tokenizer; mark it as not special there, or set think_end_token to null"
        )
    made: Any = _thinking_class(type(loaded))
    return made(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=rows,
        max_length=loaded.max_length,
        enable_thinking=True,
        think_end_token=think_end_token,
    )


@cache
def _thinking_class(base: Any) -> type:
    """The class of models like `base` that think."""
    from lm_eval.models.utils import postprocess_generated_text

    class ThinkingModel(base):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # lm-eval has validated the token; it is then hidden from it, as only raw replies show unclosed thinking.
            self.closing, self.think_end_token = str(self.think_end_token), None
            self.unclosed: dict[tuple[str, int], list[bool]] = {}

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            replies = super().generate_until([_without_stop_strings(request) for request in requests], disable_tqdm)
            return [self._answer(request, reply) for request, reply in zip(requests, replies, strict=True)]

        def _answer(self, request: Any, reply: str) -> str:
            context, settings = request.args
            unclosed = never_closed(context, reply, self.closing)
            self.unclosed.setdefault((request.task_name, request.doc_id), []).append(unclosed)
            return "" if unclosed else postprocess_generated_text(reply, settings["until"], self.closing)

    return ThinkingModel


def _without_stop_strings(request: Any) -> Any:
    """The request without stop strings: they end answers, and thinking may contain them."""
    context, settings = request.args
    return replace(request, arguments=(context, {**settings, "until": []}))


def never_closed(context: str, reply: str, closing: str) -> bool:
    """True if a reply is thinking to its end: opened at the end of the prompt or at its own start, and not closed."""
    opening = closing.replace("/", "")
    opened = context.rstrip().endswith(opening) or reply.lstrip().startswith(opening)
    return opened and closing not in reply
