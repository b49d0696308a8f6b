"""The outcome of the self-test in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report import console
from experiments.selftest.outcome import Sealed, WorldOutcome
from experiments.selftest.rates import SEALED_WORLDS, Rates, Share
from experiments.store.metrics import ABSENT

FOUND_WIDTH = 46  # characters of what was found of a sealed arm
KEPT = {True: "yes", False: "NO", None: "open"}


def show(rates: Rates, outcomes: Sequence[WorldOutcome]) -> None:
    """The sealed arms of the first worlds, then the rates over all of them."""
    rows = [
        (sealed.kind, str(outcome.seed), _truth(sealed), _shortened(sealed.found), "yes" if sealed.right else "NO")
        for outcome in outcomes[:SEALED_WORLDS]
        for sealed in outcome.sealed
    ]
    title = f"sealed arms: {rates.sealed_right} of {rates.sealed} right"
    console.table(title, ("what is true", "world", "truth", "found", "right"), rows)
    kinds = [(rate.kind, f"{rate.right} of {rate.arms}") for rate in rates.kinds]
    console.table(f"all sealed arms of {rates.worlds} worlds", ("what is true", "right"), kinds)
    shares = [(share.name, *_cells(share)) for share in rates.shares]
    console.table("rates, in percent", ("", "cases", "rate", "wanted", "kept"), shares)
    console.line("")
    verdict = "all that is wanted holds" if rates.kept else "not all that is wanted holds"
    notes = "±: standard error; open: so few worlds do not decide it"
    console.paragraph(f"{verdict}; {rates.worlds} worlds in {rates.seconds:.0f} s; {notes}")


def _truth(sealed: Sealed) -> str:
    return ABSENT if sealed.truth is None else f"{sealed.truth:+.2f}"


def _shortened(text: str) -> str:
    return text if len(text) <= FOUND_WIDTH else f"{text[: FOUND_WIDTH - 1]}…"


def _cells(share: Share) -> tuple[str, str, str, str]:
    error = "" if share.standard_error is None else f" ± {share.standard_error:.1f}"
    rate = ABSENT if share.percent is None else f"{share.percent:.1f}{error}"
    return f"{share.cases:,}", rate, share.wanted, KEPT[share.kept]
