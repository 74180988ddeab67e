"""The K tokens of each sequence that the middle layers process (Hou et al., 2022, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sctd.batches.batch import TIE_BREAK_BITS

# Kept in this order whatever the scores; the published code pins by adding 1e4 to the score instead.
PAD_TIER, ORDINARY_TIER, PINNED_TIER, CLS_TIER = range(4)


def token_tiers(vocab_size: int, *, cls_id: int, pad_id: int, pinned_ids: Iterable[int]) -> Tensor:
    """(V,) int64: [CLS] before the other pins, these before ordinary tokens, [PAD] after them all."""
    tiers = torch.full((vocab_size,), ORDINARY_TIER, dtype=torch.int64)
    for pinned in pinned_ids:
        tiers[pinned] = PINNED_TIER
    tiers[pad_id] = PAD_TIER
    tiers[cls_id] = CLS_TIER
    return tiers


def kept_count(keep_ratio: float, length: int) -> int:
    """K of S tokens: keep_ratio * S rounded to the nearest, 1 at least."""
    return max(1, min(length, int(keep_ratio * length + 0.5)))


def _sortable(scores: Tensor) -> Tensor:
    """float32 to int64 in [0, 2**32) of the same order (the bits of an IEEE number, the negatives turned round)."""
    bits = (scores + 0.0).contiguous().view(torch.int32).to(torch.int64)  # + 0.0 makes -0.0 equal to 0.0
    return torch.where(bits < 0, -1 - bits, bits + 2**31)


def drawn_again(tie_break: Tensor, draw: int) -> Tensor:
    """Other second keys, a function of (B, S) ones and of the number of the draw; draw 0 is these themselves.

    MurmurHash3's finalizer (Appleby, 2011), in the 32 low bits of int64, where products may wrap.
    """
    if draw == 0:
        return tie_break
    low = 0xFFFFFFFF
    x = (tie_break + draw * 0x9E3779B1) & low
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & low
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & low
    return (x ^ (x >> 16)) >> (32 - TIE_BREAK_BITS)


def select_kept(scores: Tensor, tiers: Tensor, tie_break: Tensor, keep: int) -> Tensor:
    """Row numbers of the kept tokens, ascending.

    One integer key of 63 bits holds tier, score and tie-break in this order of weight: ties are common (every id
    starts alike; a word may occur twice), a top-k over ties keeps positions instead of tokens, and a small number
    added to a large score vanishes in float32.

    Args:
        scores: (B, S) float32, finite.
        tiers: (B, S) int64, see `token_tiers`.
        tie_break: (B, S) int64 below 2**29.
        keep: K.

    Returns:
        (B, K) int64.
    """
    key = (tiers << (32 + TIE_BREAK_BITS)) | (_sortable(scores) << TIE_BREAK_BITS) | tie_break
    if key.device.type == "mps":  # whose top-k has cut 64-bit keys to 32: these few numbers are sorted on the host
        return key.cpu().topk(keep, dim=1, sorted=False).indices.sort(dim=1).values.to(key.device)
    return key.topk(keep, dim=1, sorted=False).indices.sort(dim=1).values
