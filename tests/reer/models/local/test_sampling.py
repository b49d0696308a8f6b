"""Draws keep to their bounds, have their probabilities, and are those of the row alone."""

from random import Random

import pytest
import torch

from reer.models.local.sampling import Settings, draw
from reer.models.protocols import Sampling

FREE = Sampling(temperature=1.0, top_p=1.0, max_tokens=1)


def drawn(probabilities: list[float], sampling: Sampling, times: int = 60) -> list[int]:
    """Draws of rows that are decoded together."""
    random = Random(0)
    logits = torch.tensor(probabilities).log().expand(times, -1)
    return draw(logits, Settings.of([sampling] * times, "cpu"), [random.random() for _ in range(times)])


@pytest.mark.parametrize(
    ("sampling", "ids"),
    [
        (Sampling(temperature=0.0, top_p=1.0, max_tokens=1), {1}),
        (FREE, {0, 1, 2}),
        (Sampling(temperature=1.0, top_p=0.5, max_tokens=1), {1}),
        (Sampling(temperature=1.0, top_p=0.75, max_tokens=1), {0, 1}),
        (Sampling(temperature=1.0, top_p=1.0, max_tokens=1, top_k=1), {1}),
        (Sampling(temperature=1.0, top_p=1.0, max_tokens=1, top_k=2), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.6, max_tokens=1, top_k=2), {1}),
        (Sampling(temperature=0.01, top_p=1.0, max_tokens=1), {1}),
    ],
)
def test_temperature_top_k_and_the_nucleus_bound_what_is_drawn(sampling: Sampling, ids: set[int]) -> None:
    assert set(drawn([0.25, 0.6, 0.15], sampling)) == ids


def test_a_flat_nucleus_reaches_beyond_the_likeliest_256() -> None:
    nucleus = Sampling(temperature=1.0, top_p=0.95, max_tokens=1)
    assert len(set(drawn([1 / 2000] * 2000, nucleus, times=600))) > 450
    ids = drawn([1 / 300] * 300, nucleus, times=3000)
    assert 275 < len(set(ids)) <= 286


@pytest.mark.parametrize("probability", [0.8, 0.02])
def test_draws_have_their_probabilities(probability: float) -> None:
    ids = drawn([1 - probability, probability], FREE, times=4000)
    assert sum(ids) / 4000 == pytest.approx(probability, abs=0.025)


def test_the_ends_of_the_interval_are_the_ends_of_the_nucleus() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    settings = Settings.of([Sampling(temperature=1.0, top_p=0.7, max_tokens=1)], "cpu")
    assert [draw(logits, settings, [number]) for number in (0.0, 0.62, 0.63, 1 - 2**-53)] == [[0], [0], [1], [1]]


def test_rows_with_other_settings_do_not_change_a_row() -> None:
    logits, random = torch.randn(5, 400, generator=torch.Generator().manual_seed(0)), Random(1)
    samplings = [
        Sampling(temperature=0.0, top_p=1.0, max_tokens=1),
        FREE,
        Sampling(temperature=0.7, top_p=0.9, max_tokens=1),
        Sampling(temperature=1.3, top_p=0.9, max_tokens=1, top_k=300),
        Sampling(temperature=9.0, top_p=0.99, max_tokens=1),
    ]
    settings = Settings.of(samplings, "cpu")
    for _ in range(20):
        numbers = [random.random() for _ in samplings]
        alone = [
            draw(logits[[row]], settings.select(torch.tensor([row])), [number])[0] for row, number in enumerate(numbers)
        ]
        assert draw(logits, settings, numbers) == alone
