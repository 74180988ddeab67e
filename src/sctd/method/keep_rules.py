"""Keep rules: what gives a token its score; the K highest of a sequence are kept. One class and table entry each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sctd.config import DroppingConfig
from sctd.method.importance import TokenImportance


class KeepRule(nn.Module):
    """Scores tokens by their input ids. `observe` and `update` are for rules that learn from the losses."""

    def scores(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, S) to scores (B, S) float32; the higher, the sooner kept. Ties are broken at random."""
        raise NotImplementedError

    def observe(self, labels: Tensor, losses: Tensor, weights: Tensor) -> None:
        """See the losses (B, P) of one micro-batch's dropped pass."""

    def sums(self) -> list[Tensor]:
        """What `observe` has added up in this step: float32, to be added up over processes before `update`."""
        return []

    def update(self, skipped: Tensor | None = None) -> None:
        """End of an optimizer step; `skipped` is 1 where it was left out, and nothing is to be learned from it."""

    def forget(self) -> None:
        """The step under way is not carried out."""


class ImportanceRule(KeepRule):
    """The published rule: the running masked-LM loss of the token's id."""

    def __init__(self, config: DroppingConfig, unigram: Tensor) -> None:
        super().__init__()
        self.importance = TokenImportance(len(unigram), config.beta, config.initial_importance)

    def scores(self, input_ids: Tensor) -> Tensor:
        return self.importance.values[input_ids]

    def observe(self, labels: Tensor, losses: Tensor, weights: Tensor) -> None:
        self.importance.observe(labels, losses, weights)

    def sums(self) -> list[Tensor]:
        return [self.importance.loss_sum, self.importance.loss_count]

    def update(self, skipped: Tensor | None = None) -> None:
        self.importance.update(skipped)

    def forget(self) -> None:
        self.importance.forget()


class RandomRule(KeepRule):
    """All tokens alike: the tie-break, drawn anew at every step, decides."""

    def __init__(self, config: DroppingConfig, unigram: Tensor) -> None:
        super().__init__()

    def scores(self, input_ids: Tensor) -> Tensor:
        return torch.zeros(input_ids.shape, device=input_ids.device)


class FrequencyRule(KeepRule):
    """Rare tokens first: minus the log of the id's count in the training split. Nothing is learned."""

    rarity: Tensor

    def __init__(self, config: DroppingConfig, unigram: Tensor) -> None:
        super().__init__()
        self.register_buffer("rarity", -torch.log(unigram.float().clamp(min=1)), persistent=False)

    def scores(self, input_ids: Tensor) -> Tensor:
        return self.rarity[input_ids]


# name -> class taking (DroppingConfig, unigram counts (V,))
KEEP_RULES: dict[str, Callable[[DroppingConfig, Tensor], KeepRule]] = {
    "importance": ImportanceRule,
    "random": RandomRule,
    "frequency": FrequencyRule,
}
