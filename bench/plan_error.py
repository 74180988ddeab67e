"""What `sctd plan` predicts beside what real steps take on this processor: memory and speed, a table in Markdown.

    python bench/plan_error.py --rounds 5

Every case has a process for each method and one for the bare matrix product, which take turns, so that speed is held
against the product's rate in the same rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from sctd.bench.arms import MATMUL, METHODS
from sctd.bench.made_up import write_made_up
from sctd.bench.rounds import Worker
from sctd.bench.worker import Job
from sctd.config import PretrainConfig
from sctd.method.cost import Shape
from sctd.method.step_plan import StepPlan
from sctd.plan.devices import ON_CPU
from sctd.plan.memory import Setting, run_memory, taken
from sctd.recipe import build_config, load_recipe
from sctd.train.device import choose_precision
from sctd.train.environment import cpu_name

MIB = 2**20
WARM_UP = 1
MICROS = 2  # micro-batches of a step
# recipe, vocabulary, tokens a sequence, sequences at a time
CASES = [
    ("cpu-6x256", 8192, 128, 16),
    ("cpu-6x256", 8192, 128, 4),
    ("small", 30522, 128, 16),
    ("small", 30522, 128, 4),
    ("mini", 8192, 512, 4),
    ("mini", 8192, 512, 1),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    precision = choose_precision(given.precision, torch.device("cpu"))[0]
    print(f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision}\n")
    print("| case | method | MiB planned | measured | error | tokens/s planned | measured | error |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for recipe, vocab_size, length, micro in CASES:
        for found in case(recipe, vocab_size, length, micro, given.rounds, precision):
            print(found, flush=True)


def case(recipe: str, vocab_size: int, length: int, micro: int, rounds: int, precision: str) -> list[str]:
    """The table's lines of one shape and micro-batch."""
    size = MICROS * micro
    settings = load_recipe(recipe) | {"batch.size": size, "batch.micro": micro, "precision": precision}
    configs = {name: build_config(settings | {"method": name, "optimizer.name": "adamw"}) for name in METHODS}
    kinds = {name: tuple(StepPlan.of(config).shares()) for name, config in configs.items()} | {MATMUL: (MATMUL,)}
    with tempfile.TemporaryDirectory(prefix="sctd-plan-") as scratch, ExitStack() as ends:
        data = Path(scratch) / "data"
        write_made_up(data, vocab_size, length, 512)
        workers = []
        for name, of in kinds.items():
            settings = asdict(configs.get(name, configs["dense"]))
            workers.append(Worker(Job(name, str(data), settings, f"{scratch}/{name}", of)))
            ends.callback(workers[-1].close)
        for worker in workers:
            for kind in worker.kinds * WARM_UP:
                worker.step(kind)
            worker.ask(do="forget")
        times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in of} for name, of in kinds.items()}
        for _ in range(rounds):
            for worker in workers:
                for kind in worker.kinds:
                    times[worker.arm][kind].append(worker.step(kind)["seconds"])
        memory = {worker.arm: worker.ask(do="memory")["bytes"] for worker in workers}
    about = f"{recipe}, {micro} x {length}, twice"
    return [line(about, name, configs[name], vocab_size, length, times, memory) for name in METHODS]


def line(
    about: str,
    name: str,
    config: PretrainConfig,
    vocab_size: int,
    length: int,
    times: dict[str, dict[str, list[float]]],
    measured: dict[str, int],
) -> str:
    """One method's."""
    assert config.batch.micro is not None
    setting = Setting(vocab_size, length, config.precision, "cpu")
    bytes_ = taken(run_memory(config, config.batch.micro, config.batch.size, setting), setting)
    plan = StepPlan.of(config)
    operations = config.batch.size * Shape.of(config, vocab_size, length).mean_training(plan)
    tokens = config.batch.size * length
    pairs = []  # of each round: planned by that round's rate of the bare product, and measured
    for number, bare in enumerate(times[MATMUL][MATMUL]):
        seconds = sum(share * times[name][kind][number] for kind, share in plan.shares().items())
        pairs.append((tokens / (operations * bare / ON_CPU[name]), tokens / seconds))
    planned, found = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    error = statistics.median(one / other for one, other in pairs) - 1
    return (
        f"| {about} | {name} | {bytes_ / MIB:,.0f} | {measured[name] / MIB:,.0f} | {bytes_ / measured[name] - 1:+.0%} "
        f"| {planned:,.0f} | {found:,.0f} | {error:+.0%} |"
    )


if __name__ == "__main__":
    main()
