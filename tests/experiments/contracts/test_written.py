"""What an arm changes is read off its YAML, and its contract limits it."""

import os
from pathlib import Path

import pytest

from experiments.config.choices import CONF
from experiments.config.compose import compose_plans
from experiments.contracts.measured import check_names
from experiments.contracts.terms import Contract
from experiments.contracts.written import WrittenArm, contract_of, written_arm
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
    folders = own(tmp_path, f"{choices}contract: {{ touches: [search, data] }}\n")
    with pytest.raises(InputError) as refused:
        contract_of("mine", {}, folders)
    assert str(refused.value) == (
        f"experiment=mine: {tmp_path}/experiment/mine.yaml changes train.epochs, and its contract lets it touch "
        "search, data; leave train.epochs out, or add it to contract.touches"
    )
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


def changes(folder: Path, text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The choices and keys of an arm's YAML."""
    own(folder, text)
    arm = written_arm(folder / "experiment" / "mine.yaml", (CONF, folder))
    return dict(arm.choices), arm.keys


@pytest.mark.parametrize(
    ("text", "choices", "keys"),
    [
        ("name: mine\ncontract: { touches: [] }\nhydra: { mode: RUN }\ndefaults: [_self_]\n", {}, ()),
        ("defaults:\n  - override /search: wide\n  - data: mine\n", {"search": "wide", "data": "mine"}, ()),
        ("defaults:\n  - override /model@generator.model: large\n", {"generator.model": "large"}, ()),
        ("defaults:\n  - override /source: 7\n  - absent\n  - mine\n", {"source": "7"}, ()),
        (
            "train: { epochs: 1, adam: { beta: 2 }, none: {} }\nseed: 3\n",
            {},
            ("train.epochs", "train.adam.beta", "train.none", "seed"),
        ),
        ("defaults: none\n", {}, ()),
        ("", {}, ()),
    ],
)
def test_choices_and_keys_are_read_off_the_file(
    tmp_path: Path, text: str, choices: dict[str, str], keys: tuple[str, ...]
) -> None:
    assert changes(tmp_path, text) == (choices, keys)


def test_a_key_that_an_arm_and_its_parent_set_is_one_change(tmp_path: Path) -> None:
    own(tmp_path, "train: { epochs: 1 }\n", name="base")
    assert changes(tmp_path, "defaults: [base]\ntrain: { epochs: 2 }\n") == ({}, ("train.epochs",))


def test_a_choice_is_global_only_where_its_first_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search/narrow.yaml").write_text("# narrow\n# @package _global_\nscale: { pairs: 3 }\n")
    (tmp_path / "search/wide.yaml").write_text("# @package _global_\nscale: { pairs: 3 }\n")
    assert changes(tmp_path, "defaults:\n  - override /search: narrow\n") == ({"search": "narrow"}, ())
    assert changes(tmp_path, "defaults:\n  - override /search@a.b: wide\n") == ({"a.b": "wide"}, ("scale.pairs",))


def test_a_global_choice_counts_with_the_choices_that_it_makes(tmp_path: Path) -> None:
    for group, text in {"search": "defaults:\n  - override /data: all\n", "data": "scale: { pairs: 3 }\n"}.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "all.yaml").write_text(f"# @package _global_\n{text}")
    found = changes(tmp_path, "defaults:\n  - override /search: all\n")
    assert found == ({"search": "all", "data": "all"}, ("scale.pairs",))


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    assert changes(tmp_path, "seed: 1\n") == ({}, ("seed",))
    assert changes(tmp_path, "other: 12\n") == ({}, ("other",))
    file = tmp_path / "experiment" / "mine.yaml"
    before = file.stat()
    file.write_text("third: 1\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert written_arm(file, (CONF,)).keys == ("third",), "of another size at the same time"


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"experiment/mine\.yaml: not YAML: .*"):
        changes(tmp_path, "name: [\n")
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(InputError, match=r"mine\.yaml: not YAML: 'utf-8' codec"):
        written_arm(file, (CONF,))


def test_a_list_or_a_contract_of_another_form_is_no_contract(tmp_path: Path) -> None:
    own(tmp_path, "- 1\n")
    file = tmp_path / "experiment" / "mine.yaml"
    assert written_arm(file, (CONF,)) == WrittenArm("mine", file, {}, (), Contract())
    with pytest.raises(InputError, match=r"mine\.yaml: contract.*touch"):
        contract_of("mine", {}, own(tmp_path, "contract: { touch: [search] }\n"))


def arm_of(choices: dict[str, str], *keys: str) -> WrittenArm:
    return WrittenArm("mine", Path("mine.yaml"), choices, keys, Contract())


def test_choices_make_an_arm_that_sets_nothing_else() -> None:
    assert arm_of({"search": "wide"}).is_made_by({"search": "wide", "data": "all"})
    assert not arm_of({"search": "wide", "data": "all"}).is_made_by({"search": "wide"})
    assert not arm_of({"search": "wide"}).is_made_by({"search": "narrow"})
    assert not arm_of({"search": "wide"}, "train.epochs").is_made_by({"search": "wide"})
    assert not arm_of({}).is_made_by({"search": "wide"})
    assert arm_of({"search": "wide"}, "train.epochs").changed == ("search", "train.epochs")


def test_the_arm_that_is_asked_for_comes_first_whatever_else_its_choices_make(tmp_path: Path) -> None:
    own(tmp_path, "defaults:\n  - override /search: wide\ncontract: { touches: [search], arm: { mix.rows: 1 } }\n", "a")
    of_b = "defaults:\n  - override /data: all\ncontract: { touches: [data], arm: { mix.rows: 2, train.rows: 3 } }\n"
    folders = own(tmp_path, of_b, "b")
    contract = contract_of("b", {"search": "wide", "data": "all"}, folders[1:])
    assert contract == Contract(touches=("data", "search"), arm={"mix.rows": 2, "train.rows": 3}, of=("b", "a"))
    assert contract_of("b", {}, folders[1:]).of == ("b",)
    assert contract_of("none", {"search": "wide"}, folders[1:]) == Contract(arm={"mix.rows": 1}, of=("a",))


def test_an_arm_that_changes_nothing_is_of_no_experiment(tmp_path: Path) -> None:
    assert contract_of("mine", {}, own(tmp_path, "name: mine\ncontract: { touches: [] }\n")) == Contract(touches=())
