"""A stream of ids to rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctd.tokens.manifest import SpecialIds
from sctd.tokens.packing import pack
from sctd.tokens.shards import ShardWriter, count_ids, entropy

SPECIAL = SpecialIds(cls=2, sep=3, mask=4, pad=0, unk=1)


def rows_of(stream: list[int], seq_len: int, cuts: list[int] | None = None) -> list[list[int]]:
    chunks = np.split(np.array(stream, dtype=np.uint32), sorted(cuts or []))
    return [row for block in pack(chunks, seq_len, SPECIAL) for row in block.tolist()]


def naive(stream: list[int], seq_len: int) -> list[list[int]]:
    stream = stream[:-1]  # the last separator is the row's own
    rows = []
    for start in range(0, len(stream), seq_len - 2):
        row = [2, *stream[start : start + seq_len - 2], 3]
        rows.append(row + [0] * (seq_len - len(row)))
    return rows


def test_rows_are_cut_from_one_stream_and_only_the_last_is_padded() -> None:
    stream = [10, 11, 3, 12, 13, 14, 15, 3, 16, 3]
    assert rows_of(stream, 8) == [[2, 10, 11, 3, 12, 13, 14, 3], [2, 15, 3, 16, 3, 0, 0, 0]]


def test_one_token_makes_one_row() -> None:
    assert rows_of([10, 3], 8) == [[2, 10, 3, 0, 0, 0, 0, 0]]


def test_a_stream_that_fills_its_rows_exactly_has_no_row_of_padding() -> None:
    assert rows_of([*range(10, 16), 3], 8) == [[2, *range(10, 16), 3]]
    assert rows_of([*range(10, 16)], 8)[:1] == [[2, *range(10, 16), 3]]


def test_nothing_makes_no_row() -> None:
    assert rows_of([], 8) == []


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    seq_len=st.integers(8, 20),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_the_rows_do_not_depend_on_where_the_stream_was_cut(lengths: list[int], seq_len: int, cuts: list[int]) -> None:
    stream = [token for n in lengths for token in [*range(10, 10 + n), 3]]
    assert rows_of(stream, seq_len, [cut for cut in cuts if cut < len(stream)]) == naive(stream, seq_len)


def test_shards_are_bounded_and_hold_all_rows_in_order(tmp_path: Path) -> None:
    rows = np.arange(100 * 8).reshape(100, 8)
    writer = ShardWriter(tmp_path, "train", 8, "uint16", shard_bytes=16 * 30)
    for start in range(0, 100, 7):
        writer.add(rows[start : start + 7])
    shards = writer.close()
    assert [shard.sequences for shard in shards] == [30, 30, 30, 10]
    arrays = [np.load(tmp_path / shard.file) for shard in shards]
    assert {array.dtype for array in arrays} == {np.dtype("uint16")}
    np.testing.assert_array_equal(np.concatenate(arrays), rows)


def test_counts_leave_out_the_special_tokens() -> None:
    counts = count_ids(np.array([[2, 5, 5, 7, 1, 3, 0]]), 9, SPECIAL.all())
    assert counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 1, 0]


def test_entropy_is_in_nats() -> None:
    assert entropy(np.array([5, 5, 0, 5, 5])) == pytest.approx(np.log(4))
    assert entropy(np.array([0, 7])) == pytest.approx(0)
    assert entropy(np.zeros(3, dtype=np.int64)) == 0
