"""The stream of training batches, each made in a thread while the step before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sctd.batches.batch import Batch, make_batch
from sctd.batches.masking import Vocabulary
from sctd.batches.order import BatchOrder
from sctd.config import MaskingConfig
from sctd.tokens.prepared import TokenSplit

# Evaluation masks never change: the same in every run on the same data, whatever its settings.
EVAL_SEED = 20230517
EVAL_MASKING = MaskingConfig()


class TrainingBatches:
    """Global batches by step number, or a process's part of each; resuming at a step costs nothing.

    Args:
        split: sequences to read.
        vocabulary: of their tokenizer.
        masking: how they are masked.
        batch_size: sequences of a global batch.
        seed: of order and masks.
        part: (number, count): which of so many equal parts of each batch; every part masks as the whole does.
    """

    def __init__(
        self,
        split: TokenSplit,
        vocabulary: Vocabulary,
        masking: MaskingConfig,
        batch_size: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        number, count = part
        assert batch_size % count == 0
        own = batch_size // count
        self.own = slice(number * own, (number + 1) * own)
        self.split = split
        self.vocabulary = vocabulary
        self.masking = masking
        self.seed = seed
        self.order = BatchOrder(len(split), batch_size, seed)

    def at(self, step: int) -> Batch:
        """The batch of step 1, 2, ..., a function of (seed, step) and the data."""
        samples = self.order.at(step)[self.own]
        return make_batch(
            self.split.rows(samples),
            samples,
            seed=self.seed,
            step=step,
            masking=self.masking,
            vocabulary=self.vocabulary,
        )

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of the steps first .. last, the next one made while the caller works on the one before."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as maker:
            ahead = maker.submit(self.at, first)
            for step in range(first, last + 1):
                batch = ahead.result()
                if step < last:
                    ahead = maker.submit(self.at, step + 1)
                yield batch


def evaluation_batches(
    split: TokenSplit, vocabulary: Vocabulary, sequences: int, batch_size: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """(original rows (B, S), batch) pairs of held-out sequences: evenly spaced over the split, always masked alike."""
    count = min(sequences, len(split))
    samples = np.linspace(0, len(split) - 1, count).astype(np.int64)
    for first in range(0, count, batch_size):
        chosen = samples[first : first + batch_size]
        rows = split.rows(chosen)
        yield (
            rows,
            make_batch(rows, chosen, seed=EVAL_SEED, step=0, masking=EVAL_MASKING, vocabulary=vocabulary),
        )
