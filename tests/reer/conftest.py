"""What tests of training share."""

from typing import Any

import pytest

from reer.training.chat_format import Rendered
from reer.training.recipe import Trained
from tests.fakes.training import rendered, train


@pytest.fixture(scope="module")
def rows() -> tuple[Rendered, ...]:
    return rendered()


@pytest.fixture(scope="module")
def trained(rows: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(rows, tmp_path_factory.mktemp("full"))
