"""Documents in blocks of a few megabytes, without duplicates: the unit of parallel work and of continuing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sctd.text.documents import read_documents
from sctd.text.duplicates import SeenDigests, digest
from sctd.text.options import ReadOptions
from sctd.text.sources import Source

BLOCK_BYTES = 4 * 2**20


@dataclass
class Block:
    """Documents that follow each other in the input, their bytes of UTF-8, their digests (duplicates.py)."""

    number: int
    documents: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    duplicates: int = 0


def read_blocks(
    sources: list[Source],
    options: ReadOptions,
    advance: Callable[[int], None],
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """All sources as numbered blocks; of equal documents the first stays. The same input, the same blocks.

    A block ends with the document that brings its text to `block_bytes`: it is at most one document longer.
    """
    seen = SeenDigests()
    block = Block(0)
    size = 0
    for source in sources:
        for text in read_documents(source, options, advance):
            data = text.encode()
            block.documents.append(text)
            block.digests.append(digest(data))
            block.sizes.append(len(data))
            size += len(data)
            if size >= block_bytes:
                yield _without_duplicates(block, seen)
                block, size = Block(block.number + 1), 0
    if block.documents:
        yield _without_duplicates(block, seen)


def _without_duplicates(block: Block, seen: SeenDigests) -> Block:
    new = seen.first_seen(block.digests)
    return Block(
        number=block.number,
        documents=[text for text, keep in zip(block.documents, new, strict=True) if keep],
        digests=[value for value, keep in zip(block.digests, new, strict=True) if keep],
        sizes=[size for size, keep in zip(block.sizes, new, strict=True) if keep],
        duplicates=int((~new).sum()),
    )
