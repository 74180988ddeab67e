"""How far `sctd plan`'s count of memory is from what processes hold: `python bench/plan_error.py`.

Each method's step runs in a process of its own, as `sctd bench` has it; what a process holds without a model
(libraries, threads) is that of a very small model, and is taken off. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from typing import Any

from sctd.bench.bench import bench
from sctd.console import console
from sctd.method.step_plan import StepKind
from sctd.recipe import build_config
from sctd.train.step_memory import step_memory

METHODS = ("dense", "drop", "sctd")
WORST: dict[str, StepKind] = {"dense": "dense", "drop": "drop", "sctd": "consistency"}
SIX: dict[str, Any] = {"model.num_layers": 6, "model.hidden_size": 256, "model.num_heads": 4}
# name, settings, vocabulary, length, sequences at a time
CASES: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("6 x 256, 128 tokens", SIX, 8192, 128, 32),
    ("6 x 256, 128 tokens", SIX, 8192, 128, 128),
    ("small 4 x 512, 128 tokens", {"model.preset": "small"}, 30522, 128, 32),
    ("mini 4 x 256, 512 tokens", {"model.preset": "mini"}, 8192, 512, 32),
    ("base 12 x 768, 128 tokens", {"model.preset": "base"}, 30522, 128, 16),
]
TINY = {"model.num_layers": 4, "model.hidden_size": 16, "model.num_heads": 2}


def held(settings: dict[str, Any], vocab_size: int, length: int, micro: int) -> dict[str, int]:
    """Peak bytes of each method's process."""
    given = {"batch.size": micro, "batch.micro": micro, "precision": "fp32", "optimizer.name": "adamw"}
    found = bench(
        build_config(settings | given),
        arms=[*METHODS],
        against=["none"],
        rounds=2,
        vocab_size=vocab_size,
        seq_len=length,
    )
    return {method: found["arms"][method]["peak_bytes"] for method in METHODS}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    console().quiet = True
    bare = held(TINY, 100, 16, 2)
    print("| model | sequences at a time | method | counted | held | error |")
    print("|---|---:|---|---:|---:|---:|")
    for name, settings, vocab_size, length, micro in CASES:
        measured = held(settings, vocab_size, length, micro)
        config = build_config(settings | {"schedule.steps": 1, "optimizer.name": "adamw"})
        for method in METHODS:
            count = step_memory(config, WORST[method], vocab_size, length, "cpu", "fp32").peak(micro)
            real = measured[method] - bare[method]
            cells = [name, micro, method, f"{count / 1e6:,.0f} MB", f"{real / 1e6:,.0f} MB", f"{count / real - 1:+.0%}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
