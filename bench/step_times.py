"""Step times of dense, drop and sctd, interleaved in one process, and the steps that a budget gives each.

    python bench/step_times.py --data DATA --config cpu-6x256 --minutes 30

Prints one JSON object: medians and ranges over the rounds in milliseconds, paired speed-ups over dense, steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from operator import truediv

import torch

from sctd.batches.loader import TrainingBatches
from sctd.config import PretrainConfig
from sctd.recipe import build_config, load_recipe
from sctd.tokens.prepared import PreparedData, load_prepared
from sctd.train.budget import steps_in
from sctd.train.device import choose_device, choose_precision
from sctd.train.environment import cpu_name
from sctd.train.optimizer import build_optimizers, peak_lr
from sctd.train.setup import build_objective, read_vocabulary
from sctd.train.step import Stepper

WARM_UP_ROUNDS = 2


def stepper(config: PretrainConfig, data: PreparedData) -> Stepper:
    device = choose_device(config.device)
    objective = build_objective(config, data, read_vocabulary(data), device)
    optimizers = build_optimizers(objective.model, config.optimizer, peak_lr(config.optimizer, False))
    precision = choose_precision(config.precision, device)[0]
    return Stepper(
        objective,
        optimizers,
        precision,
        device,
        config.batch.micro,
        config.optimizer.grad_clip,
        config.seed,
        config.compile,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="cpu-6x256")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true", help="as --compile true of sctd pretrain")
    given = parser.parse_args()

    base = build_config(load_recipe(given.config))
    base.compile = base.compile or given.compile
    data = load_prepared(given.data)
    batches = TrainingBatches(data.train, read_vocabulary(data), base.masking, base.batch.size, base.seed)
    dense, drop = (stepper(replace(base, method=method), data) for method in ("dense", "drop"))
    sctd = stepper(replace(base, method="sctd"), data)
    arms = {"dense": (dense, False), "drop": (drop, False), "consistency": (sctd, True)}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(1, WARM_UP_ROUNDS + given.rounds + 1):
        batch = batches.at(number)
        for name, (each, consistent) in arms.items():
            start = time.perf_counter()
            result = each.run(batch, number, 1e-6, consistent)
            float(result["grad_norm"])  # type: ignore[arg-type]  # waits for the device
            if number > WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - start) * 1000)
    interval = base.consistency.interval
    assert interval is not None
    times["sctd"] = [
        ((interval - 1) * plain + both) / interval
        for plain, both in zip(times["drop"], times["consistency"], strict=True)
    ]
    report = {
        "config": given.config,
        "precision": dense.precision,
        "compile": base.compile,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": given.rounds,
        "arms": {
            name: {
                "median_ms": round(statistics.median(values), 1),
                "range_ms": [round(min(values), 1), round(max(values), 1)],
                "speedup_over_dense": round(statistics.median(map(truediv, times["dense"], values)), 3),
                "steps": steps_in(given.minutes, statistics.median(values) / 1000),
            }
            for name, values in times.items()
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
