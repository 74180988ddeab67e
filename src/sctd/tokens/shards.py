"""Packed rows to .npy shards of bounded size, and the unigram counts of what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sctd.files import disk_errors, flush_to_disk, sha256_file
from sctd.tokens.manifest import Shard

if TYPE_CHECKING:
    import numpy as np

SHARD_BYTES = 64 * 2**20


class ShardWriter:
    """Writes (n, S) blocks of rows into `folder/{split}-00000.npy`, ... of at most `shard_bytes` each."""

    def __init__(self, folder: Path, split: str, seq_len: int, dtype: str, shard_bytes: int = SHARD_BYTES) -> None:
        import numpy as np

        self.folder, self.split, self.seq_len, self.dtype = folder, split, seq_len, np.dtype(dtype)
        self.rows_a_shard = max(1, shard_bytes // (seq_len * self.dtype.itemsize))
        self.shards: list[Shard] = []
        self._rows = np.empty((self.rows_a_shard, seq_len), dtype=self.dtype)  # memory is taken as it is filled
        self._filled = 0

    def add(self, rows: np.ndarray) -> None:
        """Take (n, S) rows of any integer type; full shards go to disk at once."""
        while len(rows):
            taken = rows[: self.rows_a_shard - self._filled]
            self._rows[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == self.rows_a_shard:
                self._flush()

    def close(self) -> list[Shard]:
        """Write what is left; returns all shards in order."""
        if self._filled:
            self._flush()
        return self.shards

    def _flush(self) -> None:
        import numpy as np

        path = self.folder / f"{self.split}-{len(self.shards):05d}.npy"
        with disk_errors(self.folder):
            np.save(path, self._rows[: self._filled])
            flush_to_disk(path)
        self.shards.append(Shard(path.name, self._filled, sha256_file(path)))
        self._filled = 0


def count_ids(ids: np.ndarray, vocab_size: int, excluded: list[int]) -> np.ndarray:
    """(V,) int64: how often each id occurs in `ids`, 0 for the excluded ones."""
    import numpy as np

    counts = np.bincount(ids.ravel(), minlength=vocab_size).astype(np.int64)
    counts[excluded] = 0
    return counts


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of the distribution that (V,) counts stand for: the loss of the best constant guess."""
    import numpy as np

    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return math.log(total) - float((counts * np.log(counts)).sum() / total) if total else 0.0
