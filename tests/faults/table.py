"""Writes the tables of README.md: `python -m tests.faults.table` measures, `… items` writes only the list of items."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.isolation import isolate
from tests.faults.items import FOLDER, items_table

README = FOLDER / "README.md"
FUZZ_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one kind of fault did."""

    kind: str
    injected: int
    survived: int
    identical: int
    sent: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        numbers = (self.injected, self.survived, self.identical, self.sent, self.lost, self.doubled)
        return " | ".join([f"| {self.kind}", *(f"{number:,}" for number in numbers)]) + " |"


def measured() -> str:
    """Inject every fault of the fast suite, soak, and try random inputs; as a table and a list."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        isolate(folder)
        os.chdir(folder)
        lines = [*_faults(folder), _soak(folder)]
        from tests.faults import fuzz  # after the isolation: libraries read their environment when they are imported

        logging.disable(logging.WARNING)  # random inputs are damaged lines, and logs say so
        tried = fuzz.run(FUZZ_SECONDS, seed=0)
    head = "| faults | injected | survived | bytes identical | requests sent | lost | doubled |\n" + "|---" * 7 + "|"
    inputs = ", ".join(f"{parser} {count:,}" for parser, count in tried.items())
    listed = "\n".join(str(line) for line in lines)
    return f"{head}\n{listed}\n\nBad inputs tried: {sum(tried.values()):,} ({inputs}); none raised what it must not."


def _faults(folder: Path) -> Iterable[Line]:
    from tests.faults.harness import DISK, POINTS, Outcome, errors, kills, laboratory, second_kill

    def line(kind: str, outcomes: Sequence[Outcome]) -> Line:
        return Line(
            kind=kind,
            injected=sum(len(outcome.faults) for outcome in outcomes),
            survived=sum(len(outcome.faults) for outcome in outcomes if outcome.met and outcome.survived),
            identical=sum(len(outcome.faults) for outcome in outcomes if not outcome.different),
            sent=sum(outcome.sent for outcome in outcomes),
            lost=sum(outcome.lost for outcome in outcomes),
            doubled=sum(outcome.doubled for outcome in outcomes),
        )

    with laboratory(folder / "faults") as lab:
        single = [lab.survive(fault) for point in POINTS for fault in kills(lab.counts, point)]
        yield line("one SIGKILL: first, middle, last call of each point", single)
        double = [lab.survive(*second_kill(lab.counts, point)) for point in POINTS]
        yield line("two SIGKILLs, the second during recovery", double)
        broken = [lab.survive(fault) for point in DISK for fault in errors(lab.counts, point)]
        yield line("ENOSPC and EIO at write, append, fsync, rename, record", broken)


def _soak(folder: Path) -> Line:
    from tests.faults.harness import results
    from tests.faults.soaking import killed_after, soak

    with soak(folder / "soak", items=300) as running:
        root, judge = folder / "soak" / "root", running.judge
        for _ in range(2):
            killed_after(running.start(root), running, requests=100)
        ended, found = running.run(root), results(root)
    (rows,) = [content for name, content in found.files.items() if name.endswith("rows.jsonl")]
    whole = rows.count(b"\n") == 300
    injected = judge.refused + 2
    return Line(
        kind="300 judgements, 5 % of requests refused, two SIGKILLs",
        injected=injected,
        survived=injected if ended.code == 0 else 0,
        identical=injected if whole else 0,
        sent=judge.sent,
        lost=300 - found.judgements,
        doubled=found.doubled,
    )


def replaced(page: str, section: str, content: str) -> str:
    """The page with new content between the comments that mark a section."""
    begin, end = f"<!-- {section}: written by tests.faults.table -->", f"<!-- end of {section} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    assert pattern.search(page), f"README.md has no section {section}"
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", page)


def main(only_items: bool) -> None:
    page = replaced(README.read_text(encoding="utf-8"), "items", items_table())
    if not only_items:
        page = replaced(page, "measured", measured())
    README.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] == ["items"])
