"""What each process sends in a step, by the ring algorithms of NCCL and gloo: bytes, and seconds at a link's rate."""

from __future__ import annotations

from dataclasses import dataclass

from sctd.plan.devices import GPUS_A_MACHINE

FLOAT32 = 4  # bytes: parameters and gradients travel as they are kept
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Traffic:
    """Of one process in one optimizer step.

    Args:
        ddp: bytes that it sends with DistributedDataParallel.
        fsdp: with FSDP2.
    """

    ddp: float
    fsdp: float


def traffic(parameters: int, vocab_size: int, count: int, micro_batches: int = 1) -> Traffic:
    """An all-reduce of the gradients; with FSDP2 parameters are gathered in every forward and backward pass instead.

    A ring's reduce-scatter and its all-gather each send (n - 1) / n of the tensor; an all-reduce is both.

    Args:
        parameters: P.
        vocab_size: V; the importance's sums and counts are added up too.
        count: n, of processes.
        micro_batches: forward and backward passes that each makes in a step; gradients are sent in the last.
    """
    part = (count - 1) / count
    importance = 2 * part * 2 * FLOAT32 * vocab_size
    whole = part * FLOAT32 * parameters
    return Traffic(2 * whole + importance, (2 * micro_batches + 1) * whole + importance)


def rate(count: int, link: float, network: float) -> float:
    """Bytes a second of a ring over `count` devices: the slowest of its links."""
    return link if count <= GPUS_A_MACHINE else min(link, network)
