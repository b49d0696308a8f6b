"""A seeded draw of public rows by strata, from a stream of any length in bounded memory."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from reer.data.pairs import apportioned
from reer.errors import InputError
from reer.types import Sample, content_id

Subject = Literal["mathematics", "code", "science", "other"]
_CODE = re.compile(
    r"```|^\s*(?:def|class|import|from|#include|public static)\b|\bstdin\b|"
    r"\b(?:python|java(?:script)?|c\+\+|write an?(?: \w+)?) (?:function|program|code|script)\b",
    re.I | re.M,
)
_SCIENCE = re.compile(
    r"\b(?:atom|molecul|reaction|chemi|acid|enzyme|protein|gene(?:s|tic)?|dna|cell(?:s|ular)?|species|organism|bacteri|"
    r"electron|photon|quantum|velocity|momentum|magnetic|voltage|thermodynamic|entropy|pressure|wavelength|planet|"
    r"physic|biolog|kinetic energy)\w*",
    re.I,
)
_MATHEMATICS = re.compile(
    r"\\(?:boxed|frac|sqrt|sum|int|begin|angle|triangle|cdot|le|ge)\b|\$[^$\n]+\$|\d\s*[-+*/=^]\s*\d|"
    r"\b(?:how (?:many|much)|prove|integers?|equation|polynomial|triangle|probability|calculate|percent|ratio)\b|\d",
    re.I,
)


def subject_of(question: str) -> Subject:
    """What a question is about, by its words: mathematics where it wants a boxed result (as OpenThoughts asks for it),
    else code where it asks for or shows some, else science by several terms of it, else mathematics by formulas,
    numbers or words. Ours, for sets whose rows do not say."""
    if "\\boxed{" in question:
        return "mathematics"
    if _CODE.search(question):
        return "code"
    if len(set(map(str.lower, _SCIENCE.findall(question)))) >= 2:
        return "science"
    return "mathematics" if _MATHEMATICS.search(question) else "science" if _SCIENCE.search(question) else "other"


class Draw:
    """A draw of `total` rows in given shares of strata. A row's place in the draw follows from the seed and its content
    alone, so that the order of files changes nothing; equal rows are drawn once. It holds at most `total` rows."""

    def __init__(self, shares: Mapping[str, float], total: int, seed: int) -> None:
        quotas = apportioned({("", name): share for name, share in shares.items()}, total)
        self.quotas = {name: quota for (_, name), quota in quotas.items()}
        self.seed = seed
        self.found = Counter[str]()
        self.held: dict[str, list[tuple[int, int, Sample]]] = {name: [] for name in self.quotas}
        self.ids = set[str]()

    def add(self, stratum: str, sample: Sample) -> None:
        """Offer a row; it is kept as long as it is among the first of its stratum."""
        self.found[stratum] += 1
        if not self.quotas.get(stratum, 0) or sample.id in self.ids:
            return
        held = self.held[stratum]
        place = int(content_id(str(self.seed), "draw", sample.id), 16)
        entry = (-place, -self.found.total(), sample)
        self.ids.add(sample.id)
        if len(held) < self.quotas[stratum]:
            heapq.heappush(held, entry)
        else:
            self.ids.remove(heapq.heappushpop(held, entry)[2].id)

    def rows(self) -> Iterator[Sample]:
        """The rows drawn, in the order of the source. Raises InputError for a stratum that has too few."""
        for name, quota in self.quotas.items():
            if len(self.held[name]) < quota:
                found = ", ".join(f"{stratum} {count}" for stratum, count in self.found.most_common()) or "none"
                raise InputError(
                    f"public.shares: {name}: {len(self.held[name])} different rows, its share is {quota}; found: "
                    f"{found}. Lower its share or public.limit"
                )
        entries = (entry for held in self.held.values() for entry in held)
        yield from (sample for _, _, sample in sorted(entries, key=lambda entry: -entry[1]))
