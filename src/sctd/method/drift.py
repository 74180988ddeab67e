"""How far, layer by layer, the pass with dropping is from the full pass: what the ScTD paper's analysis looks at.

Layers 0 .. L/2-2 are the same in both passes, and so are the kept rows of layer L/2-1, the hybrid one, which reads all
rows. Of layers L/2 .. L-2 the kept rows are compared with the same rows of the full pass, of layer L-1 all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sctd.method.consistency import kl
from sctd.method.dropping import prefix_length
from sctd.model.attention import key_bias
from sctd.model.bert import Bert
from sctd.model.rows import put_rows, take_rows


@dataclass
class LayerStates:
    """A layer's output at the rows that both passes have.

    Args:
        full, dropped: (B, R, H); row 0 is [CLS].
        real: (B, R), 0 where a row is padding; null: none is.
    """

    full: Tensor
    dropped: Tensor
    real: Tensor | None


def layer_states(model: Bert, input_ids: Tensor, attention_mask: Tensor | None, kept: Tensor) -> list[LayerStates]:
    """The outputs of all L layers in both passes.

    Args:
        model: L layers.
        input_ids: (B, S).
        attention_mask: (B, S), or null where nothing is padded.
        kept: (B, K) rows that the middle layers keep.
    """
    layers = model.config.num_layers
    hybrid, last = prefix_length(layers), layers - 1
    bias = None if attention_mask is None else key_bias(attention_mask)
    kept_real = None if attention_mask is None else attention_mask.gather(1, kept)
    kept_bias = None if kept_real is None else key_bias(kept_real)
    states = []
    hidden = model.embed(input_ids)
    for number in range(hybrid):
        hidden = model.layer(number, hidden, bias)
        states.append(LayerStates(hidden, hidden, attention_mask))
    prefix, full = hidden, hidden
    dropped = model.layer(hybrid, prefix, bias, kept)
    for number in range(hybrid, last):
        full = model.layer(number, full, bias)
        if number > hybrid:
            dropped = model.layer(number, dropped, kept_bias)
        states.append(LayerStates(take_rows(full, kept), dropped, kept_real))
    merged = put_rows(prefix, kept, dropped)
    states.append(LayerStates(model.layer(last, full, bias), model.layer(last, merged, bias), attention_mask))
    return states


class DriftMeter:
    """Adds up measures over batches; memory is that of three H x H matrices a layer, whatever the number of rows."""

    def __init__(self) -> None:
        self.layers: list[_LayerSums] = []

    def add(self, states: list[LayerStates]) -> None:
        """See one batch's layers."""
        if not self.layers:
            self.layers = [_LayerSums(state.full.shape[-1]) for state in states]
        for sums, state in zip(self.layers, states, strict=True):
            if state.full is not state.dropped:  # the prefix, where there is nothing to measure
                sums.add(state)

    def read(self) -> dict[str, list[float]]:
        """Measure -> one figure a layer.

        `cosine`: of a row's two vectors, mean over rows. `kl_cls`: KL(softmax(full) || softmax(dropped)) of [CLS], mean
        over sequences, as in the consistency loss. `cka`: linear centred kernel alignment over all rows (Kornblith et
        al., 2019, section 3), which a turn or a common scale of one side leaves at 1.
        """
        return {
            "cosine": [sums.cosine / sums.rows if sums.rows else 1.0 for sums in self.layers],
            "kl_cls": [sums.kl / sums.sequences if sums.rows else 0.0 for sums in self.layers],
            "cka": [sums.cka() if sums.rows else 1.0 for sums in self.layers],
        }


class _LayerSums:
    def __init__(self, width: int) -> None:
        self.rows, self.sequences = 0, 0
        self.cosine, self.kl = 0.0, 0.0
        self.mean = torch.zeros(2, width, dtype=torch.float64)  # sums of full and dropped rows
        self.products = torch.zeros(3, width, width, dtype=torch.float64)  # full' full, dropped' dropped, full' dropped

    @torch.no_grad()
    def add(self, state: LayerStates) -> None:
        full, dropped = state.full.float(), state.dropped.float()
        self.kl += float(kl(full[:, 0], dropped[:, 0]).sum())
        self.sequences += len(full)
        if state.real is None:
            full, dropped = full.flatten(0, 1), dropped.flatten(0, 1)
        else:
            full, dropped = full[state.real == 1], dropped[state.real == 1]
        self.rows += len(full)
        self.cosine += float(torch.cosine_similarity(full, dropped, dim=-1).sum())
        self.mean += torch.stack([full.sum(0), dropped.sum(0)]).cpu()
        self.products += torch.stack([full.T @ full, dropped.T @ dropped, full.T @ dropped]).cpu()

    def cka(self) -> float:
        a, b = self.mean
        outer = torch.stack([torch.outer(a, a), torch.outer(b, b), torch.outer(a, b)])
        own, other, shared = (self.products - outer / self.rows).square().sum((1, 2))
        return float(shared / (own * other).sqrt().clamp(min=1e-30))
