"""What other engines would take for the same work, on the devices of the runtime."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import cast

from experiments.planning.costs import Costs
from experiments.planning.serving import IN_PROCESS, Serving, Servings, best_split

ENGINES = (IN_PROCESS, "vllm", "vllm_cached", "sglang")
WORTH_SAYING = 1.2
"""An alternative is named where one of the two takes this many times as long as the other."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """The hours of generating and scoring under another engine, with the replicas of generator and scorer in the
    search, and the devices of each generator. In `eight_bit` the generator's weights are FP8, so that it writes other
    texts."""

    engine: str
    eight_bit: bool
    hours: float
    composed_hours: float
    generators: int
    scorers: int
    generator_devices: int = 1

    @property
    def in_process(self) -> bool:
        return self.engine == IN_PROCESS

    @property
    def is_cheaper(self) -> bool:
        return self.hours < self.composed_hours

    @property
    def ratio(self) -> float:
        """How many times as long the slower of the two takes."""
        slow, fast = max(self.hours, self.composed_hours), min(self.hours, self.composed_hours)
        return slow / fast if fast else 1.0


def alternatives(costs: Costs) -> list[Alternative]:
    """What is worth naming: the fastest other engine, a generator in 8 bits where that is faster still, and this
    process; without those that have no rates for these models, and nothing where the composed hours lack a rate.
    Trainings are left out: they are the same under all of them."""
    if any(costs.rate(serving) is None for serving in costs.roles.all() if not serving.billed):
        return []
    composed = serving_hours(costs)
    all_of = [
        Alternative(
            engine=engine,
            eight_bit=eight_bit,
            hours=serving_hours(replace(costs, roles=roles)),
            composed_hours=composed,
            generators=roles.generator.replicas if roles.generator else 0,
            scorers=roles.scorer.replicas if roles.scorer else 0,
            generator_devices=roles.generator.devices if roles.generator else 1,
        )
        for engine in ENGINES
        for eight_bit in (False, True)
        if (roles := _under(costs, engine, eight_bit)) is not None
    ]
    best: dict[tuple[bool, bool], Alternative] = {}
    for one in sorted(all_of, key=lambda one: one.hours):
        best.setdefault((one.in_process, one.eight_bit), one)
    plain = min((composed, *(one.hours for one in all_of if not one.eight_bit)))
    return [one for one in best.values() if one.ratio >= WORTH_SAYING and (one.hours < plain or not one.eight_bit)]


def serving_hours(costs: Costs) -> float:
    """Hours on the clock of all stages but the training."""
    estimates = {**costs.synthesis(), **costs.probes()}
    for name, benchmark in costs.exp.benchmarks.items():
        estimates |= costs.benchmark(name, benchmark)
    return sum(estimate.cost.hours for estimate in estimates.values() if estimate.cost)


def _under(costs: Costs, engine: str, eight_bit: bool) -> Servings | None:
    """The models under another engine; None if one of them has no rate there, nothing would change, or 8 bits are
    asked of a generator that cannot have them: one behind a server, or in this process."""
    if eight_bit and (engine == IN_PROCESS or not _takes_eight_bits(costs.roles.generator)):
        return None
    moved: dict[str, Serving | None] = {}
    for item in fields(Servings):
        serving = cast("Serving | None", getattr(costs.roles, item.name))
        if serving is None or serving.billed or serving.engine == "server":
            moved[item.name] = serving
            continue
        precision = "fp8" if eight_bit and item.name == "generator" else serving.precision
        moved[item.name] = _on_all_devices(replace(serving, engine=engine, precision=precision), costs)
        if moved[item.name] is None:
            return None
    roles = _split(replace(costs, roles=Servings(**moved)))
    return None if _kinds(roles) == _kinds(costs.roles) else roles


def _takes_eight_bits(generator: Serving | None) -> bool:
    return generator is not None and generator.engine != "server" and generator.precision != "fp8"


def _kinds(roles: Servings) -> list[tuple[str, str]]:
    return [(serving.engine, serving.precision) for serving in roles.all()]


def _on_all_devices(serving: Serving, costs: Costs) -> Serving | None:
    """One copy of a model in this process; of an engine as many replicas as the runtime's devices hold, on the number
    of devices each that gets most out of them. None without a rate."""
    choices = {
        each: rate
        for each in range(1, costs.rented_devices + 1)
        if (rate := costs.rate(replace(serving, devices=each))) is not None
    }
    if not choices:
        return None
    if serving.in_process:
        rows = costs.exp.runtime.device.generate_rows
        return replace(serving, devices=1, replicas=1, rows=rows) if 1 in choices else None
    each = max(choices, key=lambda each: choices[each].writing(None) / each)
    return replace(serving, devices=each, replicas=costs.rented_devices // each, rows=None)


def _split(costs: Costs) -> Servings:
    """The models with the replicas of generator and scorer that make the search shortest."""
    roles, devices = costs.roles, costs.rented_devices
    generator, scorer = roles.generator, roles.scorer
    if generator is None or scorer is None or generator.in_process or scorer.in_process or devices == 1:
        return roles
    rewrites, scores = (_replica_seconds(costs, serving, at) for at, serving in enumerate((generator, scorer)))
    split = best_split(rewrites, scores, devices, (generator.devices, scorer.devices))
    return replace(
        roles,
        generator=replace(generator, replicas=split.generators, place="generator"),
        scorer=replace(scorer, replicas=split.scorers, place="scorer"),
    )


def _replica_seconds(costs: Costs, serving: Serving, at: int) -> float:
    rate = costs.rate(serving)
    return 0.0 if rate is None else serving.replica_seconds(costs.search_uses[at].work, rate)
