"""What a step minimises: `dense`, `drop` and `sctd`, as one module whose forward call is one micro-batch's losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sctd.batches.batch import Batch
from sctd.config import ConsistencyConfig, DroppingConfig, Method
from sctd.errors import UserError
from sctd.method.consistency import DISTANCES, kl, summarise
from sctd.method.dropping import PassOutput, Rows, dense_pass, finish_dropped, finish_full, run_prefix
from sctd.method.keep_rules import KEEP_RULES
from sctd.method.route import Route
from sctd.method.selection import drawn_again, kept_count, select_kept
from sctd.method.step_plan import StepKind
from sctd.model.bert import Bert

T = TypeVar("T")


@dataclass
class Totals:
    """Counts of the whole optimizer step, over all micro-batches and processes: what its sums are divided by."""

    predictions: int | Tensor
    sequences: int


@dataclass
class StepLosses:
    """A micro-batch's share of the step's losses, so that adding up the micro-batches gives the step's.

    Args:
        total: what is minimised, with gradient.
        loss: masked-LM loss of the training pass: the dropped one, or the full one where nothing is dropped.
        loss_full: masked-LM loss of the full pass, on consistency steps.
        kl_local: KL a sequence at layer L-2, on consistency steps, whatever distance is minimised.
        kl_global: the same at layer L-1.
    """

    total: Tensor
    loss: Tensor
    loss_full: Tensor | None = None
    kl_local: Tensor | None = None
    kl_global: Tensor | None = None


class Objective(nn.Module):
    """A Bert and the method that trains it.

    Args:
        model: the encoder with its head.
        method: dense, drop or sctd.
        dropping: keep ratio and rule.
        consistency: interval's weight, distance and variant.
        tiers: (V,) int64, see `selection.token_tiers`.
        unigram: (V,) counts of the ids in the training split.
    """

    tiers: Tensor

    def __init__(
        self,
        model: Bert,
        method: Method,
        dropping: DroppingConfig,
        consistency: ConsistencyConfig,
        tiers: Tensor,
        unigram: Tensor,
    ) -> None:
        super().__init__()
        if dropping.keep_rule not in KEEP_RULES:
            raise UserError(
                f"dropping.keep_rule: there is no {dropping.keep_rule!r}; choose one of {', '.join(KEEP_RULES)}."
            )
        if consistency.distance not in DISTANCES:
            raise UserError(
                f"consistency.distance: there is no {consistency.distance!r}; choose one of {', '.join(DISTANCES)}."
            )
        self.model = model
        self.method = method
        self.dropping = dropping
        self.consistency = consistency
        self.register_buffer("tiers", tiers, persistent=False)
        self.keep_rule = KEEP_RULES[dropping.keep_rule](dropping, unigram) if method != "dense" else None
        self._route = Route.of(dropping, model.config.num_layers) if method != "dense" else None

    @property
    def route(self) -> Route:
        """The way through the middle layers, of a method that drops tokens."""
        assert self._route is not None
        return self._route

    def forward(self, batch: Batch, totals: Totals, kind: StepKind | None = None) -> StepLosses:
        """Losses of one micro-batch, divided by the step's counts.

        Args:
            batch: B masked sequences.
            totals: counts of the whole step.
            kind: of the step; null: `dense` for the method dense, else `drop`.
        """
        if kind == "consistency":
            return self._consistent(batch, totals)
        if self.keep_rule is None or kind == "dense":
            output = dense_pass(self.model, batch.input_ids, batch.attention_mask, Rows(batch.positions))
        else:
            prefix = run_prefix(self.model, batch.input_ids, batch.attention_mask, self.route)
            kept = self.select(batch)
            output = finish_dropped(self.model, prefix, batch.attention_mask, kept, Rows(batch.positions), self.route)
        losses = self.token_losses(output, batch)
        self._observe(batch, losses)
        loss = (losses * batch.weights).sum() / totals.predictions
        return StepLosses(total=loss, loss=loss.detach())

    def lend(self, work: Callable[[Objective], T]) -> T:
        """What `work` makes of this objective: a call of its own, before which a sharded model can gather itself."""
        return work(self)

    def select(self, batch: Batch) -> list[Tensor]:
        """Row numbers (B, K) of the kept tokens, one for each draw of the route."""
        assert self.keep_rule is not None
        ids = batch.input_ids
        keep = kept_count(self.dropping.keep_ratio, ids.shape[1])
        scores, tiers = self.keep_rule.scores(ids), self.tiers[ids]
        return [
            select_kept(scores, tiers, drawn_again(batch.tie_break, draw), keep) for draw in range(self.route.draws)
        ]

    def _observe(self, batch: Batch, losses: Tensor) -> None:
        # steps that drop nothing count too, so that there is an importance when dropping begins
        if self.training and self.keep_rule is not None:
            self.keep_rule.observe(batch.labels, losses, batch.weights)

    def token_losses(self, output: PassOutput, batch: Batch) -> Tensor:
        """(B, P) float32 masked-LM losses."""
        logits = self.model.head(output.predicted)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), batch.labels.flatten(), reduction="none")
        return losses.view(batch.labels.shape)

    def both_passes(self, batch: Batch, kept: list[Tensor]) -> tuple[PassOutput, PassOutput]:
        """(full, dropped) of the same masked batch, weights shared."""
        model, ids, mask, route = self.model, batch.input_ids, batch.attention_mask, self.route
        compared = kept[-1] if self.consistency.place == "mean" else torch.zeros_like(kept[-1][:, :1])
        rows = Rows(batch.positions, compared)
        prefix = run_prefix(model, ids, mask, route)
        dropped = finish_dropped(model, prefix, mask, kept, rows, route)
        if not self.consistency.share_prefix:
            prefix = run_prefix(model, ids, mask, route)
        return finish_full(model, prefix, mask, rows, route.start), dropped

    def compared_vectors(self, batch: Batch, kept: list[Tensor], full: PassOutput, dropped: PassOutput) -> list[Tensor]:
        """What the distances compare, each (B, H): full local, dropped local, full global, dropped global."""
        weights = None
        if self.consistency.place == "mean" and batch.attention_mask is not None:
            weights = batch.attention_mask.gather(1, kept[-1])
        assert full.local is not None
        assert dropped.local is not None
        return [summarise(hidden, weights) for hidden in (full.local, dropped.local, full.global_, dropped.global_)]

    def _consistent(self, batch: Batch, totals: Totals) -> StepLosses:
        """Both passes of the same masked batch, and their distance (Zhong et al.)."""
        settings = self.consistency
        kept = self.select(batch)
        full, dropped = self.both_passes(batch, kept)

        losses = self.token_losses(dropped, batch)
        self._observe(batch, losses)
        mlm_dropped = (losses * batch.weights).sum() / totals.predictions
        own_full_loss = settings.variant != "released-code"
        with torch.set_grad_enabled(own_full_loss and torch.is_grad_enabled()):
            mlm_full = (self.token_losses(full, batch) * batch.weights).sum() / totals.predictions

        full_local, dropped_local, full_global, dropped_global = self.compared_vectors(batch, kept, full, dropped)
        if settings.variant == "teacher":
            full_local, full_global = full_local.detach(), full_global.detach()
        distance = DISTANCES[settings.distance]
        apart = torch.zeros((), device=mlm_dropped.device)
        if settings.terms in ("both", "local"):
            apart = apart + distance(full_local, dropped_local).sum()
        if settings.terms in ("both", "global"):
            apart = apart + distance(full_global, dropped_global).sum()
        by_token = settings.reduction == "per_masked_token"
        apart = apart / (totals.predictions if by_token else totals.sequences)

        mlm = 0.5 * (mlm_dropped + mlm_full) if own_full_loss else mlm_dropped
        with torch.no_grad():
            kl_local = kl(full_local, dropped_local).sum() / totals.sequences
            kl_global = kl(full_global, dropped_global).sum() / totals.sequences
        return StepLosses(
            total=mlm + settings.weight * apart,
            loss=mlm_dropped.detach(),
            loss_full=mlm_full.detach(),
            kl_local=kl_local,
            kl_global=kl_global,
        )
