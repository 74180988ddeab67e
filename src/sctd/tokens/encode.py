"""Blocks of documents to streams of ids, in threads.

Threads, not processes: the tokenizer is Rust and lets go of Python's lock while it works, so threads are as fast,
share one tokenizer, need no `if __name__ == "__main__"` in a user's script, and leave nothing behind when killed.
"""

from __future__ import annotations

import secrets
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError, first_line
from sctd.files import ASIDE, disk_errors, flush_to_disk
from sctd.text.blocks import Block
from sctd.text.duplicates import digest
from sctd.text.survey import split_hash

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

# The library's result takes some 100 bytes a token until it is read, so it is asked for little at a time.
BATCH_CHARS = 64 * 1024
PIECE_CHARS = 16 * 1024


@dataclass(frozen=True)
class BlockEncoder:
    """Encodes a block into `folder/block-NNNNNN.npz`: per split its stream (uint32), documents and bytes, and what
    they were made of: the documents' digests, the tokenizer (`tokenizer_sha256`) and the split, as one digest.
    """

    tokenizer: Tokenizer
    tokenizer_sha256: str
    sep: int
    threshold: int
    folder: Path

    def path(self, number: int) -> Path:
        """Where block `number` lies once it is finished."""
        return self.folder / f"block-{number:06d}.npz"

    def made_of(self, block: Block) -> bytes:
        """The digest, (16,) bytes, that a block's file holds."""
        return digest(b"".join([f"{self.tokenizer_sha256} {self.threshold} ".encode(), *block.digests]))

    def has(self, block: Block) -> bool:
        """Whether the block's file is there, whole, and made of the same: it may have been copied from anywhere."""
        import numpy as np

        try:
            with np.load(self.path(block.number)) as file:
                if any(member.compress_type for member in file.zip.infolist()):
                    return False  # ours are not, so that a block takes the memory that its size says
                arrays = {name: file[name] for name in file.files}  # all are read, which compares their checksums
            return bool(arrays["made_of"].tobytes() == self.made_of(block))
        except Exception:  # numpy and zipfile raise whatever their parsers raise
            return False

    def __call__(self, block: Block) -> None:
        """Encode and write one block, whole or not at all."""
        import numpy as np

        held_out = [split_hash(value) < self.threshold for value in block.digests]
        arrays: dict[str, Any] = {}
        for split, wanted in (("train", False), ("validation", True)):
            chosen = [i for i, out in enumerate(held_out) if out is wanted]
            arrays[split] = encode_documents(self.tokenizer, (block.documents[i] for i in chosen), self.sep)
            arrays[f"{split}_counts"] = np.array([len(chosen), sum(block.sizes[i] for i in chosen)])
        arrays["made_of"] = np.frombuffer(self.made_of(block), dtype=np.uint8)
        path = self.path(block.number)
        aside = path.with_name(f"{ASIDE}{secrets.token_hex(4)}-{path.name}")  # parts may make the same block
        with disk_errors(self.folder):
            try:
                np.savez(aside, **arrays)
                flush_to_disk(aside)
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise


def read_block(path: Path, name: str, vocab_size: int) -> np.ndarray:
    """A finished block's `train`, `validation` (n,) or `..._counts` (2,); UserError where the file is damaged."""
    import numpy as np

    try:
        with np.load(path) as block:
            # what `savez` writes is not compressed, so that a block takes the memory that its size says
            if any(member.compress_type for member in block.zip.infolist()):
                raise ValueError("it is compressed")
            array: np.ndarray = block[name]
        wanted = ("int64", (2,)) if name.endswith("_counts") else ("uint32", (len(array),))
        if (array.dtype.name, array.shape) != wanted:
            raise ValueError(f"{name} holds {array.dtype} {array.shape}")
        if array.dtype == np.uint32 and array.size and int(array.max()) >= vocab_size:
            raise ValueError(f"{name} holds ids that the tokenizer does not have")
    except Exception as error:  # numpy and zipfile raise whatever their parsers raise
        raise UserError(
            f"{path} is damaged ({first_line(error)}): delete it, and the same command makes it again."
        ) from error
    return array


def encode_documents(tokenizer: Tokenizer, documents: Iterable[str], sep: int) -> np.ndarray:
    """Ids of all documents as one (n,) uint32 stream, `sep` after each document that has any."""
    import numpy as np

    ids = array("I")
    batch: list[str] = []
    last_of_document: list[bool] = []
    size = 0

    def encode() -> None:
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        for encoding, last in zip(encodings, last_of_document, strict=True):
            ids.extend(encoding.ids)
            if last and ids and ids[-1] != sep:
                ids.append(sep)

    for document in documents:
        for piece in _pieces(document):
            batch.append(piece)
            last_of_document.append(False)
            size += len(piece)
            if size >= BATCH_CHARS:
                encode()
                batch, last_of_document, size = [], [], 0
        batch.append("")
        last_of_document.append(True)
    encode()
    return np.frombuffer(ids, dtype=np.uint32) if ids else np.zeros(0, dtype=np.uint32)


def _pieces(document: str) -> Iterator[str]:
    """Paragraphs, the very long ones cut before a space."""
    for paragraph in document.split("\n"):
        start = 0
        while len(paragraph) - start > PIECE_CHARS:
            space = paragraph.rfind(" ", start + PIECE_CHARS // 2, start + PIECE_CHARS)
            end = space if space > 0 else start + PIECE_CHARS
            yield paragraph[start:end]
            start = end
        yield paragraph[start:]


def encode_blocks(
    blocks: Iterable[Block], encoder: BlockEncoder, workers: int, wanted: Callable[[Block], bool]
) -> Iterator[tuple[int, bool]]:
    """Encode the blocks that are wanted, `workers` at a time; yields (bytes of text, was it work) for every block.

    A few blocks wait at most, so memory does not grow with the corpus. Block files do not depend on `workers`.
    """
    pool = ThreadPoolExecutor(workers)
    running: deque[tuple[Future[None], int]] = deque()
    try:
        for block in blocks:
            if not wanted(block):
                yield sum(block.sizes), False
                continue
            running.append((pool.submit(encoder, block), sum(block.sizes)))
            if len(running) > 2 * workers:
                future, size = running.popleft()
                future.result()
                yield size, True
        while running:
            future, size = running.popleft()
            future.result()
            yield size, True
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
