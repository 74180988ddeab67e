"""How a model is spread over processes: torch's DistributedDataParallel or FSDP2, by one setting."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sctd.errors import UserError
from sctd.method.objectives import Objective
from sctd.train.processes import Processes

T = TypeVar("T")


class Alone:
    """One process: nothing is spread."""

    def __init__(self, objective: Objective, processes: Processes, device: torch.device) -> None:
        self.objective = objective

    @property
    def module(self) -> nn.Module:
        """Whose forward call is a micro-batch's."""
        return self.objective

    def synchronised(self, last: bool) -> AbstractContextManager[object]:
        """Around a micro-batch's forward and backward pass; gradients are exchanged in the step's last one."""
        return nullcontext()

    def whole(self, work: Callable[[Objective], T]) -> T:
        """What `work` makes of the objective with its parameters at hand, for passes that are not its forward call."""
        return work(self.objective)


class DataParallel(Alone):
    """Every process has the whole model; gradients are added up while the backward pass still runs."""

    def __init__(self, objective: Objective, processes: Processes, device: torch.device) -> None:
        super().__init__(objective, processes, device)
        from torch.nn.parallel import DistributedDataParallel

        ids = [device.index] if device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch 2.13, whose new name 2.11 does not know
            # the buffers are the method's, which adds up its own sums
            self._module = DistributedDataParallel(objective, device_ids=ids, broadcast_buffers=False)

    @property
    def module(self) -> nn.Module:
        return self._module

    def synchronised(self, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else self._module.no_sync()


class FullySharded(Alone):
    """Every process has its part of all parameters, gradients and optimizer states (FSDP2); a layer runs whole."""

    def __init__(self, objective: Objective, processes: Processes, device: torch.device) -> None:
        super().__init__(objective, processes, device)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(device.type, (processes.count,))
        for layer in objective.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(objective, mesh=mesh)
        register_fsdp_forward_method(objective, "lend")
        self._sharded: Any = objective

    def synchronised(self, last: bool) -> AbstractContextManager[object]:
        self._sharded.set_requires_gradient_sync(last)
        return nullcontext()

    def whole(self, work: Callable[[Objective], T]) -> T:
        try:
            return self.objective.lend(work)
        finally:
            self._sharded.reshard()


Spread = Callable[[Objective, Processes, torch.device], Alone]
PARALLEL: dict[str, Spread] = {"ddp": DataParallel, "fsdp": FullySharded}


def spread(objective: Objective, setting: str, processes: Processes, device: torch.device) -> Alone:
    """The objective spread as the setting says; of one process, as it is. UserError for a setting that there is not."""
    if setting not in PARALLEL:
        raise UserError(f"parallel: there is no {setting!r}; choose one of {', '.join(PARALLEL)}.")
    return (PARALLEL[setting] if processes.many else Alone)(objective, processes, device)


def whole_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor, of which this process may hold a part; every process must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # which a DTensor has


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; the same memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def spread_like(tensor: Tensor, like: Any) -> Tensor:
    """A whole tensor, on the other's device and in its parts."""
    moved = tensor.to(like.device)
    if not hasattr(like, "device_mesh"):
        return moved
    from torch.distributed.tensor import distribute_tensor  # 0.7 s to import

    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
