"""Our methods, some steps at a time, and the bare matrix product that they are held against."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from sctd.batches.loader import TrainingBatches
from sctd.bench.arms import LR, MANY_STEPS
from sctd.bench.worker import Commands, Job
from sctd.config import PretrainConfig, resolve_shape
from sctd.hf.load import model_folder
from sctd.tokens.prepared import load_prepared
from sctd.train.device import AUTOCAST_TYPES, choose_device, choose_precision, synchronise
from sctd.train.graphs import check_graphs
from sctd.train.memory import keep_freed_memory
from sctd.train.optimizer import build_optimizers, peak_lr
from sctd.train.processes import Processes
from sctd.train.setup import build_objective, read_vocabulary
from sctd.train.step import Stepper


def ours(job: Job, config: PretrainConfig, commands: Commands) -> None:
    """A method of ours: the trainer's own batches and step."""
    data = load_prepared(Path(job.data))
    device = choose_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    if config.cuda_graphs:
        check_graphs(device, Processes())
    precision = choose_precision(config.precision, device)[0]
    vocabulary = read_vocabulary(data)
    start = None if config.init_from is None else model_folder(config.init_from)
    objective = build_objective(config, data, vocabulary, device, start).train()
    optimizers = build_optimizers(objective.model, config.optimizer, peak_lr(config.optimizer, False), precision)
    stepper = Stepper(
        objective,
        optimizers,
        precision,
        device,
        config.batch.micro,
        config.optimizer.grad_clip,
        config.seed,
        config.compile,
        graphs=config.cuda_graphs,
    )
    parts: dict[str, float] = {}
    since = 0.0

    def mark(name: str) -> None:
        nonlocal since
        synchronise(device)
        now = time.perf_counter()
        parts[name] = parts.get(name, 0.0) + now - since
        since = now

    stream = TrainingBatches(data.train, vocabulary, config.masking, config.batch.size, config.seed)
    batches = enumerate(stream.stream(1, MANY_STEPS), start=1)
    while (command := commands.next_step()) is not None:
        parts.clear()
        stepper.mark = mark if command["in_parts"] else lambda name: None
        began = since = time.perf_counter()
        for _ in range(command["steps"]):
            number, batch = next(batches)
            stepper.mark("data")
            stepper.run(batch, number, LR, command["kind"])
        synchronise(device)
        commands.answer(seconds=(time.perf_counter() - began) / command["steps"], parts=parts)


class MatmulRate:
    """The bare matrix product at the sizes of a feed-forward layer, and at one large size.

    Args:
        rows: of the feed-forward products.
        hidden_size: H.
        intermediate_size: width of the feed-forward layer.
        device: where.
        precision: fp32, bf16 or fp16.
    """

    def __init__(
        self, rows: int, hidden_size: int, intermediate_size: int, device: torch.device, precision: str
    ) -> None:
        self.device = device
        dtype = AUTOCAST_TYPES.get(precision, torch.float32)
        large = 2048 if device.type == "cpu" else 8192
        self.sizes = [(rows, hidden_size, intermediate_size), (rows, intermediate_size, hidden_size), (large,) * 3]
        self.pairs = [
            (torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype))
            for m, k, n in self.sizes
        ]

    def seconds(self) -> float:
        """Of a multiply-add, at the best of the sizes, measured now."""
        found = []
        for (m, k, n), (left, right) in zip(self.sizes, self.pairs, strict=True):
            for _ in range(3):
                began = time.perf_counter()
                left @ right
                synchronise(self.device)
                found.append((time.perf_counter() - began) / (m * k * n))
        return min(found)


def matmul(job: Job, config: PretrainConfig, commands: Commands) -> None:
    """The bare matrix product; `seconds` is the time of a multiply-add, at the best of a few sizes."""
    data = load_prepared(Path(job.data))
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)[0]
    _, hidden, _, intermediate = resolve_shape(config.model)
    rate = MatmulRate(config.batch.size * data.manifest.seq_len, hidden, intermediate, device, precision)
    while commands.next_step() is not None:
        commands.answer(seconds=rate.seconds(), parts={})
