"""How far, layer by layer, the pass with dropping is from the full pass: what the ScTD paper's analysis looks at.

The layers before the middle ones are the same in both passes, and so are the kept rows of a hybrid layer, which reads
all rows. Of each middle layer the rows that it processed are compared with the same rows of the full pass, of the
layers after them all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sctd.method.consistency import kl
from sctd.method.route import Route
from sctd.model.attention import key_bias
from sctd.model.bert import Bert
from sctd.model.rows import take_rows


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


def layer_states(
    model: Bert, input_ids: Tensor, attention_mask: Tensor | None, kept: list[Tensor], route: Route
) -> list[LayerStates]:
    """The outputs of all L layers in both passes.

    Args:
        model: L layers.
        input_ids: (B, S).
        attention_mask: (B, S), or null where nothing is padded.
        kept: (B, K) rows that the middle layers keep, one for each draw of the route.
        route: the way through the middle layers.
    """
    bias = None if attention_mask is None else key_bias(attention_mask)
    states = []
    full = model.embed(input_ids)
    for number in range(route.start):
        full = model.layer(number, full, bias)
        states.append(LayerStates(full, full, attention_mask))
    outputs, dropped = route.run(model, full, attention_mask, kept)
    for place, output in enumerate(outputs):
        full = model.layer(route.start + place, full, bias)
        rows = kept[min(place, len(kept) - 1)]
        real = None if attention_mask is None else attention_mask.gather(1, rows)
        states.append(LayerStates(take_rows(full, rows), output, real))
    for number in range(route.end, model.config.num_layers):
        full, dropped = model.layer(number, full, bias), model.layer(number, dropped, bias)
        states.append(LayerStates(full, dropped, attention_mask))
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
