"""CUDA graphs, by torch.compile's mode `reduce-overhead`: a step's kernels are recorded once and started all at once.

A replay writes its results to the same memory again, so whatever outlives it must lie elsewhere: losses are copied, and
gradients are added to tensors of our own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sctd.errors import UserError
from sctd.train.processes import Processes


def check_graphs(device: torch.device, processes: Processes) -> None:
    """UserError where CUDA graphs cannot be."""
    if device.type != "cuda":
        raise UserError(f"cuda_graphs: the device is {device.type}; leave it out, or give --device cuda.")
    if processes.many:
        raise UserError("cuda_graphs: it is for one process; leave it out, or give --nproc 1.")


def recorded(module: nn.Module) -> nn.Module:
    """The module, compiled; on a GPU its forward and backward calls become replays."""
    return torch.compile(module, mode="reduce-overhead")  # type: ignore[return-value]


class OwnGradients:
    """Gradients that stay what they are when a graph is replayed.

    Autograd would keep a first gradient where the graph left it; to one that is there it adds in place.

    Args:
        parameters: whose gradients they are.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.own: list[Tensor | None] = [None] * len(self.parameters)

    def keep(self) -> None:
        """After a backward call: copy what does not lie in our own memory yet."""
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is not None and parameter.grad is not self.own[index]:
                parameter.grad = self.own[index] = parameter.grad.clone()

    def clear(self) -> None:
        """Back to zero, where they lie."""
        gradients = [each.grad for each in self.parameters if each.grad is not None]
        if gradients:
            torch._foreach_zero_(gradients)
