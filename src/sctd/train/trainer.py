"""The training loop: steps, evaluations, log lines, checkpoints; interrupted at any step, resumed at any checkpoint."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.batches.loader import TrainingBatches, evaluation_batches
from sctd.config import PretrainConfig
from sctd.console import progress_bar, say
from sctd.errors import UserError, first_line
from sctd.files import sha256_file
from sctd.method.keep_rules import ImportanceRule
from sctd.method.objectives import Objective
from sctd.method.step_plan import StepKind, StepPlan
from sctd.model.bert import Bert
from sctd.tokens.prepared import PreparedData
from sctd.train.budget import LONGEST, seconds_a_step, steps_in
from sctd.train.checkpoint import TrainState, gather, list_checkpoints, load_checkpoint
from sctd.train.device import check_compiler, choose_device, choose_precision, memory_of
from sctd.train.evaluate import evaluate, masks_kept, measure_drift
from sctd.train.graphs import check_graphs
from sctd.train.health import SKIPPED_IN_A_ROW, Health, not_finite
from sctd.train.memory import keep_freed_memory
from sctd.train.metrics import Averages, RunLog
from sctd.train.optimizer import build_optimizers, peak_lr
from sctd.train.processes import Processes
from sctd.train.pulse import Pulse
from sctd.train.saving import Saver
from sctd.train.schedule import lr_factor, warmup_steps
from sctd.train.setup import ORIGIN, build_objective, read_vocabulary
from sctd.train.step import Stepper, StepResult
from sctd.train.stopping import Interrupted, StopRequest
from sctd.train.trackers import Trackers

if TYPE_CHECKING:
    import torch

EVAL_BATCH = 32
FEW_STEPS = 100
DRIFT_SEQUENCES = 64  # two more passes over these, beside two over the evaluation's 512


class Trainer:
    """One run, in a folder of its own.

    Args:
        run: the run's folder; exists already.
        data: what `prepare` wrote.
        config: every setting.
        checkpoint: folder and state to go on from, or null for a new run.
        signals: more figures of the model (on a device, in a precision), asked for every eval.probes_every steps, by
            their names in metrics.jsonl.
        start: with init_from, the folder that it means; of a resumed run RUN/origin is read instead.
        processes: that train together; null: this one alone.
        pulse: what the run tells others of itself; null: nothing.
        sent: what else is done with a checkpoint that is whole; null: nothing.
    """

    def __init__(
        self,
        run: Path,
        data: PreparedData,
        config: PretrainConfig,
        checkpoint: tuple[Path, TrainState] | None = None,
        signals: Callable[[Bert, torch.device, str], dict[str, float]] | None = None,
        start: Path | None = None,
        processes: Processes | None = None,
        pulse: Pulse | None = None,
        sent: Callable[[Path], None] | None = None,
    ) -> None:
        self.run = run
        self.signals = signals
        self.processes = processes or Processes()
        self.pulse = pulse or Pulse(None, None)
        self.sent = sent
        self.data = data
        self.config = config
        self.state = checkpoint[1] if checkpoint else TrainState()
        self.device = self.processes.device(choose_device(config.device))
        if self.device.type == "cpu":
            keep_freed_memory()
        if config.compile:
            check_compiler(self.device)
        if config.cuda_graphs:
            check_graphs(self.device, self.processes)
        lr_factor(1, 1, config.schedule)  # names an unknown schedule now
        self.vocabulary = read_vocabulary(data)
        if config.init_from is not None:
            start = run / ORIGIN if checkpoint else start
            assert start is not None
        resumed = checkpoint is not None
        if resumed:  # what `auto` came to then
            before = self.state.choices["attention"]
            config = replace(config, model=replace(config.model, attention=before))
        self.objective = build_objective(config, data, self.vocabulary, self.device, start, resumed)
        self.plan = StepPlan.of(config)
        self.lr = peak_lr(config.optimizer, config.init_from is not None)
        part = (self.processes.rank, self.processes.count)
        if config.batch.size % part[1]:
            raise UserError(f"batch.size {config.batch.size} is not a multiple of the number of processes, {part[1]}.")
        self.batches = TrainingBatches(
            data.train, self.vocabulary, config.masking, config.batch.size, config.seed, part
        )
        choices = self.state.choices
        micro = choices.get("micro") or config.batch.micro
        self.eval_pairs = list(
            evaluation_batches(
                data.validation, self.vocabulary, config.eval.sequences, min(EVAL_BATCH, micro or EVAL_BATCH)
            )
        )
        # chosen by their number, so that they are the same whatever the micro-batch, and spread over the whole split
        few = min(DRIFT_SEQUENCES, config.eval.sequences)
        size = min(EVAL_BATCH, micro or EVAL_BATCH)
        self.drift_batches = [batch for _, batch in evaluation_batches(data.validation, self.vocabulary, few, size)]
        self.precision, reason = self.processes.on_first(
            lambda: choose_precision(choices.get("precision", config.precision), self.device)
        )
        self.fingerprint = data_fingerprint(data)
        self.stepper = self._stepper(self.objective, micro)
        self.stepper.advise = self._what_fits
        if checkpoint:
            self.stepper.skipped += self.state.skipped
            load_checkpoint(checkpoint[0], self.objective.model, self.objective.keep_rule, self.stepper.optimizers)
            self.stepper.scaler.load_state_dict(self.state.scaler)
        parameters = sum(p.numel() for p in self.objective.model.parameters())
        why = "as before" if checkpoint else reason
        many = f", {self.processes.count} processes ({config.parallel})" if self.processes.many else ""
        say(
            f"{config.method}: {parameters:,} parameters, {self.device.type}, {self.precision} ({why}), "
            f"{self.objective.model.config.attention} attention{many}."
        )
        if config.compile:
            say("The first step of each kind is compiled, which may take minutes; Ctrl-C waits for its end.")
        self.steps = choices["steps"] if choices else self._decide_steps()
        # 20 evaluations, but not so many that a short run is mostly these
        held_out = sum(len(rows) for rows, _ in self.eval_pairs)
        self.every = {
            "eval": config.eval.every or max(1, self.steps // 20, held_out // config.batch.size),
            "checkpoint": config.checkpoint.every or max(1, self.steps // 10),
            "log": config.log.every or max(1, self.steps // 200),
        }
        if signals is not None:
            self.every["probes"] = config.eval.probes_every or max(1, self.steps // 5)
        self.unigram_loss = data.manifest.unigram_entropy
        self._stop = StopRequest(insist=not self.processes.many)

    def _stepper(self, objective: Objective, micro: int | None) -> Stepper:
        config = self.config
        return Stepper(
            objective,
            lambda model: build_optimizers(model, config.optimizer, self.lr, self.precision),
            self.precision,
            self.device,
            micro,
            config.optimizer.grad_clip,
            config.seed,
            config.compile,
            self.processes,
            config.parallel,
            config.cuda_graphs,
        )

    def _decide_steps(self) -> int:
        schedule = self.config.schedule
        if schedule.minutes is None:
            assert schedule.steps is not None
            return schedule.steps
        if self.processes.many and self.config.parallel == "fsdp":
            raise UserError("schedule.minutes cannot be measured with parallel fsdp: give schedule.steps.")
        say("Measuring the step time, to turn the budget into a number of steps ...")
        scratch = self._stepper(copy.deepcopy(self.objective), self.stepper.micro)
        batch = self.batches.at(1)

        def run_step(kind: StepKind) -> None:
            result = scratch.run(batch, 1, 0.0, kind)
            float(result["grad_norm"])  # type: ignore[arg-type]  # waits for the device

        own = seconds_a_step(run_step, self.plan.shares(), math.inf if self.processes.many else LONGEST)
        seconds = self.processes.on_first(lambda: own)
        steps = min(steps_in(schedule.minutes, seconds), schedule.steps or sys.maxsize)
        self.stepper.micro = scratch.micro
        say(f"{seconds * 1000:,.0f} ms a step: {steps:,} steps in {schedule.minutes:g} min of training.")
        if steps < FEW_STEPS:
            say(
                f"{steps} steps are too few to learn from: give more schedule.minutes, a smaller batch.size or a "
                "smaller model. Where other work keeps the cores busy, wait for it or set OMP_NUM_THREADS=1."
            )
        return steps

    def train(self) -> dict[str, float]:
        """Run to the last step; the last evaluation's figures. Raises Interrupted, with the run saved, on Ctrl-C."""
        config, state = self.config, self.state
        tokens_a_step = config.batch.size * self.data.manifest.seq_len
        log = self._log()
        averages = Averages()
        last_eval: dict[str, float] = {}
        health = Health(self.steps, warmup_steps(config.schedule, self.steps), self.unigram_loss)
        self.objective.train()
        saving = Saver(self.run, config.checkpoint, self.processes, self.sent)
        with self._stop.heard(), saving as saver, progress_bar() as bar:
            task = bar.add_task(config.method, total=self.steps, completed=state.global_step, note="")
            if state.global_step == 0:
                last_eval = self.evaluate()
                log.write({"step": 0, "tokens": 0, "seconds": 0.0, **last_eval, **self.drift()})
                self._start_importance(last_eval["eval_loss"])
            resumed_at = state.global_step
            since, line_seconds, line_tokens = time.perf_counter(), state.seconds, state.tokens
            for step, batch in enumerate(self.batches.stream(state.global_step + 1, self.steps), state.global_step + 1):
                lr = self.lr * lr_factor(step, self.steps, config.schedule)
                result = self.stepper.run(batch, step, lr, self.plan.kind(step, self.steps))
                state.global_step, state.tokens = step, state.tokens + tokens_a_step
                averages.add(result)
                due = {name: step % every == 0 or step == self.steps for name, every in self.every.items()}
                due["checkpoint"] |= self.stepper.halved
                if any(due.values()) or self.device.type == "cpu":
                    self._check_finite(step, result, lr, saver)  # reads the loss, so waits for the device
                state.seconds, since = state.seconds + time.perf_counter() - since, time.perf_counter()
                line: dict[str, Any] = {}
                if due["log"] or due["eval"]:
                    speed = (state.tokens - line_tokens) / max(state.seconds - line_seconds, 1e-9)
                    line = {
                        "step": step,
                        "tokens": state.tokens,
                        "seconds": round(state.seconds, 3),
                        **averages.read(),
                        "lr": lr,
                        **({"skipped": state.skipped} if state.skipped else {}),
                        "tokens_per_second": round(speed, 1),
                    }
                    line_seconds, line_tokens = state.seconds, state.tokens
                    bar.update(task, note=f"loss {line['loss']:.3f}  {speed:,.0f} tokens/s")
                bar.update(task, completed=step)
                self.pulse.beat(step, self.steps)
                state.eval_loss = None
                warnings = [health.spike(step, line["loss"], lr)] if due["log"] else []
                if due["eval"]:
                    self.pulse.beat(step, self.steps, "evaluating")
                    last_eval = self.evaluate()
                    state.eval_loss = last_eval["eval_loss"]
                    line |= last_eval | self.drift()
                    bar.console.print(_eval_sentence(step, last_eval), markup=False)
                    warnings.append(health.plateau(step, last_eval["eval_loss_mask"]))
                    warnings.append(health.masks_dropped(step, self._masks_kept(), config.dropping.keep_ratio))
                if line:
                    log.write(line | self._warn(step, warnings))
                # asked now: evaluating takes long
                stop = self.processes.any(self._stop.asked or saver.failed or log.failed is not None)
                saved = due["checkpoint"] or stop
                if saved:
                    self.save(saver)
                if due.get("probes") and not stop:  # after the checkpoint: nothing of the run hangs on them
                    self.pulse.beat(step, self.steps, "probing")
                    self._ask_signals(step, log)
                    stop = self.processes.any(self._stop.asked)
                if stop and step < self.steps:
                    if not saved:
                        self.save(saver)
                    saver.finish()
                    log.close()
                    self.processes.on_first(log.check)
                    raise Interrupted(f"Stopped at step {step:,} of {self.steps:,}; everything is saved.")
                since = time.perf_counter()
            saver.finish()
            if resumed_at == self.steps:
                last_eval = self.evaluate()
        log.close()
        self.processes.on_first(log.check)
        return last_eval

    def evaluate(self) -> dict[str, float]:
        """Held-out figures of the model as it stands; see `sctd.train.evaluate`."""
        batches = [batch for _, batch in self.eval_pairs]
        # every process evaluates the same, whichever parts of the model it holds
        return self.stepper.spread.whole(
            lambda objective: evaluate(objective, batches, self.vocabulary.mask_id, self.precision, self.device)
        )

    def _log(self) -> RunLog:
        """The record, which the first process writes."""
        if not self.processes.first:
            return RunLog(None, self.state.global_step)
        trackers = Trackers(self.run, self.config.log, asdict(self.config), self.state.global_step)
        return RunLog(self.run, self.state.global_step, trackers)

    def _ask_signals(self, step: int, log: RunLog) -> None:
        model = self._plain_model()
        try:
            if not self.processes.first:
                return
            assert self.signals is not None
            figures = self.signals(model, self.device, self.precision)
        except Exception as error:  # whatever scoring raises, training goes on
            say(f"step {step:,}: eval.probes failed ({first_line(error)}); training goes on.")
            return
        log.write({"step": step, **figures})
        say(f"step {step:,}: " + ", ".join(f"{name.removeprefix('eval_')} {v:.3f}" for name, v in figures.items()))

    def _plain_model(self) -> Bert:
        """The model for passes of its own, with all of its parameters in this process."""
        model = self.objective.model
        if not self.processes.many or self.config.parallel != "fsdp":
            return model
        tensors = gather(model, None, [])["model"]
        plain = Bert(model.config)
        plain.load_state_dict(tensors)
        return plain.to(self.device)

    def drift(self) -> dict[str, dict[str, list[float]]]:
        """{"drift": measure -> a figure a layer}, see `sctd.method.drift`; empty without dropping."""
        if self.objective.keep_rule is None:
            return {}
        measured = self.stepper.spread.whole(
            lambda objective: measure_drift(objective, self.drift_batches, self.precision, self.device)
        )
        return {"drift": measured}

    def save(self, saver: Saver) -> None:
        """Begin to write a checkpoint of the step that was finished last."""
        self.pulse.beat(self.state.global_step, self.steps, "saving")
        self.state.config = asdict(self.config)
        self.state.choices = {
            "steps": self.steps,
            "micro": self.stepper.micro,
            "precision": self.precision,
            "device": self.device.type,
            "attention": self.objective.model.config.attention,
        }
        self.state.data = self.fingerprint
        self.stepper.halved = False
        self.state.scaler = self.stepper.scaler.state_dict()
        rule = self.objective.keep_rule
        self.processes.check_same("The importance table", [] if rule is None else [*rule.state_dict().values()])
        saver.save(self.state, gather(self.objective.model, rule, self.stepper.optimizers))

    def _start_importance(self, loss: float) -> None:
        # A model that already reads starts with losses far below the published 10: an id not yet seen would
        # outrank every id that was. So with init_from all ids start at the loss that the model has.
        rule = self.objective.keep_rule
        if self.config.init_from is not None and isinstance(rule, ImportanceRule):
            rule.importance.values.fill_(loss)

    def _check_finite(self, step: int, result: StepResult, lr: float, saver: Saver) -> None:
        loss, norm = result["loss_total"], result["grad_norm"]
        assert loss is not None
        assert norm is not None
        skipped, in_a_row = int(self.stepper.skipped), int(self.stepper.skipped_in_a_row)
        if skipped > self.state.skipped:
            self.state.skipped = skipped
            say(f"Step {step:,}: a gradient was not finite, so its step was left out ({skipped:,} in all).")
        lowering = self.precision == "fp16" and in_a_row < SKIPPED_IN_A_ROW  # of the loss scale, which has still room
        if math.isfinite(float(loss)) and (lowering or math.isfinite(float(norm))):
            return
        if 0 < in_a_row < SKIPPED_IN_A_ROW:
            return
        saver.finish()
        saved = list_checkpoints(self.run)
        last = f"the last checkpoint is {saved[0].name}" if saved else "there is no checkpoint yet"
        raise not_finite(step, float(loss), float(norm), lr, self.precision, last)

    def _what_fits(self) -> str:
        """What to set where memory ran out, by the count, in words."""
        from sctd.train.step_memory import settings_that_fit

        shape = self.objective.model.config
        kind = max(self.plan.shares(), key=("drop", "dense", "consistency").index)
        words = settings_that_fit(
            self.config,
            kind,
            shape.vocab_size,
            self.data.manifest.seq_len,
            self.device.type,
            self.precision,
            memory_of(self.device) / (self.processes.count if self.device.type == "cpu" else 1),
        )
        return f"{words}, which should fit by the count"

    def _masks_kept(self) -> float:
        return masks_kept(self.objective, self.drift_batches, self.vocabulary.mask_id, self.device)

    def _warn(self, step: int, warnings: list[str | None]) -> dict[str, str]:
        """Say what is wrong; the line's entry for it, if anything is."""
        sentences = [sentence for sentence in warnings if sentence]
        for sentence in sentences:
            say(sentence)
            self.pulse.tell("warning", sentence, step=step)
        return {"warning": " ".join(sentences)} if sentences else {}


def data_fingerprint(data: PreparedData) -> str:
    """SHA-256 of the data folder's manifest, which itself holds the checksums of the shards."""
    return sha256_file(data.path / "manifest.json")


def _eval_sentence(step: int, figures: dict[str, float]) -> str:
    text = f"step {step:,}: held-out loss {figures['eval_loss']:.3f}, at [MASK] {figures['eval_loss_mask']:.3f}"
    if "eval_loss_dropped" in figures:
        text += f"; with dropping {figures['eval_loss_dropped']:.3f}"
    return text
