"""Held-out evaluation: the full network without dropout, the same sequences and masks in every run on the same data."""

from __future__ import annotations

import torch

from sctd.batches.batch import Batch
from sctd.method.consistency import kl
from sctd.method.drift import DriftMeter, layer_states
from sctd.method.dropping import Rows, dense_pass
from sctd.method.objectives import Objective
from sctd.train.device import autocast


@torch.no_grad()
def evaluate(
    objective: Objective, batches: list[Batch], mask_id: int, precision: str, device: torch.device
) -> dict[str, float]:
    """Mean losses in nats a predicted token.

    Returns:
        `eval_loss`: full network, all predicted positions. `eval_loss_mask`: only those whose input is [MASK]. With
        dropping also `eval_loss_dropped`, the dropped pass's, and `eval_kl_local`, `eval_kl_global`: how far that
        pass is from the full one, KL a sequence at layers L-2 and L-1.
    """
    was_training = objective.training
    objective.eval()
    sums: dict[str, float] = {}
    predictions = masked = sequences = 0.0

    def add(name: str, value: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0.0) + float(value)

    for on_host in batches:
        batch = on_host.to(device)
        with autocast(precision, device):
            if objective.keep_rule is None:
                full = dense_pass(objective.model, batch.input_ids, batch.attention_mask, Rows(batch.positions))
            else:
                kept = objective.select(batch)
                full, dropped = objective.both_passes(batch, kept)
                losses = objective.token_losses(dropped, batch)
                add("eval_loss_dropped", (losses * batch.weights).sum())
                vectors = [v.float() for v in objective.compared_vectors(batch, kept, full, dropped)]
                add("eval_kl_local", kl(vectors[0], vectors[1]).sum())
                add("eval_kl_global", kl(vectors[2], vectors[3]).sum())
            losses = objective.token_losses(full, batch)
        at_mask = (batch.input_ids.gather(1, batch.positions) == mask_id) * batch.weights
        add("eval_loss", (losses * batch.weights).sum())
        add("eval_loss_mask", (losses * at_mask).sum())
        predictions += batch.predictions
        masked += float(at_mask.sum())
        sequences += len(batch)
    objective.train(was_training)
    divisors = {"eval_loss_mask": max(masked, 1.0), "eval_kl_local": sequences, "eval_kl_global": sequences}
    return {name: value / divisors.get(name, predictions) for name, value in sorted(sums.items())}


@torch.no_grad()
def masks_kept(objective: Objective, batches: list[Batch], mask_id: int, device: torch.device) -> float:
    """Share of the [MASK] inputs that pass all middle layers; 1 without dropping, or where there is none."""
    if objective.keep_rule is None:
        return 1.0
    masks = kept = 0.0
    for on_host in batches:
        batch = on_host.to(device)
        at_mask = batch.input_ids == mask_id
        masks += float(at_mask.sum())
        kept += min(float(at_mask.gather(1, rows).sum()) for rows in objective.select(batch))
    return kept / masks if masks else 1.0


@torch.no_grad()
def measure_drift(
    objective: Objective, batches: list[Batch], precision: str, device: torch.device
) -> dict[str, list[float]]:
    """How far the pass with dropping is from the full one: measure -> one figure a layer, see `DriftMeter.read`."""
    was_training = objective.training
    objective.eval()
    meter = DriftMeter()
    for on_host in batches:
        batch = on_host.to(device)
        with autocast(precision, device):
            kept = objective.select(batch)
            states = layer_states(objective.model, batch.input_ids, batch.attention_mask, kept, objective.route)
        meter.add(states)
    objective.train(was_training)
    return meter.read()
