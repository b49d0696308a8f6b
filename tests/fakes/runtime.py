"""A runtime for stages that use little of it."""

from experiments.experiment import Runtime
from reer.models.protocols import Device
from reer.training.parallelism import Parallelism


def small_runtime(root: str = "outputs") -> Runtime:
    """One CPU process; nothing is written to `root` by constructing it."""
    parallelism = Parallelism(micro_batch=1, checkpoint_steps=1, recompute_activations=False)
    return Runtime(name="small", root=root, device=Device(name="cpu"), parallelism=parallelism, width=2)
