"""A run's own files: the frozen plan, the lock that ties its name to its stages, and its result.

`runs/<name>/<scale>/s<seed>/{plan,lock,result}.json`. The result is all a table or a report needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment
from experiments.store.fingerprint import Json, difference, encode, fingerprint
from experiments.store.stages import Artifact, Step, build_of
from reer.errors import InputError
from reer.files import write_json

OUTSIDE_IDENTITY = {"runtime", "tracking", "estimate", "budget", "pairwise", "replace", "baseline", "matched_to"}

CONFOUNDS = {
    "rows": ("train", "rows"),
    "trained tokens": ("train", "trained_tokens"),
    "optimizer steps": ("train", "steps"),
    "thinking words": ("curate", "mean_words"),
    "reflection markers": ("curate", "reflection_markers"),
    "literature/arts rows": ("curate", "literature_arts_rows"),
    "answers cut by the limit": ("generate", "truncated"),
    "answers with thinking unclosed": ("generate", "unclosed_thinking"),
    "empty answers": ("generate", "empty_answers"),
    "answers that loop": ("hygiene", "loops"),
    "answers in another language": ("hygiene", "wrong_language"),
    "clean answers": ("hygiene", "clean"),
    "share that ends by itself": ("termination", "share_ended"),
    "nll of held-out texts, nats/token": ("perplexity", "nll"),
}


def identity_of(x: Experiment) -> dict[str, Json]:
    """Everything that makes this experiment what it is."""
    return {f.name: encode(getattr(x, f.name)) for f in fields(x) if f.name not in OUTSIDE_IDENTITY}


def check_name(x: Experiment, steps: Mapping[str, Step]) -> None:
    """Stop when this name already stands for another experiment, with what differs and how to go on."""
    path = x.folder / "lock.json"
    if x.replace or not path.exists():
        return
    lock = json.loads(path.read_text(encoding="utf-8"))
    now = {name: step.fingerprint for name, step in steps.items()}
    if lock["steps"] == now:
        return
    then = lock["steps"]
    moved = [f"stage {name}: {then.get(name)} -> {now.get(name)}" for name in sorted(now.keys() | then.keys())]
    lines = difference(lock["identity"], identity_of(x)) or moved
    raise InputError(
        f"the name {x.run_name!r} already stands for another experiment:\n  " + "\n  ".join(lines[:20]) + "\n"
        "Give this one a name of its own (name=...), or let it take the name over (replace=true; "
        "the older one's stages stay in the store)."
    )


def write_lock(x: Experiment, steps: Mapping[str, Step], plan: Mapping[str, Any]) -> None:
    """Freeze the plan and tie the name to its stages, before any work. A result of other stages is set aside: it no
    longer is what this name stands for."""
    x.folder.mkdir(parents=True, exist_ok=True)
    before = read_result(x.folder)
    if before is not None and not is_current(before, steps):
        aside = fingerprint(encode({name: step["fingerprint"] for name, step in before.steps.items()}))
        (x.folder / "result.json").rename(x.folder / f"result.superseded-{aside}.json")
    write_json(x.folder / "plan.json", {**plan, "replace": False})
    write_json(x.folder / "lock.json", _lock(x, steps))


def _lock(x: Experiment, steps: Mapping[str, Step]) -> dict[str, Any]:
    return {"identity": identity_of(x), "steps": {name: step.fingerprint for name, step in steps.items()}}


@dataclass(frozen=True)
class Result:
    """A finished run as its result file tells it. `confounds` are what came with the arm, against its baseline's where
    that had finished at the same scale and seed."""

    name: str
    scale: str
    seed: int
    baseline: str
    caution: str
    identity: Mapping[str, Json]
    steps: Mapping[str, Mapping[str, Any]]
    tracked: str | None
    confounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def run_name(self) -> str:
        return f"{self.name}/{self.scale}/s{self.seed}"

    def metrics(self, step: str) -> Mapping[str, Any]:
        """A step's metrics; empty where this arm has no such step."""
        return self.steps[step]["metrics"] if step in self.steps else {}

    def folder(self, step: str) -> Path | None:
        return Path(self.steps[step]["path"]) if step in self.steps else None

    def rebuilt(self) -> list[str]:
        """Steps whose stage result is gone, or was built anew since this result was written."""
        return [name for name, step in self.steps.items() if build_of(Path(step["path"])) != step["build"]]

    def measures(self) -> dict[str, Mapping[str, Any]]:
        """All measures of all benchmarks by name."""
        return {
            f"{m['benchmark']}/{m['metric']}": m
            for step in self.steps.values()
            for m in step["metrics"].get("measures", ())
        }


def write_result(x: Experiment, artifacts: Mapping[str, Artifact], tracked: str | None) -> Result:
    """The run's result file, written when everything it names is complete."""
    steps = {
        name: {"fingerprint": a.fingerprint, "build": a.build, "path": str(a.path.resolve()), "metrics": a.metrics}
        for name, a in artifacts.items()
    }
    cautions = (x.judge.caution, x.thinking.caution(x.source.name))
    content = {
        "name": x.name,
        "scale": x.scale.name,
        "seed": x.seed,
        "baseline": x.baseline,
        "caution": " ".join(filter(None, cautions)),
        "identity": identity_of(x),
        "steps": steps,
        "tracked": tracked,
    }
    baseline = read_result(x.runtime.runs / x.baseline / x.scale.name / f"s{x.seed}")
    theirs = confounds(baseline) if baseline else {}
    mine = confounds(Result(**content))
    content["confounds"] = {label: {"here": value, "baseline": theirs.get(label)} for label, value in mine.items()}
    write_json(x.folder / "result.json", content)
    return Result(**content)


def confounds(result: Result) -> dict[str, Any]:
    """What a run counted of each confound, None where it has no such stage."""
    return {label: _counted(result, stage, key) for label, (stage, key) in CONFOUNDS.items()}


def _counted(result: Result, stage: str, key: str) -> Any:
    """What a run's stage counted, summed over benchmarks where each has such a stage."""
    found = [
        result.metrics(name)[key]
        for name in result.steps
        if name.split(":")[0] == stage and key in result.metrics(name)
    ]
    return sum(found) if found else None


def read_result(folder: Path) -> Result | None:
    """The result in a run's folder, or None if the run has not finished."""
    path = folder / "result.json"
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def is_current(result: Result | None, steps: Mapping[str, Step]) -> bool:
    """True if a result is that of exactly these steps."""
    found = {name: step["fingerprint"] for name, step in result.steps.items()} if result else {}
    return found == {name: step.fingerprint for name, step in steps.items()}


def all_results(runs: Path) -> list[Result]:
    """Every finished run, by name."""
    return [r for path in sorted(runs.glob("*/*/s*/result.json")) if (r := read_result(path.parent)) is not None]


def find_run(runs: Path, name: str, scale: str | None, seed: int) -> Path:
    """The folder of one run by name. Raises InputError listing what there is when it is absent or ambiguous."""
    found = [path.parent for path in sorted(runs.glob(f"*/*/s{seed}/plan.json")) if path.parent.parts[-3] == name]
    if scale:
        found = [folder for folder in found if folder.parts[-2] == scale]
    if len(found) == 1:
        return found[0]
    have = _names(path.parent for path in sorted(runs.glob("*/*/s*/plan.json")))
    what = "is at several scales, add --scale" if found else "is not there"
    raise InputError(f"run {name!r} with seed {seed} {what}; runs in {runs}:\n  {have or 'none'}")


def _names(folders: Iterable[Path]) -> str:
    return "\n  ".join("/".join(folder.parts[-3:]) for folder in folders)
