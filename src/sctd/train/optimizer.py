"""Optimizers by name; weight decay on matrices and embeddings, never on LayerNorm and biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sctd.config import OptimizerConfig
from sctd.errors import UserError

LR_FROM_SCRATCH = 1e-3  # small models, see docs/design.md; the recipes of larger ones set their own
LR_CONTINUED = 1e-4


def adamw(groups: list[dict[str, Any]], config: OptimizerConfig, lr: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), one fused kernel where the device has it."""
    fused = groups[0]["params"][0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps, fused=fused)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimizerConfig, float], torch.optim.Optimizer]] = {
    "adamw": adamw,
}


def peak_lr(config: OptimizerConfig, continued: bool) -> float:
    """The learning rate that is set, or the default from scratch or with `--init-from`."""
    if config.lr is not None:
        return config.lr
    return LR_CONTINUED if continued else LR_FROM_SCRATCH


def build_optimizer(model: nn.Module, config: OptimizerConfig, lr: float) -> torch.optim.Optimizer:
    """An optimizer over all parameters of the model in two groups: with weight decay (2-d), and without."""
    if config.name not in OPTIMIZERS:
        raise UserError(f"optimizer.name: there is no {config.name!r}; choose one of {', '.join(OPTIMIZERS)}.")
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.name](groups, config, lr)
