"""The full pass and the pass with token dropping (Hou et al., 2022, section 3.1), layer by layer.

    layers 0 .. L/2-2   all tokens                                  the prefix, the same for both passes
    layer  L/2-1        queries: kept tokens; keys, values: all     the hybrid layer
    layers L/2 .. L-2   kept tokens alone
    layer  L-1          kept rows back among the dropped rows of the prefix's output: all tokens

Layer L-1 runs its queries at the rows that are read, which is exact: its other rows reach no loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sctd.model.attention import key_bias
from sctd.model.bert import Bert
from sctd.model.rows import put_rows, take_rows


@dataclass
class PassOutput:
    """What the losses read of a pass.

    Args:
        local: (B, R, H) output of layer L-2 at the compared rows, or null where none are compared.
        last: (B, R + P, H) output of layer L-1 at the compared rows (none: R = 0), then at the predicted ones.
        compared: R.
    """

    local: Tensor | None
    last: Tensor
    compared: int

    @property
    def global_(self) -> Tensor:
        """(B, R, H) output of layer L-1 at the compared rows."""
        return self.last[:, : self.compared]

    @property
    def predicted(self) -> Tensor:
        """(B, P, H) output of layer L-1 at the predicted rows."""
        return self.last[:, self.compared :]


@dataclass
class Rows:
    """Row numbers that the losses read: predicted (B, P), and compared (B, R) on a consistency step."""

    predicted: Tensor
    compared: Tensor | None = None

    @property
    def joined(self) -> Tensor:
        """(B, R + P): compared rows first."""
        return self.predicted if self.compared is None else torch.cat([self.compared, self.predicted], dim=1)


def prefix_length(num_layers: int) -> int:
    """Layers before the hybrid one: L/2 - 1."""
    return num_layers // 2 - 1


def run_prefix(model: Bert, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Embeddings and layers 0 .. L/2-2: X, (B, S, H)."""
    bias = None if attention_mask is None else key_bias(attention_mask)
    hidden = model.embed(input_ids)
    for number in range(prefix_length(model.config.num_layers)):
        hidden = model.layer(number, hidden, bias)
    return hidden


def finish_full(
    model: Bert, hidden: Tensor, attention_mask: Tensor | None, rows: Rows, first: int | None = None
) -> PassOutput:
    """The layers from `first` (null: the hybrid layer's number) to L-1 over all tokens, from their input (B, S, H)."""
    bias = None if attention_mask is None else key_bias(attention_mask)
    last = model.config.num_layers - 1
    for number in range(prefix_length(model.config.num_layers) if first is None else first, last):
        hidden = model.layer(number, hidden, bias)
    local = None if rows.compared is None else take_rows(hidden, rows.compared)
    return _read(rows, local, model.layer(last, hidden, bias, rows.joined))


def finish_dropped(model: Bert, prefix: Tensor, attention_mask: Tensor | None, kept: Tensor, rows: Rows) -> PassOutput:
    """Layers L/2-1 .. L-1 with dropping, from the prefix's output (B, S, H) and the kept rows (B, K)."""
    layers = model.config.num_layers
    bias = None if attention_mask is None else key_bias(attention_mask)
    kept_bias = None if attention_mask is None else key_bias(attention_mask.gather(1, kept))
    hybrid = prefix_length(layers)
    hidden = model.layer(hybrid, prefix, bias, kept)
    for number in range(hybrid + 1, layers - 1):
        hidden = model.layer(number, hidden, kept_bias)
    merged = put_rows(prefix, kept, hidden)
    local = None if rows.compared is None else take_rows(merged, rows.compared)
    return _read(rows, local, model.layer(layers - 1, merged, bias, rows.joined))


def dense_pass(model: Bert, input_ids: Tensor, attention_mask: Tensor | None, rows: Rows) -> PassOutput:
    """All layers over all tokens, the last at the rows that are read; any number of layers."""
    return finish_full(model, model.embed(input_ids), attention_mask, rows, first=0)


def _read(rows: Rows, local: Tensor | None, last: Tensor) -> PassOutput:
    return PassOutput(local, last, 0 if rows.compared is None else rows.compared.shape[1])
