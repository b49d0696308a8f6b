"""The answers of a whole call, in the order of its items."""

from collections.abc import Sequence

from reer.models.protocols import Completion, Generator, Nats, Passage, Request, Scorer, in_order


def completions(generator: Generator, requests: Sequence[Request]) -> list[Completion]:
    return in_order(generator.generate(requests), len(requests))


def scores(scorer: Scorer, passages: Sequence[Passage]) -> list[Nats | None]:
    return in_order(scorer.score(passages), len(passages))
