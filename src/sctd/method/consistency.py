"""How far the pass with dropping is from the full one (Zhong et al., 2023: SC_local and SC_global)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

# (full (B, H), dropped (B, H)), float32 -> (B,)
Distance = Callable[[Tensor, Tensor], Tensor]


def kl(full: Tensor, dropped: Tensor) -> Tensor:
    """KL(softmax(full) || softmax(dropped)), the softmax over the H hidden units, summed over H: the published one."""
    log_full = F.log_softmax(full, dim=-1)
    log_dropped = F.log_softmax(dropped, dim=-1)
    return (log_full.exp() * (log_full - log_dropped)).sum(-1)


def mse(full: Tensor, dropped: Tensor) -> Tensor:
    """Squared difference, averaged over the H hidden units."""
    return (full - dropped).square().mean(-1)


def cosine(full: Tensor, dropped: Tensor) -> Tensor:
    """One minus the cosine of the angle between the two."""
    return 1 - F.cosine_similarity(full, dropped, dim=-1)


DISTANCES: dict[str, Distance] = {"kl": kl, "mse": mse, "cosine": cosine}


def summarise(hidden: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compared rows (B, R, H) to one float32 vector a sequence, (B, H): their mean.

    One row ([CLS]) is its own mean. `weights` (B, R) leaves out padding, with 0.
    """
    hidden = hidden.float()
    if weights is None:
        return hidden.mean(dim=1)
    weights = weights.float().unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
