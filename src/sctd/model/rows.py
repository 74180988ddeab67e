"""Whole rows of a (B*S, H) matrix, taken and put back.

One `index_select` and one `index_copy` on the flattened matrix move contiguous rows; `torch.gather` with an index
expanded to (B, K, H) does the same element by element, which is where other implementations lose the time they save.
"""

from __future__ import annotations

import torch
from torch import Tensor


def flat_rows(rows: Tensor, length: int) -> Tensor:
    """Row numbers within each sequence, (B, K), as numbers (B*K,) into the flattened (B*S, H) matrix; S = length."""
    first = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1) * length
    return (rows + first).reshape(-1)


def take_rows(hidden: Tensor, rows: Tensor) -> Tensor:
    """(B, S, H) and row numbers (B, K) to (B, K, H)."""
    batch, length, width = hidden.shape
    taken = hidden.reshape(batch * length, width).index_select(0, flat_rows(rows, length))
    return taken.view(batch, rows.shape[1], width)


def put_rows(hidden: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A copy of hidden (B, S, H) in which the rows (B, K) are values (B, K, H). Row numbers are distinct."""
    batch, length, width = hidden.shape
    flat = hidden.reshape(batch * length, width)
    put = flat.index_copy(0, flat_rows(rows, length), values.reshape(-1, width).to(flat.dtype))
    return put.view(batch, length, width)
