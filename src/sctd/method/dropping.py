"""The full pass and the pass with token dropping (Hou et al., 2022, section 3.1), layer by layer.

    layers 0 .. L/2-2   all tokens                                  the prefix, the same for both passes
    layer  L/2-1        queries: kept tokens; keys, values: all     the hybrid layer
    layers L/2 .. L-2   kept tokens alone
    layer  L-1          kept rows back among the dropped rows of the prefix's output: all tokens

That is the published way; `sctd.method.route` has the others, and settings say at which layers it starts and ends.

Layer L-1 runs its queries at the rows that are read, which is exact: its other rows reach no loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sctd.method.route import Route
from sctd.model.attention import key_bias
from sctd.model.bert import Bert
from sctd.model.rows import take_rows


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


def run_prefix(model: Bert, input_ids: Tensor, attention_mask: Tensor | None, route: Route) -> Tensor:
    """Embeddings and the layers before the middle ones: X, (B, S, H)."""
    bias = None if attention_mask is None else key_bias(attention_mask)
    hidden = model.embed(input_ids)
    for number in range(route.start):
        hidden = model.layer(number, hidden, bias)
    return hidden


def finish_full(model: Bert, hidden: Tensor, attention_mask: Tensor | None, rows: Rows, first: int) -> PassOutput:
    """The layers from number `first` to L-1 over all tokens, from their input (B, S, H)."""
    bias = None if attention_mask is None else key_bias(attention_mask)
    last = model.config.num_layers - 1
    for number in range(first, last):
        hidden = model.layer(number, hidden, bias)
    local = None if rows.compared is None else take_rows(hidden, rows.compared)
    compared = 0 if rows.compared is None else rows.compared.shape[1]
    return PassOutput(local, model.layer(last, hidden, bias, rows.joined), compared)


def finish_dropped(
    model: Bert, prefix: Tensor, attention_mask: Tensor | None, kept: list[Tensor], rows: Rows, route: Route
) -> PassOutput:
    """The middle layers with dropping, from the prefix's output (B, S, H), and the layers after them.

    Args:
        model: the encoder.
        prefix: from `run_prefix`.
        attention_mask: (B, S), or null where nothing is padded.
        kept: row numbers (B, K), one for each draw of the route.
        rows: what the losses read.
        route: the way through the middle layers.
    """
    _, merged = route.run(model, prefix, attention_mask, kept)
    return finish_full(model, merged, attention_mask, rows, route.end)


def dense_pass(model: Bert, input_ids: Tensor, attention_mask: Tensor | None, rows: Rows) -> PassOutput:
    """All layers over all tokens, the last at the rows that are read; any number of layers."""
    return finish_full(model, model.embed(input_ids), attention_mask, rows, first=0)
