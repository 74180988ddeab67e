"""Random numbers that are a function of where they are used, and of nothing else.

Counter-based: a hash of (seed, stream, step, sample, position). So a resumed run, another number of processes or
another micro-batch size draws the same masks, and there is no generator's state to keep.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Uint64 = NDArray[np.uint64]

# Names of independent streams of draws.
MASK_ORDER, MASK_KIND, RANDOM_TOKEN, TIE_BREAK, DROPOUT = range(5)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: Uint64) -> Uint64:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), element by element."""
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
        return x ^ (x >> np.uint64(31))


def _absorb(state: Uint64, number: Uint64) -> Uint64:
    return _mix(state ^ _mix(number))


def draw(seed: int, stream: int, step: int, samples: NDArray[np.int64], length: int) -> Uint64:
    """Uniform 64-bit numbers (B, length): one for each of the samples (B,) and each position."""
    state = np.zeros(1, dtype=np.uint64)
    for number in (seed, stream, step):
        state = _absorb(state, np.array([number], dtype=np.int64).view(np.uint64))
    by_sample = _absorb(state, samples.astype(np.int64).view(np.uint64))
    return _absorb(by_sample[:, None], np.arange(length, dtype=np.uint64)[None, :])


def draw_one(seed: int, stream: int, step: int, number: int = 0) -> int:
    """One non-negative number below 2**63, to seed a generator with."""
    return int(draw(seed, stream, step, np.array([number]), 1)[0, 0] >> np.uint64(1))


def to_unit(numbers: Uint64) -> NDArray[np.float64]:
    """Uniform 64-bit numbers as floats in [0, 1)."""
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
