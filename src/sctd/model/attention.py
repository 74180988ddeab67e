"""Attention kernels, and which of them a device and a length get."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# (query (B, heads, Q, D), key and value (B, heads, S, D), key_bias (B, 1, 1, S) or None, dropout) -> (B, heads, Q, D)
AttentionKernel = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]

EAGER_UP_TO = 512  # tokens; see choose_attention


def sdpa(query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None, dropout: float) -> Tensor:
    """torch's fused scaled-dot-product attention (flash or memory-efficient where the device has it)."""
    bias = None if key_bias is None else key_bias.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)


def eager(query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None, dropout: float) -> Tensor:
    """Explicit softmax(Q K^T / sqrt(D)) V; its memory grows with Q * S."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if key_bias is not None:
        scores = scores + key_bias
    weights = F.softmax(scores, dim=-1).to(value.dtype)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights @ value


ATTENTION: dict[str, AttentionKernel] = {"sdpa": sdpa, "eager": eager}


def choose_attention(setting: str, device_type: str, length: int) -> str:
    """The kernel that `auto` means for a device type and a length in tokens; any other setting is returned as it is.

    On a CPU the fused kernel's backward is the slower one up to this length (measured: docs/benchmarks.md). A rule and
    not a timing, so that the same settings and seed give the same numbers.
    """
    if setting != "auto":
        return setting
    return "eager" if device_type == "cpu" and length <= EAGER_UP_TO else "sdpa"


def key_bias(attention_mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """attention_mask (B, S), 1 where a token is real, as a bias on the scores: (B, 1, 1, S), 0 or the least float."""
    bias = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    return bias.masked_fill(attention_mask == 0, torch.finfo(dtype).min)[:, None, None, :]
