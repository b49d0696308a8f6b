"""Variance components and what to buy, from tables with known components."""

from dataclasses import replace

import numpy as np
import pytest

from evals.statistics.bootstrap import means
from evals.statistics.paired import failure_shifts, minimum_detectable
from evals.statistics.power import minimum_detectable_effect
from evals.statistics.seeds import MeanError
from evals.statistics.variance import Components, Design, Prices, components, detectable, purchases

TRUE = Components(seeds=0.09, items=0.25, answers=1.0, judgements=0.49)
PRICES = Prices(training=50, answer=0.01, judgement=0.02)


def table(seeds: int, items: int, answers: int, judgements: int) -> np.ndarray:
    random = np.random.default_rng(0)
    shapes = ((seeds, 1, 1, 1), (1, items, 1, 1), (seeds, items, answers, 1), (seeds, items, answers, judgements))
    parts = (TRUE.seeds, TRUE.items, TRUE.answers, TRUE.judgements)
    return sum((random.normal(0, part**0.5, shape) for part, shape in zip(parts, shapes, strict=True)), np.zeros(1))


def test_the_components_of_a_table_are_found() -> None:
    found = components(table(40, 400, 2, 2))
    assert found.seeds == pytest.approx(TRUE.seeds, rel=0.4)
    assert found.items == pytest.approx(TRUE.items, rel=0.2)
    assert found.answers == pytest.approx(TRUE.answers, rel=0.05)
    assert found.judgements == pytest.approx(TRUE.judgements, rel=0.05)


def test_what_an_axis_of_length_one_hides_counts_towards_the_next() -> None:
    found = components(table(1, 2000, 1, 1))
    assert (found.seeds, found.answers, found.judgements) == (0, 0, 0)
    assert found.items == pytest.approx(TRUE.items + TRUE.answers + TRUE.judgements, rel=0.1)


def test_the_detectable_difference_of_one_seed_is_that_of_a_paired_test() -> None:
    spread = (TRUE.items + TRUE.answers / 2 + TRUE.judgements / 6) ** 0.5
    design = Design(items=100, answers=2, judgements=3)
    assert detectable(TRUE, design) == pytest.approx(minimum_detectable_effect(100) * spread)
    assert detectable(TRUE, Design(seeds=2, items=100)) > detectable(TRUE, Design(items=100))


def test_room_for_one_more_failure_raises_the_detectable_difference_as_in_a_comparison() -> None:
    random, design = np.random.default_rng(4), Design(items=60)
    base = random.normal(5.5, 1.2, (60, 60))
    arm = base + random.normal(0, 1, (60, 60))
    compared = minimum_detectable(arm - base, means(arm - base), failure_shifts(arm, base, 1.0))
    variances = Components(seeds=0, items=1, answers=0, judgements=0)
    assert detectable(variances, design, above_worst=4.5) == pytest.approx(float(compared.mean()), rel=0.05)
    assert detectable(variances, design) < 0.9 * detectable(variances, design, above_worst=4.5)
    (more, *_) = purchases(TRUE, Design(items=123), PRICES, 0.3, above_worst=4.5)
    assert more.design.items > purchases(TRUE, Design(items=123), PRICES, 0.3)[0].design.items


def test_the_cheapest_single_enlargement_comes_first_and_is_just_enough() -> None:
    bought = purchases(TRUE, Design(items=123), PRICES, 0.3)
    assert [purchase.respect for purchase in bought] == ["items", "answers", "judgements"]
    least = bought[0].design.items
    assert detectable(TRUE, Design(items=least)) <= 0.3 < detectable(TRUE, Design(items=least - 1))
    assert bought[0].price == pytest.approx((least - 123) * 0.03)


def test_more_items_do_not_replace_seeds() -> None:
    (bought,) = purchases(TRUE, Design(seeds=3, items=123), PRICES, 0.3)
    assert bought.respect == "seeds"
    assert purchases(TRUE, Design(items=123), PRICES, 0.5)[0].price == 0


def test_the_components_of_one_seed_are_those_by_hand() -> None:
    """Items at 0 and 6, answers 2 above and below, judgements 1 above and below: variances of 18, 8 and 2. Half of the
    judgements' is in that of the answers, and half of the answers' in that of the items."""
    items, answers, judgements = np.array([0, 6]), np.array([-2, 2]), np.array([-1, 1])
    one = (items[:, None, None] + answers[:, None] + judgements)[None]
    assert components(one) == Components(seeds=0, items=18 - 8 / 2, answers=8 - 2 / 2, judgements=2)
    unanswered = components(one[:, :, :1])
    assert unanswered == Components(seeds=0, items=18 - 2 / 2, answers=0, judgements=2)
    assert components(one[:, :, :, :1]) == Components(seeds=0, items=18 - 8 / 2, answers=8, judgements=0)


def test_the_components_of_two_seeds_are_those_by_hand() -> None:
    """Means of seeds 3 and 5, of items 2, 2 and 8; four residuals of 1 with two degrees of freedom."""
    found = components(np.array([[1, 2, 6], [3, 2, 10]])[:, :, None, None])
    assert found.seeds == pytest.approx(2 - 2 / 3)
    assert (found.items, found.answers, found.judgements) == (pytest.approx(12 - 2 / 2), pytest.approx(2), 0)
    wide = components(np.array([[[1, 1], [2, 2], [6, 6]], [[3, 3], [2, 2], [10, 10]]])[:, :, :, None])
    assert wide.answers == pytest.approx(2 * 2), "of a single answer, where two make the difference of an item"


def test_the_detectable_difference_of_several_seeds_is_that_of_their_parts() -> None:
    cell = TRUE.answers / 2 + TRUE.judgements / 6
    error = MeanError(
        seeds=4, items=50, by_seed=TRUE.seeds / 4 + cell / 200, by_item=TRUE.items / 50, residual=cell / 200
    )
    design = Design(seeds=4, items=50, answers=2, judgements=3)
    assert detectable(TRUE, design) == pytest.approx(error.minimum_detectable())
    assert detectable(TRUE, design, 5.0) == pytest.approx((error.minimum_detectable() + 5 / 51) * (1 + 1 / 50))


def test_every_purchase_is_just_enough_and_costs_what_it_adds() -> None:
    design = Design(seeds=2, items=100, answers=2, judgements=2)
    assert PRICES.of(design) == pytest.approx(2 * 50 + 400 * (0.01 + 2 * 0.02))
    wanted = 0.9 * detectable(TRUE, design)
    bought = purchases(TRUE, design, PRICES, wanted)
    assert [purchase.price for purchase in bought] == sorted(purchase.price for purchase in bought)
    for purchase in bought:
        count = getattr(purchase.design, purchase.respect)
        assert purchase.design == replace(design, **{purchase.respect: count})
        assert count > getattr(design, purchase.respect)
        assert detectable(TRUE, purchase.design) <= wanted
        assert wanted < detectable(TRUE, replace(design, **{purchase.respect: count - 1}))
        assert purchase.price == pytest.approx(PRICES.of(purchase.design) - PRICES.of(design))


def test_what_no_affordable_number_detects_is_not_bought() -> None:
    assert purchases(TRUE, Design(items=10), PRICES, 1e-4) == []


def test_a_design_that_detects_the_wanted_difference_just_so_is_bought_as_it_is() -> None:
    design = Design(seeds=2, items=100)
    bought = purchases(TRUE, design, PRICES, detectable(TRUE, design))
    assert [(purchase.design, purchase.price) for purchase in bought] == [(design, 0.0)] * 4
