"""The cost assumptions that `scale=paper` plans with, and small rates for tests."""

from __future__ import annotations

from reer.models.rates import Rate
from reer.search.cost import CostAssumptions, TemplateTokens
from tests.fakes.plans import compose


def assumed() -> CostAssumptions:
    """What `scale=paper` plans with."""
    return compose("scale=paper").estimate


RELEASED_TEMPLATES = TemplateTokens(draft=640, edit=640, inference=1150, classify=0)
"""Of the released prompts."""


def rate(**changes: object) -> Rate:
    """A rate of a model of a billion parameters."""
    values: dict[str, object] = {
        "engine": "vllm",
        "precision": "bfloat16",
        "billions": 1.0,
        "reads_per_second": 1000.0,
        "writes_per_second": {1: 10.0, 8: 40.0},
        "source": "a test",
    }
    return Rate(**(values | changes))  # pyright: ignore[reportArgumentType]
