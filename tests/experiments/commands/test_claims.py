"""`reer claims` on the command line."""

from pathlib import Path

from tests.fakes.commands import reer


def test_an_unknown_claim_names_the_nearest(tmp_path: Path) -> None:
    done = reer(tmp_path, "claims", "serch_matters")
    assert done.code == 2
    assert "no claim is called 'serch_matters'; did you mean search_matters?" in done.text


def test_without_a_run_there_is_nothing_to_judge(tmp_path: Path) -> None:
    done = reer(tmp_path, "claims")
    assert done.code == 2
    assert "no run has a current result here" in done.text


def test_claims_of_ones_own_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "conf/claims").mkdir(parents=True)
    (tmp_path / "conf/claims/mine.yaml").write_text("claims:\n  - { name: mine }\n")
    done = reer(tmp_path, "claims", "--config-dir", str(tmp_path / "conf"))
    assert done.code == 2
    assert "mine.yaml.claims[0]" in done.text
