"""Claims are expression trees: what they need, and what three-valued outcomes make of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.config.choices import CONF
from experiments.contracts.measured import STAGES
from experiments.report.claims.expressions import (
    AllOf,
    AtLeast,
    Comparison,
    Equivalent,
    Expression,
    Greater,
    Less,
    Ordered,
    Outcome,
    Spread,
    Uneven,
    at_least,
    read_claims,
)
from reer.errors import InputError

TAKEN = ("writing/quality", "writing/length", "writingbench/A")
S, C, U = "supported", "contradicted", "undecided"


@pytest.mark.parametrize(
    ("k", "found", "outcome"),
    [
        (2, [S, S, C], S),
        (2, [S, U, C], U),
        (2, [S, C, C], C),
        (2, [U, U, C], U),
        (1, [C, C, U], U),
        (3, [S, S, S], S),
        (3, [S, S, C], C),
    ],
)
def test_at_least_k_of_three_valued_outcomes(k: int, found: Sequence[Outcome], outcome: Outcome) -> None:
    assert at_least(k, found) == outcome


def test_a_relation_asks_for_every_measure_that_its_patterns_match() -> None:
    less = Less(arm="a", measures=("writing/*",))
    assert less.atoms(TAKEN) == (
        Comparison("a", "full", "writing/quality", "less"),
        Comparison("a", "full", "writing/length", "less"),
    )
    outcomes: dict[str, Outcome] = {"writing/quality": S, "writing/length": C}

    def decide(atom: object) -> Outcome:
        assert isinstance(atom, Comparison)
        return outcomes[atom.measure]

    assert less.outcome(TAKEN, decide) == C
    assert Less(arm="a", measures=("writing/*",), at_least=1).outcome(TAKEN, decide) == S
    assert Greater(arm="a", measures=("none/*",)).outcome(TAKEN, decide) == U


def test_an_ordering_is_that_of_neighbours() -> None:
    atoms = Ordered(arms=("a", "b", "c"), measures=("writingbench/A",)).atoms(TAKEN)
    assert [(atom.arm, atom.than) for atom in atoms] == [("a", "b"), ("b", "c")]
    with pytest.raises(InputError, match="wants at least two arms"):
        Ordered(arms=("a",), measures=())


def test_heterogeneity_is_one_test_for_all_its_measures() -> None:
    (atom,) = Uneven(arm="a", by="measure", measures=("writing*",)).atoms(TAKEN)
    assert atom == Spread("a", "full", TAKEN, "measure")


def test_trees_nest() -> None:
    parts: tuple[Expression, ...] = (
        Less(arm="a", measures=("writing/quality",)),
        AtLeast(
            k=1,
            of=(
                Equivalent(arm="b", measures=("writing/quality",)),
                Greater(arm="c", measures=("writing/quality",)),
            ),
        ),
    )
    tree = AllOf(of=parts)
    assert [atom.arm for atom in tree.atoms(TAKEN)] == ["a", "b", "c"]
    assert tree.outcome(TAKEN, lambda atom: C if atom.arm == "b" else S) == S
    assert tree.outcome(TAKEN, lambda atom: S if atom.arm == "c" else C) == C
    with pytest.raises(InputError, match="want at most the 2 statements"):
        AtLeast(k=3, of=parts)


def test_the_claims_of_the_paper_name_arms_and_sources_that_exist() -> None:
    arms = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
    claims = read_claims([CONF])
    assert len(claims) >= 7
    for claim in claims:
        assert "arXiv 2509.06160" in claim.source
        assert {name for atom in claim.holds.atoms(TAKEN) for name in (atom.arm, atom.than)} <= arms
    assert "refine" in STAGES, "the search's score is one that claims may name"


def own(folder: Path, text: str) -> list[Path]:
    (folder / "claims").mkdir()
    (folder / "claims/mine.yaml").write_text(text)
    return [CONF, folder]


MINE = "claims:\n  - {{ name: {name}, says: S., source: me, holds: {{ kind: {kind}, arm: a, measures: ['*'] }} }}\n"


def test_people_add_claims_of_their_own(tmp_path: Path) -> None:
    assert [c.name for c in read_claims(own(tmp_path, MINE.format(name="mine", kind="Less")))][-1] == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE.format(name="mine", kind="Les"), r"mine\.yaml\.claims\[0\]\.holds\.kind: .*did you mean Less"),
        (MINE.format(name="search_matters", kind="Less"), "two claims are called 'search_matters'"),
        (MINE.format(name="mine", kind="Less").replace("measures", "mesures"), "mesures: unknown key"),
        ("- 1", "want `claims:` and a list"),
        ("claims: [", "not YAML"),
    ],
)
def test_a_claim_that_cannot_be_read_names_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_claims(own(tmp_path, text))
