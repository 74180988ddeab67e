"""What the processes of a run send one another in a step: DDP's all-reduce, FSDP2's all-gathers and reduce-scatter.

Rings: of b bytes each process sends (n - 1) / n b in an all-gather or a reduce-scatter, and twice that in an
all-reduce, which is both. All of it is float32: autocast casts after the parameters are gathered.
"""

from __future__ import annotations

from sctd.plan.devices import GB, Device
from sctd.plan.memory import SINGLE, Parameters


def ring(processes: int) -> float:
    """(n - 1) / n: what each process sends of the bytes of an all-gather or a reduce-scatter."""
    return (processes - 1) / processes


def ddp_bytes(count: Parameters, processes: int) -> float:
    """Bytes that a process sends in a step: its gradients, once, whatever the micro-batches."""
    return 2 * ring(processes) * SINGLE * count.total


def fsdp_bytes(count: Parameters, processes: int, runs: float, micros: int) -> float:
    """Bytes that a process sends in a step.

    A layer is gathered for its forward and again for its backward pass, in every micro-batch; what is of no layer once
    a micro-batch, as it stays. Gradients are scattered once a step, those of a layer that runs in both passes twice
    where gradients of earlier micro-batches wait beside them.

    Args:
        count: of the parameters.
        processes: n.
        runs: layers that a micro-batch runs through, those of both passes counted in a consistency step; a mean.
        micros: micro-batches of a step.
    """
    gathered = micros * (count.outside + 2 * runs * count.layer)
    again = (runs - count.num_layers) * count.layer if micros > 1 else 0
    return ring(processes) * SINGLE * (gathered + count.total + again)


def importance_bytes(vocab_size: int, processes: int) -> float:
    """Bytes that a process sends in a step of a method that drops tokens: the sums of its token importance."""
    return 2 * ring(processes) * SINGLE * 2 * vocab_size


def link_speed(device: Device, processes: int) -> float:
    """Bytes a second through a ring: of the slowest part of it, the machines' network where there are several."""
    within = device.link
    return GB * (within if processes <= device.together else min(within, device.network))
