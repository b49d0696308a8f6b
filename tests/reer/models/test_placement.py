"""Placements: GPUs are shared equally, and an engine's command holds no option that would change a number unseen."""

from typing import Any

import pytest

from reer.errors import InputError
from reer.models.placement import Engines, Placement


def test_replicas_share_the_gpus_equally() -> None:
    placement = Placement(gpus=(0, 1, 2, 3, 4, 5), replicas=3)
    assert placement.gpus_per_replica == 2
    assert [placement.gpus_of(number) for number in range(3)] == [(0, 1), (2, 3), (4, 5)]
    assert Placement(replicas=4).gpus_of(2) == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": (0, 1, 2), "replicas": 2}, "3 GPUs for 2 replicas"),
        ({"gpus": (0, 0)}, "names a GPU twice"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Placement(**settings)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("vllm", "serve", "--quantization", "fp8"), "changes the model's numbers"),
        (("vllm", "serve", "--kv_cache_dtype=fp8"), "changes the model's numbers"),
        (("vllm", "serve", "--port", "1"), "is set by the run itself"),
        ((), "want the command that starts the server"),
        (("--enforce-eager",), "want the command that starts the server"),
    ],
)
def test_a_command_with_options_of_the_model_or_the_run_is_refused(command: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engines(vllm=command)
