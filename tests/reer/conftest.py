"""Fixtures of the tests of training."""

import pytest

from reer.training.chat_format import Rendered
from reer.training.recipe import Trained
from tests.fakes.training import LORA, rendered, train


@pytest.fixture(scope="session")
def rows() -> tuple[Rendered, ...]:
    """Eight rendered rows."""
    return rendered()


@pytest.fixture(scope="session")
def trained(rows: tuple[Rendered, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One uninterrupted training, shared by all tests that only read its result."""
    return train(rows, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def trained_adapters(rows: tuple[Rendered, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One uninterrupted training of adapters."""
    return train(rows, tmp_path_factory.mktemp("adapters"), recipe=LORA)
