"""Optimizers by name; weight decay on matrices and embeddings, never on LayerNorm and biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from sctd.config import OptimizerConfig
from sctd.errors import UserError
from sctd.train.muon import Muon

LR_FROM_SCRATCH = 1e-3  # small models, see docs/design.md; the recipes of larger ones set their own
LR_CONTINUED = 1e-4


Parameters = Iterable[tuple[str, nn.Parameter]]


def adamw(parameters: Parameters, config: OptimizerConfig, lr: float, precision: str) -> list[Optimizer]:
    """AdamW (Loshchilov and Hutter, 2019), one fused kernel where the device has it."""
    listed = [parameter for _, parameter in parameters]
    groups = [
        {"params": [p for p in listed if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in listed if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = listed[0].device.type in ("cpu", "cuda")
    return [torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps, fused=fused)]


def muon(parameters: Parameters, config: OptimizerConfig, lr: float, precision: str) -> list[Optimizer]:
    """Muon (Jordan et al., 2024) for the matrices of the layers and the head, AdamW for embeddings and vectors.

    Its update is scaled to AdamW's usual rms (Liu et al., 2025), so that one learning rate serves both.
    """
    listed = list(parameters)
    matrices = [p for name, p in listed if p.ndim == 2 and "embeddings" not in name]
    rest = [(name, p) for name, p in listed if not (p.ndim == 2 and "embeddings" not in name)]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return [Muon(matrices, lr, config.weight_decay, dtype), *adamw(rest, config, lr, precision)]


OPTIMIZERS: dict[str, Callable[[Parameters, OptimizerConfig, float, str], list[Optimizer]]] = {
    "adamw": adamw,
    "muon": muon,
}


def peak_lr(config: OptimizerConfig, continued: bool) -> float:
    """The learning rate that is set, or the default from scratch or with `--init-from`."""
    if config.lr is not None:
        return config.lr
    return LR_CONTINUED if continued else LR_FROM_SCRATCH


def build_optimizers(model: nn.Module, config: OptimizerConfig, lr: float, precision: str) -> list[Optimizer]:
    """The optimizers that share the model's parameters among them, by the setting's name, for a run's precision."""
    if config.name not in OPTIMIZERS:
        raise UserError(f"optimizer.name: there is no {config.name!r}; choose one of {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[config.name](model.named_parameters(), config, lr, precision)
