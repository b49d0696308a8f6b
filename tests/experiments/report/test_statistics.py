"""The file that keeps computed statistics."""

from pathlib import Path

import pytest

from experiments.report.statistics import Statistics


@pytest.mark.parametrize("content", [b"", b'{"a": [{"x"', b"[1]", b"\x00\xff", b"[" * 100_000, b'{"a": 3}'])
def test_a_torn_file_keeps_nothing_and_all_is_computed_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "statistics.json"
    path.write_bytes(content)
    assert Statistics(path).kept == {}
