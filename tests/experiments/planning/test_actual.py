"""How many times as long as planned a stage took."""

from dataclasses import replace

from experiments.planning.actual import PlannedActual

ROW = PlannedActual(stage="draft", planned_seconds=10.0, seconds=25.0, planned_tokens=100, tokens=90, replayed=False)


def test_the_ratio_leaves_out_what_was_not_computed() -> None:
    assert ROW.ratio == 2.5
    assert replace(ROW, replayed=True).ratio is None
    assert replace(ROW, planned_seconds=0.0).ratio is None
