"""Full training, adapters and adapters over 4-bit weights on a real 135M model and real texts: each learns."""

from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reer.data.rows import Problems
from reer.files import write_rows
from reer.training.chat_format import render
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora
from reer.training.sft import train_here
from reer.training.student import load_tokenizer
from reer.types import Message, Sample, content_id
from tests.fakes.plans import compose

pytestmark = pytest.mark.slow
METHODS = {
    "full": {"learning_rate": 1e-4},
    "lora": {"method": "lora", "learning_rate": 1e-3, "lora": Lora(16, 32, 0.0)},
    "qlora": {"method": "lora", "learning_rate": 1e-3, "lora": Lora(16, 32, 0.0, quantized=True)},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_real_model_learns_real_pairs(method: str, tmp_path: Path) -> None:
    if method == "qlora" and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is an extra: .requirements/install qlora")
    exp = compose("tracking=silent")
    folder = exp.student.checkpoint.fetch()
    texts = sorted(exp.source.rows(Problems("error")), key=lambda row: len(row.solution))[:6]
    samples = [
        Sample(
            id=content_id(text.solution),
            messages=(Message("user", text.query or "Write."), Message("assistant", text.solution)),
            source="t",
            category="others",
            thinking="I keep it short.",
            answer=text.solution,
        )
        for text in texts
    ]
    rows = render(samples, load_tokenizer(folder), exp.train.chat_format, 2048).rows
    write_rows(tmp_path / "rows.jsonl", map(asdict, rows))
    changed: dict[str, Any] = METHODS[method]
    recipe = replace(exp.train, epochs=3, **changed)
    job = Job(
        student=str(folder),
        rows=str(tmp_path / "rows.jsonl"),
        recipe=recipe,
        seed=0,
        parallelism=Parallelism(micro_batch=1, checkpoint_steps=100, recompute_activations=False),
        work=str(tmp_path),
    )
    losses = [row["loss"] for row in train_here(job, lambda row: None).curve]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    before, after = load_file(folder / "model.safetensors"), load_file(job.model / "model.safetensors")
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    changed_weights = {name for name in after if not torch.equal(before[name].float(), after[name])}
    assert changed_weights
    if method != "full":
        assert all("proj" in name for name in changed_weights)
