"""manifest.json: what a data folder holds, as typed dataclasses. Written last: its presence says finished."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sctd.errors import UserError
from sctd.files import sha256_file, write_json
from sctd.json_text import NUMBER, differs, parse_json

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
UNIGRAM = "unigram.npy"
SPLITS = ("train", "validation")
MOST_SEQ_LEN = 32768
MOST_IDS = 2**22  # of a vocabulary; the largest in use have some 2**20


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
        value = parse_json(text)
        if (place := differs(value, {"format": object})) is not None:
            raise ValueError(f"{place or 'it'} is missing or of another kind")
        if value["format"] != FORMAT:
            raise UserError(
                f"{path} has format {value['format']}, and this sctd reads format {FORMAT}: "
                "install the sctd that wrote it, or prepare the data again."
            )
        if (place := differs(value, FORM)) is not None:
            raise ValueError(f"{place} is missing or of another kind")
        manifest = _from_json(value)
        _check(manifest)
        return manifest
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete the folder and run sctd prepare again.") from error


_SPLIT = {
    **dict.fromkeys(("documents", "tokens", "sequences", "bytes"), int),
    "shards": [{"file": str, "sequences": int, "sha256": str}],
}
_SPECIAL = {**dict.fromkeys(("cls", "sep", "mask", "pad"), int), "unk": (int, type(None))}
FORM = {
    "sctd_version": str,
    "seq_len": int,
    "dtype": str,
    "tokenizer": {"sha256": str, "kind": str, "vocab_size": int, "special": _SPECIAL},
    "splits": dict.fromkeys(SPLITS, _SPLIT),
    "duplicates_removed": int,
    "unigram_entropy": NUMBER,
    "provenance": {"inputs?": [{"path": str, "bytes": (int, type(None))}], "settings?": dict},
}


def _check(manifest: Manifest) -> None:
    """ValueError for what cannot be; a shard's name never leads out of the folder."""
    if not 3 <= manifest.seq_len <= MOST_SEQ_LEN or not 1 <= manifest.vocab_size <= MOST_IDS:
        raise ValueError("seq_len or tokenizer.vocab_size is out of range")
    if not all(0 <= number < manifest.vocab_size for number in manifest.special.all()):
        raise ValueError("tokenizer.special has an id that the tokenizer does not have")
    for name, split in manifest.splits.items():
        if any(Path(shard.file).name != shard.file for shard in split.shards):
            raise ValueError(f"splits.{name}.shards names a file outside the folder")
        if split.sequences != sum(shard.sequences for shard in split.shards) or split.sequences < 1:
            raise ValueError(f"splits.{name}.sequences is not what its shards have")


def _from_json(value: dict[str, Any]) -> Manifest:
    tokenizer, splits = value["tokenizer"], value["splits"]
    return Manifest(
        **{
            **{name: value[name] for name in ("format", *FORM)},
            "tokenizer": TokenizerInfo(
                tokenizer["sha256"],
                tokenizer["kind"],
                tokenizer["vocab_size"],
                SpecialIds(**{name: tokenizer["special"][name] for name in _SPECIAL}),
            ),
            "splits": {
                name: SplitInfo(
                    **{key: splits[name][key] for key in _SPLIT if key != "shards"},
                    shards=[Shard(each["file"], each["sequences"], each["sha256"]) for each in splits[name]["shards"]],
                )
                for name in SPLITS
            },
        }
    )
