"""`reer choices` in the terminal: one table per group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from experiments.choices import Choice
from experiments.report import terminal as show


def show_choices(choices: Sequence[Choice]) -> None:
    """The choices of each group with a sentence on each; * marks the default, and for what where a group fills several
    keys (`model`)."""
    for group, members in groupby(choices, key=lambda choice: choice.group):
        rows = [(_marked(choice), choice.description) for choice in members]
        show.table(group, ("choice", "description"), rows)
    show.line("* used where no override is given; override with GROUP=CHOICE, e.g. search=single_pass")


def _marked(choice: Choice) -> str:
    if not choice.used_by:
        return choice.name
    keys = [key for key in choice.used_by if key != choice.group]
    return f"{choice.name} *" + (f"\n({', '.join(keys)})" if keys else "")
