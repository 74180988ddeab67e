"""The slow twin: token dropping and ScTD written from the papers, one sequence and one token at a time.

Shares nothing with the package but the parameters of a Bert (by name).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sctd.model.bert import Bert


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of one vector (H,)."""
    mean = x.mean()
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean() + eps) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def run_layer(model: Bert, number: int, queries: list[Tensor], keys: list[Tensor]) -> list[Tensor]:
    """One layer for each query vector (H,), attending over the key vectors."""
    p = {
        name[len(f"layers.{number}.") :]: value
        for name, value in model.named_parameters()
        if name.startswith(f"layers.{number}.")
    }
    heads, eps = model.config.num_heads, model.config.layer_norm_eps
    size = model.config.hidden_size // heads
    out = []
    for x in queries:
        q = p["query.weight"] @ x + p["query.bias"]
        attended = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            ks = [(p["key.weight"] @ y + p["key.bias"])[part] for y in keys]
            vs = [(p["value.weight"] @ y + p["value.bias"])[part] for y in keys]
            scores = torch.stack([q[part] @ k / math.sqrt(size) for k in ks])
            shares = torch.exp(scores - scores.max())
            shares = shares / shares.sum()
            attended.append(sum(share * v for share, v in zip(shares, vs, strict=True)))
        a = p["attention_output.weight"] @ torch.cat(attended) + p["attention_output.bias"]
        m = layer_norm(a + x, p["attention_norm.weight"], p["attention_norm.bias"], eps)
        f = gelu(p["intermediate.weight"] @ m + p["intermediate.bias"])
        o = p["output.weight"] @ f + p["output.bias"]
        out.append(layer_norm(o + m, p["output_norm.weight"], p["output_norm.bias"], eps))
    return out


def embed(model: Bert, ids: list[int]) -> list[Tensor]:
    return [
        layer_norm(
            model.word_embeddings.weight[token]
            + model.position_embeddings.weight[place]
            + model.token_type_embeddings.weight[0],
            model.embedding_norm.weight,
            model.embedding_norm.bias,
            model.config.layer_norm_eps,
        )
        for place, token in enumerate(ids)
    ]


def one_pass(model: Bert, ids: list[int], kept: list[int] | None) -> tuple[list[Tensor], list[Tensor]]:
    """(output of layer L-2, output of layer L-1) of one unpadded sequence; with `kept` places, by Hou et al."""
    layers = model.config.num_layers
    hidden = embed(model, ids)
    if kept is None:
        for number in range(layers - 1):
            hidden = run_layer(model, number, hidden, hidden)
        return hidden, run_layer(model, layers - 1, hidden, hidden)
    for number in range(layers // 2 - 1):
        hidden = run_layer(model, number, hidden, hidden)
    short = run_layer(model, layers // 2 - 1, [hidden[place] for place in kept], hidden)
    for number in range(layers // 2, layers - 1):
        short = run_layer(model, number, short, short)
    merged = list(hidden)
    for place, vector in zip(kept, short, strict=True):
        merged[place] = vector
    return merged, run_layer(model, layers - 1, merged, merged)


def routed_pass(
    model: Bert, ids: list[int], kept: list[list[int]], route: str, start: int, end: int
) -> tuple[list[Tensor], list[Tensor]]:
    """As `one_pass`, by another route: layers start .. end-1 process the kept places, of each layer its own list."""
    layers = model.config.num_layers
    hidden = embed(model, ids)
    local = hidden
    for number in range(layers):
        local = hidden
        if start <= number < end:
            places = kept[number - start]
            queries = [hidden[place] for place in places]
            reads_all = route == "hybrid" and number == start
            processed = run_layer(model, number, queries, hidden if reads_all else queries)
            hidden = list(hidden)
            for place, vector in zip(places, processed, strict=True):
                hidden[place] = vector
        else:
            hidden = run_layer(model, number, hidden, hidden)
    return local, hidden


def token_loss(model: Bert, hidden: Tensor, label: int) -> Tensor:
    """Masked-LM loss of one position."""
    h = model.head_dense.weight @ hidden + model.head_dense.bias
    h = layer_norm(gelu(h), model.head_norm.weight, model.head_norm.bias, model.config.layer_norm_eps)
    logits = model.word_embeddings.weight @ h + model.head_bias
    return torch.logsumexp(logits, 0) - logits[label]


def kept_places(
    ids: list[int], importance: Tensor, tie_break: list[int], keep: int, cls_id: int, pinned: set[int], pad_id: int
) -> list[int]:
    """The `keep` places of one sequence: [CLS], pins, importance, padding last; ties by the second key."""

    def rank(place: int) -> tuple[int, float, int]:
        token = ids[place]
        tier = 3 if token == cls_id else 2 if token in pinned else 0 if token == pad_id else 1
        return tier, float(importance[token]), tie_break[place]

    return sorted(sorted(range(len(ids)), key=rank, reverse=True)[:keep])
