"""A simulated world through the real stages: each sealed arm is recognised, and rates count what was right."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments.selftest.arms import MEASURED, OVERRIDES, Kind
from experiments.selftest.outcome import Compared, Sealed, WorldOutcome
from experiments.selftest.rates import Rates, rates
from experiments.selftest.run import prepared
from experiments.selftest.table import show
from experiments.selftest.worlds import outcome_in
from tests.fakes.plans import plans


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> WorldOutcome:
    """The outcome of the first world at one seed."""
    root = tmp_path_factory.mktemp("selftest")
    return outcome_in(0, prepared(plans(*OVERRIDES), root / "shared"), root, seeds=(0,))


def test_every_sealed_arm_of_a_world_is_recognised(outcome: WorldOutcome) -> None:
    assert {sealed.kind for sealed in outcome.sealed} == set(Kind)
    assert not [sealed for sealed in outcome.sealed if not sealed.right]
    found = {sealed.kind: sealed.found for sealed in outcome.sealed}
    assert "the switch changed nothing" in found[Kind.DEAD]
    assert "also changed reflection" in found[Kind.LEAKING]
    assert "refine.edits = 0 (measured: " in found[Kind.MISLABELLED]
    assert "its grades of the anchors changed by -" in found[Kind.DRIFTS]
    assert "score withheld" in found[Kind.FAILS]


def test_differences_are_compared_with_the_truth(outcome: WorldOutcome) -> None:
    assert [compared.arm for compared in outcome.compared] == list(MEASURED)
    assert sum(compared.low <= compared.truth <= compared.high for compared in outcome.compared) >= 6
    assert {c.arm for c in outcome.compared if abs(c.truth) > 1.0} >= {MEASURED[-1]}


def made(seed: int, **changes: object) -> WorldOutcome:
    """A world in which all is right."""
    null = Compared(
        arm="another_order",
        over_seeds=False,
        without_effect=True,
        truth=0.0,
        mean=0.1,
        low=-0.2,
        high=0.4,
        p=0.5,
        margin=0.225,
        finding="undecided",
    )
    effect = replace(null, arm="a", without_effect=False, truth=2.0, mean=2.0, low=1.0, high=3.0, finding="different")
    sealed = tuple(Sealed(kind=kind, arm=kind, truth=None, found="it", right=True) for kind in Kind)
    outcome = WorldOutcome(seed=seed, sealed=sealed, compared=(null, effect), drift_named=(False,) * 5)
    return replace(outcome, **changes)  # pyright: ignore[reportArgumentType]


def share(found: Rates, name: str) -> tuple[int, float | None, bool | None]:
    (one,) = (share for share in found.shares if name in share.name)
    return one.cases, one.percent, one.kept


def test_rates_count_worlds_and_say_what_so_few_do_not_decide() -> None:
    first, second = made(0), made(1)
    null, effect = first.compared
    missed = replace(first, compared=(replace(null, low=0.05), replace(effect, truth=-2.0)))
    found = rates([missed, second], seconds=1.0)
    assert (found.sealed, found.sealed_right, found.kept) == (20, 20, True)
    assert share(found, "one seed: intervals that cover the truth") == (4, 50.0, None)
    assert share(found, "one seed: no effect, interval without 0") == (2, 50.0, None)
    assert share(found, "one seed: called different, wrong sign") == (2, 50.0, None)
    assert share(found, "over seeds: intervals that cover the truth") == (0, None, True)


def test_many_worlds_decide() -> None:
    null, effect = made(0).compared
    missed = (replace(null, low=0.05), effect)
    found = rates([made(seed, compared=missed if seed % 5 == 0 else (null, effect)) for seed in range(200)], 1.0)
    assert share(found, "one seed: no effect, interval without 0") == (200, 20.0, False)
    assert not found.kept


def test_one_broken_switch_that_is_not_named_is_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [made(seed) for seed in range(30)]
    sealed = tuple(replace(s, right=s.kind is not Kind.DEAD, found="nothing") for s in outcomes[0].sealed)
    found = rates([replace(outcomes[0], sealed=sealed), *outcomes[1:]], seconds=1.0)
    assert share(found, "dead, leaking, mislabelled: named")[2] is False
    assert (found.sealed, found.sealed_right, found.kept) == (30, 29, False)
    show(found, outcomes)
    text = capsys.readouterr().out
    assert "sealed arms: 29 of 30 right" in text
    assert "not all that is wanted holds" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.slow
def test_the_verb_runs_worlds_in_processes_and_prints_data() -> None:
    command = [sys.executable, "-m", "experiments.cli", "selftest", "--worlds", "2", "--json"]
    content = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (content["worlds"], content["sealed"], content["sealed_right"]) == (2, 20, 20)
