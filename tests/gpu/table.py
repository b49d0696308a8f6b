"""The table at the end of `tests/gpu/run.sh`: what was measured beside what `reer plan` says.

python -m tests.gpu.table FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.store.provenance import provenance
from reer.files import read_rows
from tests.gpu.parts import Row


def table(rows: list[Row]) -> str:
    """A Markdown table; a part is named on its first line."""
    lines = ["| part | measure | measured | planned |", "|---|---|---|---|"]
    before = ""
    for row in rows:
        lines.append(f"| {'' if row.part == before else row.part} | {row.measure} | {row.value} | {row.planned} |")
        before = row.part
    return "\n".join(lines)


def main() -> None:
    made = provenance()
    gpus = ", ".join(made.hardware.gpus) if made.hardware and made.hardware.gpus else "no GPU"
    print(f"# {gpus}; " + ", ".join(f"{name} {number}" for name, number in made.packages.items()))
    print(f"# commit {made.git}\n")
    print(table(read_rows(Path(sys.argv[1]), Row)))


if __name__ == "__main__":
    main()
