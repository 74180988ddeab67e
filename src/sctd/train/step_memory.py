"""What a training step holds in memory: the real step, run on tensors without data, its storages added up.

Counted, not estimated by formulas: whatever the model, the method, the kernels or autograd come to keep is in it. What
is not: the libraries' own memory, the allocator's fragments, and what `compile` saves by fusing.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sctd.config import Method, PretrainConfig, resolve_shape
from sctd.method.step_plan import StepKind

if TYPE_CHECKING:
    from sctd.method.objectives import Objective


MANY = 256  # sequences; from there on the peak grows by the same for each more
USABLE = 0.9  # of a device's memory: the rest is the libraries' own, and fragments


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step in one process.

    Args:
        parameters: P, how many there are.
        states: of parameters, gradients and optimizer: what stays whatever the micro-batch.
        fixed: that a micro-batch adds to `states` whatever its size, where it is large.
        a_sequence: that each sequence of a large micro-batch adds.
        least: that any step adds: of one sequence, whose gradients stand twice for a moment, or the optimizer.
    """

    parameters: int
    states: int
    fixed: float
    a_sequence: float
    least: int

    def peak(self, micro: int, states: float | None = None) -> float:
        """The most that a step with so many sequences at a time holds; `states` in place of all, where spread."""
        passes = self.fixed + self.a_sequence * micro
        return (self.states if states is None else states) + max(passes, self.least)

    def largest_micro(self, room: float, states: float | None = None) -> int:
        """How many sequences at a time fit into so many bytes; 0 where not even one does."""
        left = room - (self.states if states is None else states)
        return max(0, int((left - self.fixed) // self.a_sequence)) if left >= self.least else 0


def step_memory(
    config: PretrainConfig, kind: StepKind, vocab_size: int, length: int, device: str, precision: str
) -> StepMemory:
    """Count a step of this kind.

    Args:
        config: every setting.
        kind: dense, drop or consistency.
        vocab_size: V.
        length: S, tokens a sequence.
        device: `cuda` or `cpu`: which attention kernel is meant.
        precision: fp32, bf16 or fp16.
    """
    parameters, states, one, optimizing = _run(config, kind, vocab_size, length, device, precision, 1)
    low, high = (_run(config, kind, vocab_size, length, device, precision, n * MANY)[2] for n in (1, 2))
    a_sequence = (high - low) / MANY
    return StepMemory(parameters, states, low - MANY * a_sequence - states, a_sequence, max(one, optimizing) - states)


def settings_that_fit(
    config: PretrainConfig, kind: StepKind, vocab_size: int, length: int, device: str, precision: str, room: float
) -> str:
    """What to set where memory ran out, as the end of a sentence: by the count, for so many bytes on one device.

    Args:
        config: the run's settings.
        kind: of the step that needs most.
        vocab_size: V.
        length: S.
        device: `cuda` or `cpu`.
        precision: fp32, bf16 or fp16.
        room: bytes that the device has.
    """
    ways = {
        "batch.micro {}": config,
        "model.gradient_checkpointing true and batch.micro {}": replace(
            config, model=replace(config.model, gradient_checkpointing=True)
        ),
    }
    for words, settings in ways.items():
        fits = step_memory(settings, kind, vocab_size, length, device, precision).largest_micro(USABLE * room)
        if fits:
            return words.format(min(fits, config.batch.size))
    return "a smaller model, or several devices with parallel fsdp"


class _Meter:
    """Bytes of the storages that live now, and the most that lived at once."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def see(self, tensor: Any) -> None:
        """Count a tensor's storage, until nothing refers to it any more."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def _run(
    config: PretrainConfig, kind: StepKind, vocab_size: int, length: int, device: str, precision: str, micro: int
) -> tuple[int, int, int, int]:
    """(parameters, bytes of states, peak of the passes, peak of the optimizer) of so many sequences at a time."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from sctd.method.objectives import Totals
    from sctd.train.optimizer import build_optimizers

    meter = _Meter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    meter.see(leaf)
            return result

    with FakeTensorMode(), Counting():
        objective = _objective(config, kind, vocab_size, length, device)
        optimizers = build_optimizers(objective.model, config.optimizer, 1e-3, precision)
        batch = _batch(config, micro, length)
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

        def passes() -> None:
            with torch.autocast("cpu", dtype=low, enabled=low is not None):
                total = objective(batch, Totals(batch.predictions, micro), kind).total
            total.backward()

        def optimize() -> None:
            for optimizer in optimizers:
                optimizer.step()

        passes()
        optimize()
        states = meter.peak = meter.now  # parameters, gradients, optimizer
        passes()  # once more, with all of these at hand
        in_passes, meter.peak = meter.peak, meter.now
        optimize()
    return sum(p.numel() for p in objective.model.parameters()), states, in_passes, meter.peak


def _objective(config: PretrainConfig, kind: StepKind, vocab_size: int, length: int, device: str) -> Objective:
    import torch

    from sctd.method.objectives import Objective
    from sctd.method.selection import token_tiers
    from sctd.model.attention import choose_attention
    from sctd.model.bert import Bert, BertConfig

    layers, hidden, heads, intermediate = resolve_shape(config.model)
    model = Bert(
        BertConfig(
            vocab_size=vocab_size,
            num_layers=layers,
            hidden_size=hidden,
            num_heads=heads,
            intermediate_size=intermediate,
            max_position_embeddings=config.model.max_position_embeddings or length,
            dropout=config.model.dropout,
            attention_dropout=config.model.attention_dropout,
            attention=choose_attention(config.model.attention, device, length),
            gradient_checkpointing=config.model.gradient_checkpointing,
        )
    )
    tiers = token_tiers(vocab_size, cls_id=0, pad_id=1, pinned_ids=[2])
    method: Method = "dense" if kind == "dense" else "sctd"
    unigram = torch.zeros(vocab_size, dtype=torch.int64)
    return Objective(model, method, config.dropping, config.consistency, tiers, unigram)


def _batch(config: PretrainConfig, micro: int, length: int) -> Any:
    import torch

    from sctd.batches.batch import Batch

    rows, predictions = (micro, length), max(1, int(config.masking.mlm_probability * length))
    read = (micro, predictions)
    return Batch(
        input_ids=torch.zeros(rows, dtype=torch.int64),
        positions=torch.zeros(read, dtype=torch.int64),
        labels=torch.zeros(read, dtype=torch.int64),
        weights=torch.ones(read),
        tie_break=torch.zeros(rows, dtype=torch.int64),
        attention_mask=None,
        predictions=micro * predictions,
    )
