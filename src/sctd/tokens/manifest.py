"""manifest.json: what a data folder holds, as typed dataclasses. Written last: its presence says finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sctd.errors import UserError
from sctd.files import sha256_file, write_json

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
UNIGRAM = "unigram.npy"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokenizer's special tokens, whatever their names ([CLS] or <s>, [MASK] or <mask>, ...)."""

    cls: int
    sep: int
    mask: int
    pad: int
    unk: int | None

    def all(self) -> list[int]:
        """The ids that exist, ascending, each once."""
        return sorted({i for i in (self.cls, self.sep, self.mask, self.pad, self.unk) if i is not None})


@dataclass(frozen=True)
class TokenizerInfo:
    """sha256: see `folder_sha256`; kind: the algorithm (WordPiece, BPE, Unigram, ...); vocab_size: V."""

    sha256: str
    kind: str
    vocab_size: int
    special: SpecialIds


@dataclass(frozen=True)
class Shard:
    """One .npy file of (sequences, S) token ids."""

    file: str
    sequences: int
    sha256: str


@dataclass(frozen=True)
class SplitInfo:
    """tokens: of the text alone, without [CLS], [SEP] and [PAD]; bytes: of the text, as UTF-8."""

    documents: int
    tokens: int
    sequences: int
    bytes: int
    shards: list[Shard]


@dataclass(frozen=True)
class Manifest:
    """What docs/design.md calls manifest.json, key by key."""

    format: int
    sctd_version: str
    seq_len: int
    dtype: str
    tokenizer: TokenizerInfo
    splits: dict[str, SplitInfo]
    duplicates_removed: int
    unigram_entropy: float
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def special(self) -> SpecialIds:
        """Ids of the special tokens."""
        return self.tokenizer.special

    @property
    def vocab_size(self) -> int:
        """V: ids are 0 .. V-1."""
        return self.tokenizer.vocab_size

    def write(self, folder: Path) -> None:
        """Write `folder/manifest.json` atomically."""
        write_json(folder / MANIFEST, asdict(self))


def dtype_for(vocab_size: int) -> str:
    """The smallest unsigned type of the format that holds every id: uint16 up to V = 65,536, else uint32."""
    return "uint16" if vocab_size <= 65536 else "uint32"


def folder_sha256(folder: Path) -> str:
    """One hex digest over the names and bytes of all files in a folder (a tokenizer's, so a small one)."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\n{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        UserError: it is missing, not JSON, lacks a key, or is of a newer format.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: prepare the data first (sctd prepare).") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: bytes, path: str) -> Manifest:
    """A manifest from its JSON, of which errors say that it lies at `path`; raises as `read_manifest` does."""
    try:
        value = json.loads(text)
        if value["format"] != FORMAT:
            raise UserError(
                f"{path} has format {value['format']}, and this sctd reads format {FORMAT}: "
                "install the sctd that wrote it, or prepare the data again."
            )
        return _from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is damaged ({reason}): delete the folder and run sctd prepare again.") from error


def _from_json(value: dict[str, Any]) -> Manifest:
    tokenizer = value["tokenizer"]
    special = tokenizer["special"]
    splits = {}
    for name in SPLITS:
        split = value["splits"][name]
        splits[name] = SplitInfo(
            documents=int(split["documents"]),
            tokens=int(split["tokens"]),
            sequences=int(split["sequences"]),
            bytes=int(split["bytes"]),
            shards=[Shard(str(s["file"]), int(s["sequences"]), str(s["sha256"])) for s in split["shards"]],
        )
    return Manifest(
        format=int(value["format"]),
        sctd_version=str(value["sctd_version"]),
        seq_len=int(value["seq_len"]),
        dtype=str(value["dtype"]),
        tokenizer=TokenizerInfo(
            sha256=str(tokenizer["sha256"]),
            kind=str(tokenizer["kind"]),
            vocab_size=int(tokenizer["vocab_size"]),
            special=SpecialIds(
                cls=int(special["cls"]),
                sep=int(special["sep"]),
                mask=int(special["mask"]),
                pad=int(special["pad"]),
                unk=None if special["unk"] is None else int(special["unk"]),
            ),
        ),
        splits=splits,
        duplicates_removed=int(value["duplicates_removed"]),
        unigram_entropy=float(value["unigram_entropy"]),
        provenance=dict(value["provenance"]),
    )
