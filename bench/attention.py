"""Explicit and fused attention on a CPU, forward and backward, in turn: which one a length should get.

    python bench/attention.py

Prints, for numbers of heads and lengths, both times in milliseconds and how many times as fast the explicit one is.
"""

from __future__ import annotations

import statistics
import time

import torch

from sctd.model.attention import ATTENTION
from sctd.train.memory import keep_freed_memory

TOKENS, SIZE = 4096, 64  # tokens at a time, width of a head
WARM_UP, ROUNDS = 2, 7


def seconds(kernel: str, heads: int, length: int) -> float:
    """A forward and backward pass in bf16."""
    shape = (TOKENS // length, length, heads, SIZE)
    query, key, value = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    began = time.perf_counter()
    attended = ATTENTION[kernel](query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), None, 0.0)
    attended.transpose(1, 2).reshape(TOKENS, -1).sum().backward()
    return time.perf_counter() - began


def main() -> None:
    keep_freed_memory()
    for heads in (4, 12):
        for length in (128, 256, 512, 1024):
            pairs = [(seconds("eager", heads, length), seconds("sdpa", heads, length)) for _ in range(WARM_UP + ROUNDS)]
            eager, fused = ([1000 * pair[i] for pair in pairs[WARM_UP:]] for i in (0, 1))
            ratio = statistics.median(two / one for one, two in zip(eager, fused, strict=True))
            print(
                f"{heads} heads, {length} tokens: eager {statistics.median(eager):.1f} ms, "
                f"sdpa {statistics.median(fused):.1f} ms, {ratio:.2f} times as fast"
            )


if __name__ == "__main__":
    main()
