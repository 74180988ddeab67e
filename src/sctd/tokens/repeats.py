"""How much of a text stands in it more than once, whatever its documents are: boilerplate, mirrored pages, quotes."""

from __future__ import annotations

import numpy as np

WINDOW = 16  # tokens: as good as never the same by chance
SHARE = 64  # one window in so many is looked at, at first
MANY_REPEATS = 0.2  # of the text: then it is said
LIMIT = 2**21  # windows that are held at most, 8 bytes each
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Repeats:
    """Counts windows of WINDOW tokens by a sample that their hash chooses, so that memory stays what it is.

    All occurrences of a passage are in the sample or none is; where the sample grows too large, half of the hashes go.
    """

    def __init__(self, share: int = SHARE, limit: int = LIMIT) -> None:
        self._below = np.uint64(2**64 // share - 1)
        self._limit = limit
        self._hashes = np.zeros(0, dtype=np.uint64)

    def add(self, ids: np.ndarray) -> None:
        """Look at an (n,) stream of token ids."""
        hashes = window_hashes(ids)
        self._hashes = np.concatenate([self._hashes, hashes[hashes <= self._below]])
        while len(self._hashes) > self._limit:
            self._below = np.uint64(int(self._below) // 2)
            self._hashes = self._hashes[self._hashes <= self._below]

    def share(self) -> float:
        """Share of the windows that stood there before, 0 to 1."""
        return 1 - len(np.unique(self._hashes)) / len(self._hashes) if len(self._hashes) else 0.0


def window_hashes(ids: np.ndarray) -> np.ndarray:
    """(n - WINDOW + 1,) uint64, one for each window of an (n,) stream; none where it is shorter."""
    count = len(ids) - WINDOW + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    values = (ids.astype(np.uint64) + np.uint64(1)) * _FACTOR
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(WINDOW):  # a polynomial in the factor, modulo 2**64
        hashes = hashes * _FACTOR + values[place : place + count]
    hashes ^= hashes >> np.uint64(32)  # the low bits decide nothing by themselves yet
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    return hashes
