"""What only a GPU can show. Skipped without one; `tests/gpu/run.sh` runs these and measures."""

import pytest
import torch

from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Device, Passage, Prompt, Request, Sampling, in_order
from reer.types import Message

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
PROMPT = Prompt((Message("user", "Count."),))
PASSAGES = [Passage(PROMPT, "one two three " * count) for count in (1, 2, 5)]


def scores(device: str, rows: int) -> list[tuple[float, ...]]:
    with LocalModel(TinyModel()).open(Device(name=device, score_rows=rows)) as session:
        return [nats for nats in in_order(session.score(PASSAGES), len(PASSAGES)) if nats is not None]


def test_scores_on_the_gpu_are_those_of_the_cpu_alone_and_batched() -> None:
    on_cpu = scores("cpu", 1)
    for rows in (1, 3):
        for ours, theirs in zip(scores("cuda", rows), on_cpu, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-3)


def test_a_seeded_row_is_the_same_text_when_it_is_repeated() -> None:
    requests = [Request(PROMPT, Sampling(temperature=1.0, top_p=0.9, max_tokens=12), seed) for seed in (1, 2, 1)]
    with LocalModel(TinyModel()).open(Device(name="cuda", generate_rows=3)) as session:
        first, other, again = (reply.text for reply in in_order(session.generate(requests), 3))
    assert first == again != other


def test_memory_is_returned_when_a_model_is_closed() -> None:
    before = torch.cuda.memory_allocated()
    scores("cuda", 1)
    assert torch.cuda.memory_allocated() <= before + 2**20
