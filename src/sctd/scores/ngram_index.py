"""Which n-grams of some texts, and which whole texts, stand in a split's stream of tokens.

A 64-bit polynomial hash (Karp and Rabin, 1987) of each n-gram of the stream is looked up among those of the texts;
what it finds is then compared token by token, so the counts are exact. Memory is that of the texts and of one piece
of the stream, whatever the stream's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sctd.tokens.prepared import TokenSplit

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]

PIECE_TOKENS = 2**18  # of the stream, looked up at a time: some 10 MB
NOTHING = -1  # stands beyond the stream's end, and is no id


@dataclass(frozen=True)
class Found:
    """What stands in the stream, of m texts.

    Args:
        grams: (m,) number of n-grams of the text.
        grams_found: (m,) how many of them stand in the stream.
        whole: (m,) whether the whole text stands in it.
    """

    grams: Ints
    grams_found: Ints
    whole: Flags


def search(
    texts: Sequence[Ints],
    split: TokenSplit,
    vocab_size: int,
    n: int,
    shortest: int,
    advance: Callable[[int], None] = lambda tokens: None,
) -> Found:
    """Look up texts in the stream that a split's rows were cut from.

    Args:
        texts: ids of each, (L,) int64; the id `vocab_size` matches nothing.
        split: rows [CLS] t ... t [SEP]. A [SEP] among the t ends a document: a text without it matches within one.
        vocab_size: ids of the stream are 0 .. vocab_size - 1.
        n: length of the n-grams.
        shortest: texts of fewer than n tokens are looked up too, whole, if they have so many tokens at least.
        advance: hears of every so many tokens of the stream that were looked up.
    """
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *texts])
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    # n-grams of the texts that have any; a shorter text is one gram of its own length
    chosen = {int(k): lengths == k for k in np.unique(lengths) if shortest <= k < n}
    if (lengths >= n).any():
        chosen[n] = lengths >= n
    sought = {k: Sought(k, np.flatnonzero(of), starts, lengths) for k, of in chosen.items()}
    values, base, lookups = _lookups(flat, sought, vocab_size)

    longest_gram = max(lookups, default=1)
    for size, piece in pieces(split, ahead=int(lengths.max(initial=1)) - 1):
        for k, hashes in rolling(values[piece[: size + longest_gram - 1]], base, longest_gram):
            if k in lookups:
                lookups[k].look_up(hashes[:size], piece)
        advance(size)

    found = Found(np.maximum(lengths - n + 1, 0), np.zeros_like(lengths), np.zeros(len(texts), dtype=np.bool_))
    for k, lookup in lookups.items():
        found.whole[lookup.sought.texts] = lookup.whole
        if k == n:
            found.grams_found[lookup.sought.texts] = np.add.reduceat(
                lookup.found[lookup.gram], lookup.sought.first, dtype=np.int64
            )
    return found


class Sought:
    """All grams of one length of some texts.

    Args:
        length: tokens of a gram.
        texts: (k,) which texts, each of `length` tokens or more.
        starts, lengths: of all texts, where they stand one after the other.
    """

    def __init__(self, length: int, texts: Ints, starts: Ints, lengths: Ints) -> None:
        self.length, self.texts = length, texts
        self.starts, self.lengths = starts[texts], lengths[texts]
        grams = self.lengths - length + 1
        self.first = np.cumsum(grams) - grams  # (k,) where in `places` a text's own begin
        self.places = np.repeat(self.starts - self.first, grams) + np.arange(grams.sum())  # where each gram stands


class Lookup:
    """Finds grams in pieces of the stream, and the texts that begin with them.

    Args:
        sought: the grams.
        flat: ids of all texts, one after the other.
        hashes: (len(flat) - length + 1,) hash of the gram at each of its places.
    """

    def __init__(self, sought: Sought, flat: Ints, hashes: Hashes) -> None:
        self.sought, self.flat = sought, flat
        # `gram` says which of the different grams each one is
        self.hashes, place, self.gram = np.unique(hashes[sought.places], return_index=True, return_inverse=True)
        self.places = sought.places[place]
        self.found = np.zeros(len(self.hashes), dtype=np.bool_)
        self.whole = np.zeros(len(sought.texts), dtype=np.bool_)
        self.opening = self.gram[sought.first]  # (k,) gram that a text begins with
        self.by_opening = np.argsort(self.opening, kind="stable")
        self.waiting = np.bincount(self.opening, minlength=len(self.hashes))  # texts not found yet, by their opening
        self.group = np.concatenate([[0], np.cumsum(self.waiting)])  # where in `by_opening` a gram's texts begin
        # most grams of the stream are told apart from all of these by the first bits of the hash
        bits = min(len(self.hashes).bit_length() + 4, 28)
        self.shift = np.uint64(64 - bits)
        self.near = np.zeros(1 << bits, dtype=np.bool_)
        self.near[self.hashes >> self.shift] = True

    def tells_apart(self) -> bool:
        """Whether different grams have different hashes."""
        mine, other = self.sought.places, self.places[self.gram]
        return all(np.array_equal(self.flat[mine + i], self.flat[other + i]) for i in range(self.sought.length))

    def look_up(self, hashes: Hashes, piece: Ints) -> None:
        """Mark what stands in a piece of the stream, of which `hashes` (m,) has those of the grams at 0 .. m-1."""
        at = np.flatnonzero(self.near[(hashes >> self.shift).view(np.int64)])
        gram = np.searchsorted(self.hashes[:-1], hashes[at])  # the last one takes what is above all
        news = (self.hashes[gram] == hashes[at]) & (~self.found[gram] | (self.waiting[gram] > 0))
        at, gram = at[news], gram[news]
        for i in range(self.sought.length):
            same = piece[at + i] == self.flat[self.places[gram] + i]
            at, gram = at[same], gram[same]
        self.found[gram] = True
        at, gram = at[self.waiting[gram] > 0], gram[self.waiting[gram] > 0]
        first, end = self.group[gram], self.group[gram + 1]
        for number in range(int((end - first).max(initial=0))):
            there = first + number < end
            self._compare(piece, at[there], self.by_opening[first[there] + number])
        if len(gram):
            self.waiting = np.bincount(self.opening[~self.whole], minlength=len(self.hashes))

    def _compare(self, piece: Ints, at: Ints, text: Ints) -> None:
        """Mark the texts (c,), whose first grams stand at `at` (c,), that go on as the piece does."""
        lengths, starts = self.sought.lengths, self.sought.starts
        at, text = at[~self.whole[text]], text[~self.whole[text]]
        size = self.sought.length
        while len(text):
            self.whole[text[lengths[text] == size]] = True
            at, text = at[lengths[text] > size], text[lengths[text] > size]
            same = piece[at + size] == self.flat[starts[text] + size]
            at, text = at[same], text[same]
            size += 1


def _lookups(flat: Ints, sought: dict[int, Sought], vocab_size: int) -> tuple[Hashes, np.uint64, dict[int, Lookup]]:
    """Values of ids, base and, by length, lookups, from the first seed whose hashes tell all grams of the texts apart.

    With it, what a hash finds can be but one gram, and comparing with that one decides.
    """
    seed = 0
    while True:
        values, base = hash_values(seed, vocab_size)
        hashes = rolling(values[flat], base, max(sought, default=0))
        lookups = {k: Lookup(sought[k], flat, of_k) for k, of_k in hashes if k in sought}
        if all(lookup.tells_apart() for lookup in lookups.values()):
            return values, base, lookups
        seed += 1


def hash_values(seed: int, vocab_size: int) -> tuple[Hashes, np.uint64]:
    """A random value for each id 0 .. vocab_size, and a random odd base: two 64-bit parts of a polynomial hash."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 2**64, size=vocab_size + 1, dtype=np.uint64)
    return values, random.integers(0, 2**64, dtype=np.uint64) | np.uint64(1)


def rolling(values: Hashes, base: np.uint64, longest: int) -> Iterator[tuple[int, Hashes]]:
    """(k, hashes (m - k + 1,)) of the k-grams of m values, for k = 1 .. longest: sum of v[i] base^(k-1-i), mod 2^64."""
    hashes = values
    for k in range(1, longest + 1):
        if k > 1:
            hashes = hashes[:-1] * base + values[k - 1 :]
        yield k, hashes


def pieces(split: TokenSplit, ahead: int) -> Iterator[tuple[int, Ints]]:
    """The stream of a split's rows, joined again across their ends, in pieces: (m, ids (m + ahead,)).

    `ahead` ids of the next piece follow the m of each, NOTHING after the stream's end.
    """
    inner = split.seq_len - 2
    step = max(1, max(PIECE_TOKENS, ahead) // inner)
    for first in range(0, len(split), step):
        end = min(first + step, len(split))
        seen = min(end + -(-ahead // inner), len(split))
        ids = split.rows(np.arange(first, seen))[:, 1:-1].ravel()
        size = (end - first) * inner
        beyond = np.full(max(0, size + ahead - len(ids)), NOTHING)
        yield size, np.concatenate([ids, beyond])[: size + ahead]
