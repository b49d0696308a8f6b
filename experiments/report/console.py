"""The terminal: streams, messages and tables.

Tables fit the terminal (80 columns where there is none): wide ones are split by arms, and names wrap at separators.
Nothing here is slow to import, so that verbs which only read stay fast.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO, cast

from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from reer.secrets import redacted
from reer.text import without_control_characters

if TYPE_CHECKING:
    from experiments.config.choices import Choice

NAME_WIDTH = 24  # characters of a row's label before it wraps
ARM_WIDTH = 13  # characters of an arm's name at the head of a column
PADDING = 3  # characters between two columns


class Output(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`, whichever object it is by now, as a file that takes every text: where one cannot be
    written (a full disk, a closed terminal), it and all later ones are dropped, because a display is no reason to end a
    run."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name

    @property
    def stream(self) -> TextIO:
        return sys.stdout if self.name == "stdout" else sys.stderr

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Send what is still buffered, and all that follows, to the null device."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)


console = Console(file=cast(TextIO, Output("stdout")), highlight=False)
errors = Console(file=cast(TextIO, Output("stderr")), highlight=False)


def escape(text: str) -> str:
    """A text as it may be shown: without markup, control characters and secrets."""
    return escape_markup(redacted(without_control_characters(text)))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table with its title above, none where it belongs to the table before. The first column holds
    names, which wrap at separators."""
    console.print(f"\n[bold]{escape(title)}[/]" if title else "")
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, text in enumerate(head):
        shown.add_column(escape(text), no_wrap=i == 0, overflow="fold")  # nothing of a number is cut off
    for label, *cells in rows:
        shown.add_row(escape(folded(label, NAME_WIDTH)), *(escape(cell) for cell in cells))
    console.print(shown)


def table_by_arms(title: str, arms: Sequence[str], rows: Sequence[Sequence[str]], head: str = "") -> None:
    """A table with one column per arm, split into several where the terminal is too narrow for all arms."""
    names = [folded(arm, ARM_WIDTH) for arm in arms]
    lines = [folded(row[0], NAME_WIDTH).split("\n") for row in rows]
    left = max((len(text) for label in lines for text in label), default=0)
    widths = [
        max(len(text) for text in [*names[i].split("\n"), *(row[i + 1] for row in rows)]) for i in range(len(arms))
    ]
    for part in parts(widths, console.width - left):
        table(title, (head, *names[part]), [(row[0], *row[1:][part]) for row in rows])


def parts(widths: Sequence[int], room: int) -> list[slice]:
    """Consecutive columns that fit into `room` characters together with their padding; at least one in each part."""
    slices: list[slice] = []
    start, used = 0, 0
    for i, width in enumerate(widths):
        if i > start and used + width + PADDING > room:
            slices.append(slice(start, i))
            start, used = i, 0
        used += width + PADDING
    return [*slices, slice(start, len(widths))] if widths else []


def folded(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken after separators; a longer piece stays whole."""
    lines = [""]
    for piece in re.findall(r"[^\s_/+=.:-]+[\s_/+=.:-]*|[\s_/+=.:-]+", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(text.rstrip() for text in lines)


def line(text: str) -> None:
    console.print(escape(text), soft_wrap=True)


def paragraph(text: str, indent: str = "") -> None:
    """A text in lines that fit the terminal; all after the first are indented by two more spaces."""
    lines = textwrap.wrap(
        text,
        console.width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
    line("\n".join(lines))


def aside(text: str) -> None:
    """A remark that is no part of the output: it goes to the error stream."""
    errors.print(escape(text), soft_wrap=True)


def document(text: str) -> None:
    """Output for another program, unchanged but for secrets."""
    console.file.write(redacted(text))


def data(found: object) -> None:
    """Records, and lists and mappings of them, for another program: as JSON."""
    document(json.dumps(found, indent=2, ensure_ascii=False, default=_as_json) + "\n")


def _as_json(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def error(text: str) -> None:
    """An error for the user, without a traceback: the text contains what to do."""
    errors.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def where(path: Path) -> None:
    console.print(f"HTML report: {escape(str(path))}", soft_wrap=True)


def show_choices(choices: Sequence[Choice]) -> None:
    """The choices of each group with a sentence on each; * marks the default, and for what where a group fills several
    keys (`model`)."""
    for group, members in groupby(choices, key=lambda choice: choice.group):
        rows = [(_marked(choice), choice.description) for choice in members]
        table(group, ("choice", "description"), rows)
    paragraph("* used where no override is given; override with GROUP=CHOICE, e.g. search=single_pass")


def _marked(choice: Choice) -> str:
    if not choice.used_by:
        return choice.name
    keys = [key for key in choice.used_by if key != choice.group]
    return f"{choice.name} *" + (f"\n({', '.join(keys)})" if keys else "")


class ShowableFormatter(logging.Formatter):
    """Formats a log line, with the exception it may have, without control characters and secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(without_control_characters(super().format(record)))


SPINS = "10000"
"""How often an OpenMP thread that waits for the others looks before it sleeps, which is about half a millisecond. With
none, waking it takes longer than a small product: a step of the 135M model with one row takes 63 ms instead of 41 on
two cores. Without a limit, two processes that share the cores take three times as long as they do with it."""


def quiet_libraries() -> None:
    """Show our log lines, not the libraries' progress bars, and let idle OpenMP threads sleep after `SPINS`, unless the
    environment says how they wait. Called before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them reads every installed package
    handler = logging.StreamHandler()
    handler.setFormatter(ShowableFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    for name in ("experiments", "reer", "evals"):
        logging.getLogger(name).setLevel(logging.INFO)
