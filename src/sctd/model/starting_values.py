"""What a Bert's parameters start as. All of them stay learned, so that the result is a plain BERT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sctd.model.bert import INITIALIZER_RANGE, Bert

SETTINGS = ("normal", "sinusoidal", "local")

# Layer 0's heads in turn: where each begins to look, in tokens from its own place.
NEIGHBOURS = (-1, 1, -2, 2)
SHARPNESS = 8.0  # of the first looks: most of the weight on the one token, the rest close by


@torch.no_grad()
def set_starting_values(model: Bert, setting: str, unigram: Tensor) -> None:
    """Change a new Bert's normal starting values into those of `setting`, see `sctd.config.ModelConfig`.

    Args:
        model: with the values that its constructor gave it.
        setting: normal, sinusoidal or local.
        unigram: (V,) counts of the ids in the training split.
    """
    assert setting in SETTINGS
    if setting == "normal":
        return
    config = model.config
    model.position_embeddings.weight.copy_(sinusoids(config.max_position_embeddings, config.hidden_size))
    if setting == "local":
        look_at_neighbours(model)
        share = unigram.double() + 1
        model.head_bias.copy_(torch.log(share / share.sum()).float())


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) sinusoidal position table (Vaswani et al., 2017, section 3.5) of rms INITIALIZER_RANGE."""
    position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    angle = position * _rates(width)
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle[:, : width // 2])
    return (table * (INITIALIZER_RANGE * 2**0.5)).float()


def _rates(width: int) -> Tensor:
    """Radians a token of each (sin, cos) pair."""
    return torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(1e4) / width))


@torch.no_grad()
def look_at_neighbours(model: Bert) -> None:
    """Start layer 0's heads as looks at the neighbouring tokens, and widen every layer's value and output matrices.

    Sinusoids are moved by d tokens by turning each (sin, cos) pair by d times its rate. So a head whose query takes
    the fastest pairs as they are, and whose key takes them turned, matches place i with place i + d. The word
    embeddings start at 0 in these few units: otherwise each token would match itself best. Wider value and output
    matrices (std H**-0.5) let through what is seen.
    """
    width, size = model.config.hidden_size, model.config.hidden_size // model.config.num_heads
    even = torch.arange(size // 2) * 2
    model.word_embeddings.weight[:, : len(even) * 2] = 0.0
    first = model.layers[0]
    for head in range(model.config.num_heads):
        turn = _rates(width)[: len(even)] * NEIGHBOURS[head % len(NEIGHBOURS)]
        query, key = torch.zeros(size, width), torch.zeros(size, width)
        query[even, even] = query[even + 1, even + 1] = 1.0
        key[even, even] = key[even + 1, even + 1] = torch.cos(turn).float()
        key[even, even + 1] = -torch.sin(turn).float()
        key[even + 1, even] = torch.sin(turn).float()
        rows = slice(head * size, (head + 1) * size)
        _weight(first.query)[rows] += math.sqrt(SHARPNESS) * query
        _weight(first.key)[rows] += math.sqrt(SHARPNESS) * key
    for layer in model.layers:
        for module in (layer.value, layer.attention_output):
            _weight(module).mul_(width**-0.5 / INITIALIZER_RANGE)


def _weight(module: object) -> Tensor:
    assert isinstance(module, nn.Linear)
    return module.weight
