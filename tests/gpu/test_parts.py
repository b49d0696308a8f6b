"""The parts of `run.sh` run on a CPU with a tiny model."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reer.files import read_rows
from reer.models.local.model import LocalModel
from tests.conftest import REPOSITORY
from tests.fakes.plans import compose
from tests.gpu.models import QWEN3_8B, QWEN25_32B
from tests.gpu.parts import PARTS, TINY, Row, main
from tests.gpu.table import table


def test_a_part_appends_its_rows(tmp_path: Path) -> None:
    for part in ("rates", "full"):
        main([part, str(tmp_path / "rows"), "--scope", "tiny"])
    rows = read_rows(tmp_path / "rows", Row)
    assert [row.measure for row in rows if row.part == "rates"] == [
        "scored tokens/s",
        "decoded tokens/s, 1 rows",
        "decoded tokens/s, 2 rows",
    ]
    trained = {row.measure: row for row in rows if row.part == "full"}
    assert len(trained) == 3
    assert float(trained["tokens/s"].planned.replace(",", "")) > 0


@pytest.mark.parametrize("part", ["fsdp2", "flash_attention"])
def test_a_part_that_this_machine_cannot_run_says_why(part: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine can")
    (row,) = PARTS[part](TINY)
    assert row.measure == "not run"
    assert "GPU" in row.value


def test_the_large_shapes_are_those_of_the_papers_models() -> None:
    paper = compose("scale=paper")
    assert isinstance(paper.generator.model, LocalModel)
    assert (paper.student.checkpoint.size, paper.generator.model.checkpoint.size) == (QWEN3_8B, QWEN25_32B)


def test_the_table_names_a_part_once() -> None:
    rows = [Row(part="a", measure="m", value="1"), Row(part="a", measure="n", value="2", planned="3")]
    assert table(rows).split("\n")[2:] == ["| a | m | 1 |  |", "|  | n | 2 | 3 |"]


def test_the_script_runs_every_part_and_is_valid() -> None:
    script = (REPOSITORY / "tests/gpu/run.sh").read_text()
    assert set(PARTS) == set(script.partition("for name in ")[2].partition(";")[0].split())
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n", str(REPOSITORY / "tests/gpu/run.sh")]).returncode == 0
    limit = int(re.findall(r"limit=(\d+)$", script, re.M)[0])
    assert limit * (len(PARTS) + 1) + 15 < 8 * 60
