"""A reward model as a scorer, with random weights."""

import math
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parts import experiment_from
from experiments.experiment import GRADED, RewardScorerRole
from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.local.reward import RewardModel
from reer.models.protocols import Device, Passage
from reer.models.shared import kept
from reer.types import Pair
from tests.fakes.memory import is_freed, weights
from tests.fakes.plans import compose, plan

PAIR = Pair(id="p", query="Write.", solution="Done.", category="c", language="en", source="t")


def saved(folder: Path, **settings: Any) -> str:
    """A random classifier with the tokenizer of the tiny model."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    from reer.models.local.tokens import load_tokenizer

    tokenizer = load_tokenizer(TinyModel().fetch())
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        head_dim=16,
        intermediate_size=32,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
        **{"num_labels": 1, "max_position_embeddings": 200, **settings},
    )
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("reward"))


def test_it_has_the_memory_of_a_model_that_nobody_uses(folder: str) -> None:
    with kept():
        unused = weights(LocalModel(TinyModel()))
        with RewardModel(FolderModel(folder)).open(Device("cpu")):
            assert is_freed(unused)


def passage(thinking: str, solution: str = "Done.") -> Passage:
    exp = compose("scale=smoke")
    found = GRADED.passage(
        Pair(**{**vars(PAIR), "solution": solution}), (thinking,), exp.prompts.with_triggers(exp.reflection.triggers)
    )
    assert found is not None
    return found


def scores(folder: str, *passages: Passage, center: float = 0.0) -> list[tuple[float, ...] | None]:
    with RewardModel(FolderModel(folder), center=center).open(Device("cpu")) as session:
        return [nats for _, nats in session.score(passages)]


def test_a_score_is_of_the_thinking_alone_and_falls_with_its_reward(folder: str) -> None:
    one, other, same, long = scores(
        folder, passage("A plan."), passage("No idea at all."), passage("A plan.", "Other."), passage("x" * 300)
    )
    assert one is not None
    assert one == same != other, "the solution is not read"
    assert long is None, "longer than the model's context"
    reward = -math.log(math.expm1(one[0]))
    assert scores(folder, passage("A plan."), center=reward) == [(pytest.approx(math.log(2)),)]
    ((better,),) = scores(folder, passage("A plan."), center=reward - 1)  # type: ignore[misc]
    assert better < math.log(2)


def test_its_zero_is_part_of_its_name() -> None:
    names = {RewardModel(TinyModel(), center=center).name for center in (0.0, 2.0)}
    assert len(names) == 2


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    two = RewardModel(FolderModel(saved(tmp_path, num_labels=2)))
    with pytest.raises(InputError, match="it has 2 labels; want a reward model"), two.open(Device("cpu")):
        pass
    writer = FolderModel(str(TinyModel().fetch()))
    with pytest.raises(InputError, match=r"the weights lack score\.weight"):
        writer.require("reward")


def test_the_choice_names_its_model_and_refuses_what_has_no_effect() -> None:
    keys = ("scale=smoke", "scorer=reward", "scorer.model.checkpoint.repo=o/n", "scorer.model.checkpoint.revision=r")
    assert isinstance(compose(*keys).scorer, RewardScorerRole)
    with pytest.raises(InputError, match="a reward has no tokens"):
        experiment_from(plan(*keys, "scorer.score.skip_first_segment=true"))
