"""How near texts are in meaning: cosines that can be checked by hand, and windows of a tiny model."""

import pytest

from evals.similarity import NO_EMBEDDING, Embedder, cosine, mean_of_others
from reer.models.local.checkpoints import TinyModel
from reer.models.local.tokens import load_tokenizer
from reer.models.local.weights import load_complete
from reer.models.protocols import Device


def test_a_cosine_is_that_of_the_angle() -> None:
    assert cosine((1.0, 0.0), (1.0, 1.0)) == pytest.approx(0.5**0.5)
    assert cosine((), (1.0,)) is None
    assert cosine((0.0,), (1.0,)) is None


def test_the_solutions_of_other_pairs_leave_out_ones_own() -> None:
    vectors = ((1.0, 0.0), (0.0, 1.0), (0.0, 2.0))
    assert mean_of_others(vectors, vectors, 0) == 0
    assert mean_of_others(vectors, vectors, 1) == 0.5
    assert mean_of_others(vectors[:1], vectors[:1], 0) is None


def test_without_a_checkpoint_nothing_is_loaded() -> None:
    with NO_EMBEDDING.open(Device()) as embedder:
        assert embedder is None


def test_a_text_longer_than_the_window_is_read_in_several() -> None:
    folder = TinyModel(hidden=32, layers=1).fetch()
    model, tokenizer = load_complete(folder, "base"), load_tokenizer(folder)
    narrow, wide = Embedder(model, tokenizer, 4), Embedder(model, tokenizer, 400)
    first, second = narrow.vector("wait"), narrow.vector(" les")
    assert [(a + b) / 2 for a, b in zip(first, second, strict=True)] == pytest.approx(narrow.vector("wait les"))
    assert narrow.vector("wait les") != pytest.approx(wide.vector("wait les"))
    assert narrow.vector("") == ()
