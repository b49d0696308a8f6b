"""What models are shown and trained on, to the letter: a change here changes every result.

`REER_GOLDEN=write pytest tests/test_golden.py` rewrites the files; the difference belongs into the review.
"""

import json
import os
from typing import Any

import pytest
from transformers import AutoTokenizer

from evals.benchmark import Response
from experiments.experiment import Experiment
from reer.models.local.checkpoints import TinyModel
from reer.models.protocols import Prompt
from reer.search.draft import draft_prompt
from reer.training.chat_format import render
from reer.types import Message, Pair, Sample
from tests.conftest import REPOSITORY
from tests.fakes.plans import compose

SOLUTIONS = {
    "en": "The key is small and cold. " * 4 + "\n\n" + "It opens a shed by the river. " * 4,
    "zh": "这把钥匙又小又凉。" * 12 + "\n\n" + "它开河边的一间棚屋。" * 12,
}
QUERIES = {"en": "Write a note about a key.", "zh": "写一张关于钥匙的便条。"}
PAIRS = {
    language: Pair(
        id=f"id-{language}",
        query=QUERIES[language],
        solution=SOLUTIONS[language].strip(),
        category="correspondence",
        language=language,
        source="t",
    )
    for language in ("en", "zh")
}


def golden(name: str, value: Any) -> None:
    """Equal to the file of that name."""
    path = REPOSITORY / "tests" / "golden" / f"{name}.json"
    if os.environ.get("REER_GOLDEN") == "write":
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == value


def one(*overrides: str) -> Experiment:
    return compose("scale=smoke", *overrides)


def shown(prompt: Prompt) -> dict[str, Any]:
    return {"turns": [[m.role, m.content] for m in prompt.messages], "prefill": prompt.prefill}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("texts", ["brief", "reer"])
@pytest.mark.parametrize("reflection", ["inject", "never"])
def test_prompts_are_shown_as_they_were(texts: str, language: str, reflection: str) -> None:
    x, pair = one(f"prompts={texts}", f"reflection={reflection}"), PAIRS[language]
    bound = x.prompts.with_triggers(x.reflection.triggers)
    passage = x.scorer.score.passage(pair, ("first", "second"), bound)
    prompts = {
        "draft": shown(draft_prompt(pair, bound, 0)[0]),
        "edit": shown(bound.for_language(pair.language).edit(pair, "B", "S", "A")),
        "score": [shown(passage.context), passage.answer] if passage else None,
    }
    golden(f"prompts-{texts}-{reflection}-{language}", prompts)


def test_a_rendered_sample_and_its_loss_mask_are_as_they_were() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TinyModel().fetch())
    turns = (Message("user", "Hi 你好"), Message("assistant", "Yes."))
    sample = Sample(id="s", messages=turns, source="t", category="c", thinking="Let me see.\n\nDone.", answer="Yes.")
    (row,) = render([sample], tokenizer, one().train.chat_format, 4096).rows
    trained = [token for token, label in zip(row.input_ids, row.labels, strict=True) if label >= 0]
    masked = [token for token, label in zip(row.input_ids, row.labels, strict=True) if label < 0]
    golden("rendered-sample", {"masked": tokenizer.decode(masked), "trained": tokenizer.decode(trained)})


def test_the_judges_prompt_is_as_it_was() -> None:
    benchmark = one().benchmark["writing"]
    item = benchmark.items()[0]
    (call,) = benchmark.calls(item, Response.read(item.id, "<think>\nplan\n</think>\n\nThe text.", False, 5))
    golden("judge-writing", shown(call.prompt))
