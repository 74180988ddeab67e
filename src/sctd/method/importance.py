"""The running importance of each token id (Hou et al., 2022, section 3.2).

    m[v] <- beta m[v] + (1 - beta) loss(v)

where loss(v) is the masked-LM loss, averaged over the step's masked positions whose original token is v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenImportance(nn.Module):
    """The table m and the sums of the step under way, float32 whatever the model's precision.

    Special ids never enter it: which tokens are kept whatever their importance is `selection.py`'s matter, so no
    update can unpin one.

    Args:
        vocab_size: V.
        beta: decay.
        initial: starting value of every id; published: 10.
    """

    values: Tensor
    loss_sum: Tensor
    loss_count: Tensor

    def __init__(self, vocab_size: int, beta: float, initial: float) -> None:
        super().__init__()
        self.beta = beta
        self.register_buffer("values", torch.full((vocab_size,), initial, dtype=torch.float32))
        self.register_buffer("loss_sum", torch.zeros(vocab_size, dtype=torch.float32), persistent=False)
        self.register_buffer("loss_count", torch.zeros(vocab_size, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def observe(self, labels: Tensor, losses: Tensor, weights: Tensor) -> None:
        """Add the dropped pass's losses of one micro-batch.

        Args:
            labels: (B, P) original ids.
            losses: (B, P) masked-LM losses.
            weights: (B, P), 0 for unused slots.
        """
        ids = labels.reshape(-1)
        self.loss_sum.index_add_(0, ids, (losses.detach().float() * weights).reshape(-1))
        self.loss_count.index_add_(0, ids, weights.float().reshape(-1))

    @torch.no_grad()
    def update(self, skipped: Tensor | None = None) -> None:
        """Move the table, once an optimizer step: an id seen several times counts with the mean of its losses.

        Where `skipped` is 1 the table stays as it is.
        """
        mean = self.loss_sum / self.loss_count.clamp(min=1)
        seen = (self.loss_count > 0) & mean.isfinite()
        if skipped is not None:
            seen &= skipped == 0
        self.values.copy_(torch.where(seen, self.beta * self.values + (1 - self.beta) * mean, self.values))
        self.forget()

    @torch.no_grad()
    def forget(self) -> None:
        """Drop the sums of a step that is not carried out."""
        self.loss_sum.zero_()
        self.loss_count.zero_()
