"""One optimizer step: micro-batches (halved when memory runs out), accumulation, clipping, loss scaling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sctd.batches.batch import Batch
from sctd.batches.draws import DROPOUT, draw_one
from sctd.console import say
from sctd.errors import UserError
from sctd.method.objectives import Objective, StepLosses, Totals
from sctd.method.step_plan import StepKind
from sctd.train.device import autocast
from sctd.train.graphs import OwnGradients, recorded
from sctd.train.parallel import spread, whole_tensor
from sctd.train.processes import Processes

CPU_TOKENS_AT_A_TIME = 4_096  # larger micro-batches leave a CPU's caches: slower, and they cost memory

StepResult = dict[str, Tensor | None]


class Stepper:
    """Carries out optimizer steps.

    Args:
        objective: model and method.
        optimizers: they share the model's parameters among them; or what makes them once the model is spread.
        precision: fp32, bf16 or fp16.
        device: where the objective is.
        micro: sequences at a time, or null: as many as fit.
        grad_clip: largest gradient norm, or null.
        seed: of the dropout.
        compiled: run the forward call through torch.compile.
        graphs: replay it as CUDA graphs; only compiled.
        processes: among which each global batch is split; null: this one alone.
        parallel: how the model is spread over them, see `sctd.train.parallel`.
    """

    def __init__(
        self,
        objective: Objective,
        optimizers: list[torch.optim.Optimizer] | Callable[[nn.Module], list[torch.optim.Optimizer]],
        precision: str,
        device: torch.device,
        micro: int | None,
        grad_clip: float | None,
        seed: int,
        compiled: bool = False,
        processes: Processes | None = None,
        parallel: str = "ddp",
        graphs: bool = False,
    ) -> None:
        self.objective = objective
        self.processes = processes or Processes()
        self.spread = spread(objective, parallel, self.processes, device)
        # made after the model is spread, as they hold its parameters' parts
        self.optimizers = optimizers(objective.model) if callable(optimizers) else optimizers
        self.precision = precision
        self.device = device
        self.micro = micro
        self.grad_clip = grad_clip
        self.seed = seed
        # steps that were left out, because their gradients were not finite; on the device, so that nobody waits
        self.skipped, self.skipped_in_a_row = torch.zeros(()), torch.zeros(())
        self.halved = False  # the micro-batch, since the last checkpoint
        self.advise: Callable[[], str] = lambda: "a smaller batch.micro"  # where memory ran out
        self.mark: Callable[[str], None] = lambda part: None  # told when a part of a step has ended, to measure it
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        module = self.spread.module
        self.gradients = OwnGradients(objective.model.parameters()) if graphs else None
        self._forward: nn.Module = module
        if compiled:
            self._forward = recorded(module) if graphs else torch.compile(module)  # type: ignore[assignment]

    def run(self, batch: Batch, step: int, lr: float, kind: StepKind) -> StepResult:
        """One step, on this process's part of the batch; the step's losses, and the gradient's norm before clipping."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        sums = self._accumulate_in_memory(batch, step, kind)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        parameters = list(self.objective.model.parameters())
        if self.grad_clip is None:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        else:
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        norm = whole_tensor(norm)
        # A step whose gradient is not finite is left out: no optimizer steps, no importance is learned. (Clipping
        # has spread a NaN over all gradients by now, and a scaler would decide for each optimizer alone.)
        if self.skips_unseen:
            bad = (~norm.isfinite()).float()
            for optimizer in self.optimizers:
                optimizer.found_inf = bad  # type: ignore[attr-defined]  # fused optimizers read it on the device
            self._step(bad)
        elif bool(norm.isfinite()):
            self._step(None)
        else:
            self._forget()
            # with fp16 it means at first that the loss scale is too high, which it cannot be below 1
            if not self.scaler.is_enabled() or self.scaler.get_scale() < 1:
                self._count(torch.ones((), device=self.device))
        self.scaler.update()
        self._clear_gradients()
        self.mark("optimizer")
        return {**sums, "grad_norm": norm}

    @property
    def skips_unseen(self) -> bool:
        """A step is left out on the device, without the host looking at its gradient: fused optimizers can."""
        fused = all(optimizer.defaults.get("fused") for optimizer in self.optimizers)
        return fused and not self.scaler.is_enabled()

    def _step(self, bad: Tensor | None) -> None:
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        if self.objective.keep_rule is not None:
            self.processes.add_up(self.objective.keep_rule.sums())
            self.objective.keep_rule.update(bad)
        self._count(torch.zeros((), device=self.device) if bad is None else bad)

    def _count(self, bad: Tensor) -> None:
        self.skipped = self.skipped.to(bad.device) + bad
        self.skipped_in_a_row = (self.skipped_in_a_row.to(bad.device) + bad) * bad

    def _accumulate_in_memory(self, batch: Batch, step: int, kind: StepKind) -> StepResult:
        """Gradients of the whole batch; a micro-batch that does not fit is halved, and the step begun anew."""
        totals = Totals(*self.processes.totals(batch.predictions, len(batch)))
        while True:
            micro = self.micro or self._first_micro(batch)
            try:
                sums = self._accumulate(batch.split(micro), step, kind, totals)
                self.processes.add_up([each for each in sums.values() if each is not None])
                return sums
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
            if self.processes.many:  # the others wait for this one's gradients
                raise UserError(f"Memory ran out with {micro} sequences at a time: set {self.advise()}.")
            # outside of the handler, so that the traceback no longer holds the failed step's tensors
            if micro == 1:
                raise UserError(
                    "Memory ran out with one sequence at a time: set model.gradient_checkpointing true, prepare the "
                    "data with a smaller --seq-len, or choose a smaller model."
                )
            self.micro = micro // 2
            say(f"Memory ran out with {micro} sequences at a time: going on with {self.micro} (batch.micro).")
            self.objective.zero_grad(set_to_none=True)
            self._forget()
            self.halved = True
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _clear_gradients(self) -> None:
        if self.gradients is None:
            self.objective.zero_grad(set_to_none=True)
        else:
            self.gradients.clear()

    def _forget(self) -> None:
        if self.objective.keep_rule is not None:
            self.objective.keep_rule.forget()

    def _first_micro(self, batch: Batch) -> int:
        if self.device.type == "cpu":
            return max(1, min(len(batch), CPU_TOKENS_AT_A_TIME // batch.input_ids.shape[1]))
        return len(batch)

    def _accumulate(self, parts: list[Batch], step: int, kind: StepKind, totals: Totals) -> StepResult:
        sums: StepResult = {}
        if self.gradients is not None:  # a number that changes from step to step would be another graph
            count = torch.full((), float(totals.predictions), dtype=torch.float32, device=self.device)
            totals = Totals(count, totals.sequences)
        for number, on_host in enumerate(parts):
            part = on_host.to(self.device)
            if self.objective.model.config.dropout or self.objective.model.config.attention_dropout:
                torch.manual_seed(draw_one(self.seed, DROPOUT, step, self.processes.rank * len(parts) + number))
            with self.spread.synchronised(last=number == len(parts) - 1):
                if self.gradients is not None:
                    torch.compiler.cudagraph_mark_step_begin()
                with autocast(self.precision, self.device):
                    losses: StepLosses = self._forward(part, totals, kind)
                self.mark("forward")
                # torch takes the mean of the processes' gradients; their losses are shares of the step's, to be added
                self.scaler.scale(losses.total * self.processes.count).backward()
                if self.gradients is not None:
                    self.gradients.keep()
                self.mark("backward")
            shares = {
                "loss": losses.loss,
                "loss_full": losses.loss_full,
                "loss_total": losses.total.detach(),
                "kl_local": losses.kl_local,
                "kl_global": losses.kl_global,
            }
            if self.gradients is not None:
                shares = {name: None if share is None else share.clone() for name, share in shares.items()}
            for name, share in shares.items():
                before = sums.get(name)
                sums[name] = share if before is None or share is None else before + share
        return sums


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )
