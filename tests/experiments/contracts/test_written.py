"""What an arm changes is read off its YAML, and its contract limits it."""

from pathlib import Path

import pytest

from experiments.config.choices import CONF
from experiments.config.compose import compose_plans
from experiments.contracts.measured import check_names
from experiments.contracts.written import contract_of, written_arm
from reer.errors import InputError
from tests.fakes.plans import compose

ARMS = sorted((CONF / "experiment").glob("*.yaml"))
LINES = 12  # of an arm's YAML


def own(folder: Path, text: str, name: str = "mine") -> tuple[Path, Path]:
    """The project's folder and one of the user's with an arm."""
    file = folder / "experiment" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"# @package _global_\n{text}")
    return (CONF, folder)


@pytest.mark.parametrize("file", ARMS, ids=lambda file: file.stem)
def test_every_arm_states_what_it_touches_and_what_is_measured(file: Path) -> None:
    arm = written_arm(file, (CONF,))
    arm.check()
    check_names(arm.contract)
    assert arm.contract.touches is not None, "an arm states what it may touch"
    assert len(file.read_text().splitlines()) <= LINES
    assert bool(arm.changed) == bool(arm.contract.arm), "an arm that changes something states what is measured on it"


def test_a_change_beyond_the_contract_is_refused_with_its_key(tmp_path: Path) -> None:
    choices = "defaults:\n  - override /search: single_pass\nname: mine\ntrain: { epochs: 9 }\n"
    with pytest.raises(InputError, match=r"changes train\.epochs, and its contract lets it touch search"):
        contract_of("mine", {}, own(tmp_path, f"{choices}contract: {{ touches: [search] }}\n"))
    folders = own(tmp_path, f"{choices}contract: {{ touches: [search, train.epochs] }}\n")
    assert contract_of("mine", {}, folders).of == ("mine",)


def test_a_choice_that_reaches_beyond_its_group_is_seen(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search/wide.yaml").write_text("# @package _global_\nscale:\n  pairs: 3\n")
    text = "defaults:\n  - override /search: wide\nname: mine\ncontract:\n  touches: [search]\n"
    with pytest.raises(InputError, match=r"changes scale\.pairs"):
        contract_of("mine", {}, own(tmp_path, text))


def test_what_an_arm_inherits_from_another_counts(tmp_path: Path) -> None:
    own(tmp_path, "defaults:\n  - override /data: public_only\nname: base\n", name="base")
    folders = own(tmp_path, "defaults: [base, _self_]\nname: mine\ncontract:\n  touches: []\n")
    with pytest.raises(InputError, match="changes data, and its contract lets it touch nothing"):
        contract_of("mine", {}, folders)


def test_an_arm_without_a_contract_may_change_anything(tmp_path: Path) -> None:
    contract = contract_of("mine", {}, own(tmp_path, "name: mine\nsearch:\n  max_edits: 3\n"))
    assert (contract.touches, contract.of) == (None, ("mine",))


def test_a_misspelt_number_stops_the_composition(tmp_path: Path) -> None:
    text = "name: mine\nsearch: { max_edits: 3 }\ncontract:\n  arm: { refine.edit: 3 }\n"
    own(tmp_path, text)
    with pytest.raises(InputError, match=r"contract\.arm\.refine\.edit: stage refine .*did you mean edits"):
        compose_plans(["scale=smoke", "experiment=mine"], False, tmp_path)


def test_a_contract_is_no_override() -> None:
    with pytest.raises(InputError, match="belongs to the YAML of an arm"):
        compose_plans(["scale=smoke", "contract.touches=[search]"], False)


def test_whoever_makes_the_choices_of_an_arm_has_its_contract() -> None:
    contract = compose("scale=smoke", "search=single_pass", "reflection=strip").contract
    assert contract.of == ("no_iterative_search", "no_reflection_tokens")
    assert contract.arm == {"refine.edits": 0, "refine.edits_accepted": 0, "curate.reflection_markers": 0}
    assert contract.touches == ("search", "reflection")
