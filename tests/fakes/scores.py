"""Scores of twelve items, for tests of paired comparisons."""

BASELINE: dict[str, float | None] = {f"i{n}": float(n % 5) for n in range(12)}


def shifted(*by: float) -> dict[str, float | None]:
    """The baseline's scores, with the values of `by` added in turn."""
    return {item: (score or 0.0) + by[n % len(by)] for n, (item, score) in enumerate(BASELINE.items())}
