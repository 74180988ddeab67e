"""The network behind `WordPairHead`, apart because it imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordPairNetwork(nn.Module):
    """An encoder and a linear layer on [CLS], word 1 and word 2.

    Args:
        encoder: a transformers encoder whose outputs have `last_hidden_state` (B, S, H).
        labels: number of labels.
    """

    def __init__(self, encoder: Any, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(getattr(encoder.config, "hidden_dropout_prob", 0.1))
        self.classifier = nn.Linear(3 * encoder.config.hidden_size, labels)
        nn.init.normal_(self.classifier.weight, std=getattr(encoder.config, "initializer_range", 0.02))
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_weights: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits (B, labels), and the loss where labels (B,) are given; word_weights (B, 2, S)."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:  # some encoders know none
            inputs["token_type_ids"] = token_type_ids
        hidden = self.encoder(**inputs).last_hidden_state
        words = torch.bmm(word_weights.to(hidden.dtype), hidden)
        joined = torch.cat([hidden[:, :1], words], dim=1).flatten(1)
        logits = self.classifier(self.dropout(joined))
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits.float(), labels), "logits": logits}
