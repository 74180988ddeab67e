"""The reader's side of a data folder: checked at the door, then rows by index from memory-mapped shards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sctd.errors import UserError, first_line
from sctd.files import sha256_file
from sctd.remote import is_remote
from sctd.tokens.manifest import (
    MANIFEST,
    TOKENIZER,
    UNIGRAM,
    Manifest,
    SplitInfo,
    dtype_for,
    folder_sha256,
    read_manifest,
)
from sctd.tokens.remote_data import local_copy

AGAIN = "delete the folder and run sctd prepare again"


class TokenSplit:
    """The rows of one split, (sequences, S), as if its shards were one array."""

    def __init__(self, shards: list[np.ndarray], seq_len: int) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards], dtype=np.int64)
        self.seq_len = seq_len

    def __len__(self) -> int:
        """Number of sequences."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Token ids of the sequences `indices` (n,), any order, repeats allowed: (n, S) int64.

        Raises:
            IndexError: an index is negative or not below `len(self)`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"sequence indices must be in 0 .. {len(self) - 1}")
        out = np.empty((len(indices), self.seq_len), dtype=np.int64)
        shard_of = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(shard_of):
            chosen = shard_of == number
            shard = self._shards[number]
            out[chosen] = shard[indices[chosen] - (self._ends[number] - len(shard))]
        return out


@dataclass
class PreparedData:
    """A data folder that passed its checks."""

    path: Path
    manifest: Manifest
    train: TokenSplit
    validation: TokenSplit

    @property
    def tokenizer_dir(self) -> Path:
        """A Hugging Face tokenizer folder: `AutoTokenizer.from_pretrained(tokenizer_dir)`."""
        return self.path / TOKENIZER

    @cached_property
    def unigram(self) -> np.ndarray:
        """(V,) int64: how often each id stands in the training split, special tokens excluded."""
        counts = _load(self.path / UNIGRAM, (self.manifest.vocab_size,), "int64")
        if counts.min() < 0:
            raise UserError(f"{self.path / UNIGRAM} is damaged (it holds counts below 0): {AGAIN}.")
        return counts


def load_prepared(path: str | Path, verify: bool = True) -> PreparedData:
    """Open what `sctd prepare` wrote.

    Args:
        path: the data folder, or its address (s3://bucket/data), of which a checked copy is kept in the cache.
        verify: also compare every shard's SHA-256 with the manifest (about a second a gigabyte); presence,
            shape, type and the tokenizer are always checked.

    Raises:
        UserError: no data folder, an unfinished one, or one whose files are missing, damaged or exchanged.
    """
    if is_remote(path):
        path, verify, ids = local_copy(str(path)), False, verify  # its files have just been compared with the manifest
    else:
        ids = verify
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder: give the folder that sctd prepare wrote.")
    if not (path / MANIFEST).exists():
        if (path / ".partial").is_dir():
            raise UserError(f"{path} is not finished: run the same sctd prepare again, it continues.")
        raise UserError(f"{path} has no {MANIFEST}: give the folder that sctd prepare wrote.")
    manifest = read_manifest(path)
    if manifest.dtype != dtype_for(manifest.vocab_size):
        raise UserError(
            f"{path / MANIFEST} is damaged (dtype {manifest.dtype!r} for {manifest.vocab_size:,} ids): {AGAIN}."
        )
    if not (path / TOKENIZER).is_dir():
        raise UserError(f"{path / TOKENIZER} is missing: {AGAIN}.")
    if folder_sha256(path / TOKENIZER) != manifest.tokenizer.sha256:
        raise UserError(
            f"The shards in {path} were made with another tokenizer than the one in {path / TOKENIZER}: "
            f"put the original tokenizer back, or {AGAIN}."
        )
    data = PreparedData(
        path=path,
        manifest=manifest,
        train=_open_split(path, manifest, manifest.splits["train"], verify, ids),
        validation=_open_split(path, manifest, manifest.splits["validation"], verify, ids),
    )
    data.unigram  # noqa: B018  read now, so that its errors come now
    return data


def _open_split(path: Path, manifest: Manifest, split: SplitInfo, verify: bool, ids: bool) -> TokenSplit:
    shards = []
    for shard in split.shards:
        file = path / shard.file
        array = _load(file, (shard.sequences, manifest.seq_len), manifest.dtype)
        if verify and sha256_file(file) != shard.sha256:
            raise UserError(f"{file} is damaged (its SHA-256 is not the manifest's): {AGAIN}.")
        if ids and array.size and int(array.max()) >= manifest.vocab_size:
            raise UserError(f"{file} is damaged (it holds ids that the tokenizer does not have): {AGAIN}.")
        shards.append(array)
    return TokenSplit(shards, manifest.seq_len)


def _load(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Memory-map a .npy file that must have this shape and type."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: {AGAIN}.") from error
    except Exception as error:  # numpy reads the header as a Python expression, and raises whatever that raises
        raise UserError(f"{file} is damaged ({first_line(error)}): {AGAIN}.") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UserError(
            f"{file} is damaged (it holds {array.dtype} {array.shape}, the manifest says {dtype} {shape}): {AGAIN}."
        )
    return array
