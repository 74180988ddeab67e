"""Muon (Jordan et al., 2024), matrices of one shape together: what `torch.optim.Muon` does, in fewer products.

Two things differ from torch's. Its products are in bf16, which a processor without bf16 multiplies hundreds of times
slower than float32; here they are in bf16 in bf16 runs, else in float32. And it orthogonalises one matrix after the
other, on a GPU some 900 kernels a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from sctd.train.parallel import own_part, spread_like, whole_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration (Jordan et al., 2024)
ITERATIONS = 5
EPSILON = 1e-7
AT_ONCE = 2**24  # elements that are orthogonalised together at most, as a matter of memory


class Muon(Optimizer):
    """For matrices only. Its update is scaled to AdamW's usual rms (Liu et al., 2025).

    Like torch's fused optimizers it reads `found_inf`, where that is set, and then changes nothing.

    Args:
        matrices: parameters of two dimensions.
        lr: learning rate.
        weight_decay: decoupled.
        dtype: of the products.
        momentum: decay of the running gradient, by Nesterov's rule.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, weight_decay: float, dtype: torch.dtype, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "fused": True})
        self.dtype = dtype
        self.found_inf: Tensor | None = None
        assert all(p.ndim == 2 for group in self.param_groups for p in group["params"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for together in _by_shape([p for p in group["params"] if p.grad is not None]):
                self._step(together, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _step(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        for each in matrices:
            if "momentum_buffer" not in self.state[each]:
                self.state[each]["momentum_buffer"] = torch.zeros_like(each)
        buffers = [self.state[each]["momentum_buffer"] for each in matrices]
        gradients = torch.stack([whole_tensor(each.grad) for each in matrices if each.grad is not None])
        running = torch.stack([whole_tensor(each) for each in buffers])
        keep: Tensor | float = 1.0
        if self.found_inf is not None:
            good = self.found_inf == 0
            keep = good.float()
            gradients = torch.where(good, gradients, 0.0)
            running = torch.where(good, running.lerp(gradients, 1 - momentum), running)
        else:
            running = running.lerp(gradients, 1 - momentum)
        updates = orthogonalise(gradients.lerp(running, momentum), self.dtype)
        updates = updates * (-lr * 0.2 * math.sqrt(max(updates.shape[1:])) * keep)
        # in lists: the step of a small model is bound by the host, which starts a kernel for each matrix otherwise
        own = [own_part(each) for each in matrices]
        torch._foreach_copy_([own_part(each) for each in buffers], _parts(running, buffers))
        torch._foreach_mul_(own, 1 - lr * weight_decay * keep)
        torch._foreach_add_(own, _parts(updates, matrices))


def _parts(stacked: Tensor, like: list[Tensor]) -> list[Tensor]:
    """What this process holds of each matrix of a stack."""
    return [own_part(spread_like(new, each)) for new, each in zip(stacked.unbind(), like, strict=True)]


def _by_shape(matrices: list[Tensor]) -> Iterator[list[Tensor]]:
    """Lists of matrices of one shape, with AT_ONCE elements at most, or one matrix."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for each in matrices:
        shapes.setdefault(each.shape, []).append(each)
    for shape, alike in shapes.items():
        number = max(1, AT_ONCE // shape.numel())
        for first in range(0, len(alike), number):
            yield alike[first : first + number]


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, A, B) to matrices of their singular vectors with singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
