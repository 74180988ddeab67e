"""The processes of a run, as torchrun starts them: who this one is, what all agree on, what is added up.

A run in one process has the same code, with nothing to agree on.
"""

from __future__ import annotations

import atexit
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from sctd.errors import UserError

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # for the first process, which probes, exports or sends while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among `count`.

    Args:
        rank: from 0; process 0 writes what is written and says what is said.
        count: of processes, the world size.
        local_rank: among those of this machine, whose GPU it takes.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Processes:
        """As torchrun's variables say; one process where there are none."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if any(name not in os.environ for name in names):
            return cls()
        said = ", ".join(f"{name}={os.environ[name]}" for name in names)
        try:
            found = cls(*(int(os.environ[name]) for name in names))
        except ValueError:
            raise UserError(f"{said}: torchrun sets whole numbers; unset them to run in one process.") from None
        if not 0 <= found.rank < found.count or found.local_rank < 0:
            raise UserError(
                f"{said}: the first counts from 0 and is below the second; start with torchrun, or unset them."
            )
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if found.many and not os.environ.get(name):
                raise UserError(f"{said}, but {name} is not set: start with torchrun, which sets all, or unset them.")
        return found

    @property
    def many(self) -> bool:
        """More than this one."""
        return self.count > 1

    @property
    def first(self) -> bool:
        """This is process 0."""
        return self.rank == 0

    def join(self, device: torch.device) -> None:
        """Meet the others, if that has not been done; by NCCL for tensors on GPUs, by gloo for those on the host."""
        if self.many and not torch.distributed.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            torch.distributed.init_process_group(backend, timeout=PATIENCE)
            atexit.register(torch.distributed.destroy_process_group)

    def device(self, device: torch.device) -> torch.device:
        """This process's own GPU, where a run has several."""
        if not self.many or device.type != "cuda":
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"Process {self.rank} is the {self.local_rank + 1}. of this machine, which has "
                f"{torch.cuda.device_count()} GPUs: start as many processes as there are GPUs."
            )
        own = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(own)
        return own

    def totals(self, *numbers: int) -> list[int]:
        """Each number, added up over the processes; on the host, so that no GPU is waited for."""
        if not self.many:
            return [*numbers]
        sums = torch.tensor(numbers, dtype=torch.int64)
        torch.distributed.all_reduce(sums)
        return [int(number) for number in sums]

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each float32 tensor by its sum over the processes, in one exchange."""
        if not self.many or not tensors:
            return
        joined = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(joined)
        for tensor, part in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """One of the processes says so."""
        return self.totals(int(flag))[0] > 0

    def on_first(self, work: Callable[[], T]) -> T:
        """What process 0 makes of it, in all; the others wait, and a UserError there is one in all."""
        if not self.many:
            return work()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = work()
            except UserError as error:
                outcome[1] = str(error)
        torch.distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise UserError(outcome[1])
        found: T = outcome[0]
        return found

    def check_same(self, name: str, tensors: list[Tensor]) -> None:
        """Every process holds the same bytes; anything else is a defect, and is said before it is saved."""
        if not self.many or not tensors:
            return
        digest = b"".join(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in tensors)
        own = int(hashlib.sha256(digest).hexdigest()[:15], 16)
        ends = torch.tensor([own, -own], dtype=torch.int64)
        torch.distributed.all_reduce(ends, op=torch.distributed.ReduceOp.MAX)
        if int(ends[0]) != -int(ends[1]):
            raise RuntimeError(f"{name} differs from process to process; nothing was saved.")
