"""One post-LayerNorm transformer layer (Devlin et al., 2019), able to run its queries at chosen rows only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sctd.model.attention import ATTENTION
from sctd.model.rows import take_rows


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, each with residual and LayerNorm after it.

    Args:
        hidden_size: H.
        num_heads: attention heads.
        intermediate_size: width of the feed-forward layer.
        dropout: probability on each sublayer's output.
        attention_dropout: probability on the attention weights.
        layer_norm_eps: epsilon of the LayerNorms.
        attention: name of a kernel in ATTENTION.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float,
        attention_dropout: float,
        layer_norm_eps: float,
        attention: str,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.kernel = ATTENTION[attention]
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.attention_output = nn.Linear(hidden_size, hidden_size)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.intermediate = nn.Linear(hidden_size, intermediate_size)
        self.output = nn.Linear(intermediate_size, hidden_size)
        self.output_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, hidden: Tensor, key_bias: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Output at every row, or at the given ones.

        With `rows`, queries and feed-forward run at those rows alone while keys and values still come from all of
        them: that is token dropping's hybrid layer (Hou et al., 2022, section 3), and, exactly, a last layer of which
        only some rows are read.

        Args:
            hidden: (B, S, H).
            key_bias: (B, 1, 1, S), added to the attention scores; null where nothing is padded.
            rows: (B, K) row numbers, or null for all.

        Returns:
            (B, K, H), or (B, S, H) without rows.
        """
        if rows is None:
            residual = hidden
            query, key, value = self._project(hidden, (self.query, self.key, self.value))
        else:
            residual = take_rows(hidden, rows)
            query = self.query(residual)
            key, value = self._project(hidden, (self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        attended = self._attend(query, key, value, key_bias)
        attended = self.attention_output(attended)
        if dropout:
            attended = F.dropout(attended, dropout)
        middle = self.attention_norm(attended + residual)
        output = self.output(F.gelu(self.intermediate(middle)))
        if dropout:
            output = F.dropout(output, dropout)
        return self.output_norm(output + middle)

    @staticmethod
    def _project(hidden: Tensor, projections: tuple[nn.Linear, ...]) -> tuple[Tensor, ...]:
        # One matrix product over the joined weights: the parameters keep Hugging Face's names, and joining them
        # costs as much as one token in S rows of work.
        weight = torch.cat([projection.weight for projection in projections])
        bias = torch.cat([projection.bias for projection in projections])
        return F.linear(hidden, weight, bias).chunk(len(projections), dim=-1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None) -> Tensor:
        def heads(x: Tensor) -> Tensor:  # (B, S, H) -> (B, heads, S, D)
            return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

        dropout = self.attention_dropout if self.training else 0.0
        attended = self.kernel(heads(query), heads(key), heads(value), key_bias, dropout)
        return attended.transpose(1, 2).reshape(query.shape)
