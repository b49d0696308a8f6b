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
        pytest.skip("bitsandbytes is an extra: pip install -e '.[qlora]'")
    from transformers import AutoTokenizer

    x = compose("tracking=silent")
    folder = x.student.checkpoint.fetch()
    texts = sorted(x.source.rows(Problems("error")), key=lambda row: len(row.solution))[:6]
    samples = [
        Sample(
            content_id(t.solution),
            (Message("user", t.query or "Write."), Message("assistant", t.solution)),
            "t",
            "others",
            "I keep it short.",
            t.solution,
        )
        for t in texts
    ]
    rows = render(samples, AutoTokenizer.from_pretrained(folder), x.train.chat_format, 2048).rows
    write_rows(tmp_path / "rows.jsonl", map(asdict, rows))
    changed: dict[str, Any] = METHODS[method]
    recipe = replace(x.train, epochs=3, **changed)
    job = Job(str(folder), str(tmp_path / "rows.jsonl"), recipe, 0, Parallelism(1, 100, False), str(tmp_path))
    losses = [row["loss"] for row in train_here(job, lambda row: print(row)).curve]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    before, after = load_file(folder / "model.safetensors"), load_file(job.model / "model.safetensors")
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    changed_weights = {name for name in after if not torch.equal(before[name].float(), after[name])}
    assert changed_weights
    if method != "full":
        assert all("proj" in name for name in changed_weights)
