"""Which sequences a step reads: every epoch a new permutation, a function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class BatchOrder:
    """Sample numbers of each global batch.

    Args:
        sequences: N, number of training sequences.
        batch_size: sequences a step; may exceed N (a small corpus is then read more than once a step).
        seed: of the permutations.
    """

    def __init__(self, sequences: int, batch_size: int, seed: int) -> None:
        self.sequences = sequences
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def at(self, step: int) -> NDArray[np.int64]:
        """Sample numbers (batch_size,) of step 1, 2, ..."""
        first = (step - 1) * self.batch_size
        places = np.arange(first, first + self.batch_size)
        samples = np.empty(self.batch_size, dtype=np.int64)
        epochs = places // self.sequences
        for epoch in np.unique(epochs):
            here = epochs == epoch
            samples[here] = self._permuted(int(epoch))[places[here] % self.sequences]
        return samples

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng((self.seed, epoch)).permutation(self.sequences)
            self._epoch = epoch
        return self._permutation
