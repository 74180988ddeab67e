"""BERT (Devlin et al., 2019) with its masked-language-model head: the parameters and the numbers of Hugging Face's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sctd.model.attention import key_bias
from sctd.model.layer import TransformerLayer
from sctd.model.rows import take_rows

INITIALIZER_RANGE = 0.02  # standard deviation of starting weights (Devlin et al., 2019)


@dataclass(frozen=True)
class BertConfig:
    """Shape and behaviour of a Bert. See `sctd.config.ModelConfig` for what is a setting."""

    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    attention: str = "sdpa"
    gradient_checkpointing: bool = False


class Bert(nn.Module):
    """Embeddings, L layers and the tied output head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.layer_norm_eps
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                config.num_heads,
                config.intermediate_size,
                config.dropout,
                config.attention_dropout,
                eps,
                config.attention,
            )
            for _ in range(config.num_layers)
        )
        self.head_dense = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, eps=eps)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Starting values, drawn from torch's generator: normal, std 0.02; LayerNorm 1 and 0; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=INITIALIZER_RANGE)
                module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(std=INITIALIZER_RANGE)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        self.word_embeddings.weight[self.config.pad_token_id].zero_()

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """input_ids (B, S) to (B, S, H)."""
        embedded = self.word_embeddings(input_ids) + self.position_embeddings.weight[: input_ids.shape[1]]
        if token_type_ids is None:
            embedded = embedded + self.token_type_embeddings.weight[0]
        else:
            embedded = embedded + self.token_type_embeddings(token_type_ids)
        embedded = self.embedding_norm(embedded)
        if self.training and self.config.dropout:
            embedded = F.dropout(embedded, self.config.dropout)
        return embedded

    def layer(self, number: int, hidden: Tensor, bias: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """Run layer `number`, at the given rows (B, K) or at all; recomputed in the backward pass where so set."""
        module = self.layers[number]
        if self.config.gradient_checkpointing and self.training and torch.is_grad_enabled():
            recomputed: Any = checkpoint(module, hidden, bias, rows, use_reentrant=False)
            return recomputed
        output: Tensor = module(hidden, bias, rows)
        return output

    def head(self, hidden: Tensor) -> Tensor:
        """(..., H) to logits (..., V): dense, GELU, LayerNorm, the tied output embedding and its bias."""
        transformed = self.head_norm(F.gelu(self.head_dense(hidden)))
        return F.linear(transformed, self.word_embeddings.weight, self.head_bias)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Last layer's output (B, S, H) from input_ids (B, S); attention_mask (B, S) is 1 for real tokens."""
        bias = None if attention_mask is None else key_bias(attention_mask)
        hidden = self.embed(input_ids, token_type_ids)
        for number in range(self.config.num_layers):
            hidden = self.layer(number, hidden, bias)
        return hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Logits at every token (B, S, V), or at the rows (B, P) only: (B, P, V)."""
        hidden = self.encode(input_ids, attention_mask, token_type_ids)
        return self.head(hidden if rows is None else take_rows(hidden, rows))
