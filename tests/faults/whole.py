"""The command line with a fault: `python -m tests.faults.whole REPORT FAULT ROOT run scale=smoke …`.

FAULT is a JSON object, or null. The counts of the fault points are left in the file REPORT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import TypeAdapter

from experiments.cli import main
from tests.faults.injection import Fault, inject

if __name__ == "__main__":
    report, fault, root, *arguments = sys.argv[1:]
    points = inject(Path(root), TypeAdapter(Fault | None).validate_json(fault))
    code = main([*arguments, f"runtime.root={root}"])
    Path(report).write_text(json.dumps(points.counts))
    sys.exit(code)
