"""Artifacts of a finished run: what it searched, trained on, trained and judged, with the digests of the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.metrics import evaluation, synthesis, training
from experiments.store.records import Record, read_record
from experiments.store.runs import Result
from experiments.store.step import StageKey

if TYPE_CHECKING:
    from wandb import Artifact

KINDS: tuple[tuple[StageKey, str, str], ...] = (
    (synthesis.REFINE, "trajectories", "rows.jsonl"),
    (training.RENDER, "training-rows", "rows.jsonl"),
    (training.MATCH, "matched-training-rows", "rows.jsonl"),
    (training.TRAIN, "model", "model"),
    (evaluation.GRADE, "judgements", "rows.jsonl"),
)
"""The stages whose product is an artifact: its type, and the file or folder of it."""


@dataclass(frozen=True)
class Product:
    """What becomes an artifact. A folder is only referred to, because models are large."""

    kind: str
    name: str
    path: Path
    record: Record

    @property
    def alias(self) -> str:
        """The version by our identity: fingerprint and build."""
        return f"{self.record.fingerprint}-{self.record.build}"

    def metadata(self) -> dict[str, object]:
        """Our digests, and those of the inputs, which are the lineage also where W&B cannot show it."""
        files = {name: digest.sha256 for name, digest in self.record.files.items()}
        inputs = {name: f"{build.fingerprint}-{build.build}" for name, build in self.record.inputs.items()}
        return {
            "stage": self.record.stage,
            "fingerprint": self.record.fingerprint,
            "build": self.record.build,
            "seconds": self.record.seconds,
            "inputs": inputs,
            "sha256": dict(list(files.items())[:50]),
        }


def products(result: Result) -> Iterator[Product]:
    """The artifacts of a run, in the order in which they were made."""
    for stage, kind, file in KINDS:
        for label in result.labels_of(stage):
            folder = result.folder_of(stage, label)
            if folder is not None:
                yield Product(kind, "-".join(filter(None, (kind, label))), folder / file, read_record(folder))


def artifact_of(product: Product) -> Artifact:
    """The W&B artifact of a product."""
    import wandb

    artifact = wandb.Artifact(product.name, type=product.kind, metadata=product.metadata())
    if product.path.is_dir():
        artifact.add_reference(product.path.resolve().as_uri(), name=product.path.name, checksum=False)
    else:
        artifact.add_file(str(product.path), name=product.path.name)
    return artifact
