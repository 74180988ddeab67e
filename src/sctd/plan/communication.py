"""What each process sends in a step, by the ring algorithms of NCCL and gloo: bytes, and seconds at a link's rate."""

from __future__ import annotations

from dataclasses import dataclass

from sctd.config import PretrainConfig, resolve_middle, resolve_shape
from sctd.method.step_plan import StepPlan
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


@dataclass(frozen=True)
class Sizes:
    """What is sent.

    Args:
        parameters: P.
        layer: of these, a layer's.
        layers: L.
        runs: layers that a micro-batch runs through, those of both passes counted; the mean over a run's steps.
        vocab_size: V, whose importance's sums and counts are added up; 0 where there is no importance.
    """

    parameters: int
    layer: int
    layers: int
    runs: float
    vocab_size: int

    @classmethod
    def of(cls, config: PretrainConfig, parameters: int, vocab_size: int) -> Sizes:
        """From the settings of a run."""
        layers, hidden, _, intermediate = resolve_shape(config.model)
        layer = 4 * (hidden**2 + hidden) + 2 * hidden * intermediate + intermediate + hidden + 4 * hidden
        first = resolve_middle(config.dropping, layers)[0] if config.method != "dense" else 0
        twice = layers - (first if config.consistency.share_prefix else 0)
        runs = layers + twice * StepPlan.of(config).shares().get("consistency", 0.0)
        return cls(parameters, layer, layers, runs, 0 if config.method == "dense" else vocab_size)


def traffic(sizes: Sizes, count: int, micro_batches: int = 1) -> Traffic:
    """An all-reduce of the gradients; with FSDP2 parameters are gathered and gradients scattered instead.

    A ring's reduce-scatter and its all-gather each send (n - 1) / n of the tensor; an all-reduce is both. FSDP2 gathers
    a layer for its forward and again for its backward pass, and what is of no layer once a micro-batch, as it stays.

    Args:
        sizes: what is sent.
        count: n, of processes.
        micro_batches: forward and backward passes that each makes in a step; gradients are sent in the last.
    """
    part = FLOAT32 * (count - 1) / count
    importance = 2 * part * 2 * sizes.vocab_size
    outside = sizes.parameters - sizes.layers * sizes.layer
    gathered = micro_batches * (outside + 2 * sizes.runs * sizes.layer)
    return Traffic(2 * part * sizes.parameters + importance, part * (gathered + sizes.parameters) + importance)


def rate(count: int, link: float, network: float) -> float:
    """Bytes a second of a ring over `count` devices: the slowest of its links."""
    return link if count <= GPUS_A_MACHINE else min(link, network)
