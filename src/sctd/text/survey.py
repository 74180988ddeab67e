"""The first reading of everything: bad input is met before any work is done, and the totals are known."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from sctd.text.blocks import Block

_HASH_RANGE = 2**64


@dataclass
class Survey:
    """Counts after removal of duplicates; lowest and highest: of the documents' hashes, for the split."""

    documents: int = 0
    bytes: int = 0
    duplicates: int = 0
    lowest: int = _HASH_RANGE
    highest: int = -1

    def add(self, block: Block) -> None:
        """Count a block."""
        self.documents += len(block.documents)
        self.bytes += sum(block.sizes)
        self.duplicates += block.duplicates
        hashes = [split_hash(value) for value in block.digests]
        self.lowest = min([self.lowest, *hashes])
        self.highest = max([self.highest, *hashes])

    def validation_threshold(self, share: float) -> int:
        """Documents whose hash is below this are held out: `share` of them, yet one on each side at least."""
        return min(max(int(share * _HASH_RANGE), self.lowest + 1), self.highest)


def split_hash(digest: bytes) -> int:
    """A document's place in 0 .. 2^64 - 1, by its text alone: no order, seed or worker count moves it."""
    return int.from_bytes(digest[:8], "big")


class Sample:
    """Paragraphs taken evenly over an input of unknown length, at most `limit` bytes of them, by `seed`."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._random = limit, random.Random(seed)
        self._share, self.size = 1.0, 0
        self._kept: list[tuple[float, str]] = []

    def add(self, documents: Iterable[str]) -> None:
        """Offer documents."""
        for document in documents:
            for paragraph in document.split("\n"):
                lot = self._random.random()
                if lot < self._share:
                    self._kept.append((lot, paragraph))
                    self.size += len(paragraph.encode())
            while self.size > self._limit and len(self._kept) > 1:
                self._share /= 2
                self._kept = [(lot, text) for lot, text in self._kept if lot < self._share]
                self.size = sum(len(text.encode()) for _, text in self._kept)

    def paragraphs(self) -> list[str]:
        """What was kept, in the input's order."""
        return [text for _, text in self._kept]
