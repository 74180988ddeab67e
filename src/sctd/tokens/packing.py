"""One stream of ids, in chunks, to rows of S: [CLS] and S - 2 ids of the stream and [SEP]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sctd.tokens.manifest import SpecialIds

if TYPE_CHECKING:
    import numpy as np


def pack(stream: Iterable[np.ndarray], seq_len: int, special: SpecialIds) -> Iterator[np.ndarray]:
    """(n, S) int64 blocks of rows from chunks (m,) of a stream in which [SEP] ends each document.

    Where the chunks were cut does not matter. Only the last row may be short: its [SEP] follows its last id and
    [PAD] fills the rest.
    """
    import numpy as np

    inner = seq_len - 2
    carry = np.zeros(0, dtype=np.int64)
    for chunk in stream:
        ids = np.concatenate([carry, chunk.astype(np.int64)])
        # one id at least stays behind: only at the end is it known to be the stream's last [SEP]
        full = max(0, len(ids) - 1) // inner
        if full:
            rows = np.empty((full, seq_len), dtype=np.int64)
            rows[:, 0], rows[:, -1] = special.cls, special.sep
            rows[:, 1:-1] = ids[: full * inner].reshape(full, inner)
            yield rows
        carry = ids[full * inner :]
    if len(carry) and carry[-1] == special.sep:  # the row's own [SEP] takes its place
        carry = carry[:-1]
    if len(carry):
        row = np.full((1, seq_len), special.pad, dtype=np.int64)
        row[0, 0] = special.cls
        row[0, 1 : 1 + len(carry)] = carry
        row[0, 1 + len(carry)] = special.sep
        yield row
