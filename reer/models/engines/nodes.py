"""The nodes of the Slurm allocation that this process runs in."""

from __future__ import annotations

import os
import subprocess

from reer.errors import InputError
from reer.models.placement import Nodes

ALLOCATED = "SLURM_JOB_NODELIST"


def node_names(nodes: Nodes) -> tuple[str, ...]:
    """The name of each node. Raises InputError outside an allocation, and for one of another size."""
    allocated = os.environ.get(ALLOCATED, "")
    if not allocated:
        raise InputError(
            f"runtime.device.engines.nodes: want {nodes.count} nodes of a Slurm allocation, but {ALLOCATED} is not "
            f"set; start the run by sbatch --nodes={nodes.count} or inside salloc, or choose a runtime of one machine"
        )
    listed = subprocess.run(["scontrol", "show", "hostnames", allocated], capture_output=True, text=True, check=True)
    names = tuple(listed.stdout.split())
    if len(names) != nodes.count:
        raise InputError(
            f"runtime.device.engines.nodes: want {nodes.count} nodes, the allocation has {len(names)} ({allocated}); "
            f"set runtime.device.engines.nodes.count={len(names)} and runtime.parallelism.nodes={len(names)}"
        )
    return names
