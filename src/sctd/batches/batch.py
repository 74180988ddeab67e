"""A batch as the model's forward pass wants it, and how one is made from rows of token ids."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sctd.batches.draws import TIE_BREAK, draw
from sctd.batches.masking import Vocabulary, mask_rows
from sctd.config import MaskingConfig

TIE_BREAK_BITS = 29


@dataclass
class Batch:
    """Masked sequences.

    Args:
        input_ids: (B, S) int64.
        positions: (B, P) int64, rows to predict in each sequence.
        labels: (B, P) int64, their original ids.
        weights: (B, P) float32, 1 for a prediction, 0 for an unused slot.
        tie_break: (B, S) int64 below 2**29, the keep rules' second key.
        attention_mask: (B, S) int64, 1 for a real token; null where no row is padded.
        predictions: sum of the weights, known on the host.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    weights: Tensor
    tie_break: Tensor
    attention_mask: Tensor | None
    predictions: int

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of `size` sequences (the last may be smaller), in order."""
        parts = []
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            mask = None if self.attention_mask is None else self.attention_mask[part]
            weights = self.weights[part]
            parts.append(
                Batch(
                    self.input_ids[part],
                    self.positions[part],
                    self.labels[part],
                    weights,
                    self.tie_break[part],
                    mask,
                    int(weights.sum()),
                )
            )
        return parts

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; pinned and asynchronous for CUDA."""
        if device.type == "cpu":
            return self

        def move(value: Tensor) -> Tensor:
            if device.type == "cuda":
                return value.pin_memory().to(device, non_blocking=True)
            return value.to(device)

        moved: dict[str, Any] = {
            field.name: move(value) if isinstance(value := getattr(self, field.name), Tensor) else value
            for field in fields(self)
        }
        return Batch(**moved)


def make_batch(
    rows: NDArray[np.int64],
    samples: NDArray[np.int64],
    *,
    seed: int,
    step: int,
    masking: MaskingConfig,
    vocabulary: Vocabulary,
) -> Batch:
    """Mask rows (B, S) with their sample numbers (B,) for a step; see `mask_rows`."""
    masked = mask_rows(rows, samples, seed=seed, step=step, config=masking, vocabulary=vocabulary)
    tie_break = draw(seed, TIE_BREAK, step, samples, rows.shape[1]) >> np.uint64(64 - TIE_BREAK_BITS)
    padded = rows == vocabulary.pad_id
    return Batch(
        input_ids=torch.from_numpy(masked.input_ids),
        positions=torch.from_numpy(masked.positions),
        labels=torch.from_numpy(masked.labels),
        weights=torch.from_numpy(masked.weights),
        tie_break=torch.from_numpy(tie_break.astype(np.int64)),
        attention_mask=torch.from_numpy((~padded).astype(np.int64)) if padded.any() else None,
        predictions=int(masked.weights.sum()),
    )
