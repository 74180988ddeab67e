"""Data folders at addresses (s3://bucket/data): a checked copy in the cache, and what `prepare` writes to one."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

from sctd.console import progress_bar, say
from sctd.errors import UserError
from sctd.files import sha256_file, write_text
from sctd.locks import locked
from sctd.remote import (
    cache_folder,
    check_writable,
    delete_folder,
    download,
    read_bytes,
    remote_files,
    upload_folder,
)
from sctd.tokens.manifest import MANIFEST, TOKENIZER, UNIGRAM, Manifest, folder_sha256, parse_manifest, read_manifest
from sctd.tokens.workspace import PARTIAL, difference, refuse_another_job

_OURS = re.compile(rf"{TOKENIZER}/.+|{re.escape(UNIGRAM)}|(train|validation)-\d+\.npy|{re.escape(PARTIAL)}/.+")


def local_copy(address: str) -> Path:
    """The cache's folder with a whole copy of the data folder at an address; what is there already stays.

    Every file is compared with the manifest, whether it is downloaded now or was before.

    Raises:
        UserError: there is no data folder, it cannot be reached, or what arrives is not what its manifest says.
    """
    address = address.rstrip("/")
    folder = cache_folder(address)
    text = _remote_manifest(address)
    if text is None:
        raise UserError(
            f"{address} has no {MANIFEST}: give the address that sctd prepare wrote, or run it again if it was stopped."
        )
    manifest = parse_manifest(text, f"{address}/{MANIFEST}")
    if _is(folder / MANIFEST, text) and not _wrong(folder, manifest):
        return folder
    waiting = f"Another process downloads {address}; this one waits for it."
    with locked(folder.with_name(f"{folder.name}.lock"), waiting=waiting):
        if not _is(folder / MANIFEST, text):
            (folder / MANIFEST).unlink(missing_ok=True)  # from now on the folder is an unfinished one
        wrong = _wrong(folder, manifest)
        if wrong:
            _download(address, folder, wrong)
            wrong = _wrong(folder, manifest)
        if wrong:
            raise UserError(f"{address}/{wrong[0]} is damaged (it is not what the manifest says): prepare it again.")
        write_text(folder / MANIFEST, text.decode())
    return folder


def finished_at(address: str, settings: dict[str, Any], inputs: list[dict[str, Any]]) -> Manifest | None:
    """The manifest at an address, if the same settings and input made it; None if there is none.

    Raises:
        UserError: another command made it.
    """
    text = _remote_manifest(address)
    if text is None:
        return None
    manifest = parse_manifest(text, f"{address}/{MANIFEST}")
    refuse_another_job(manifest, settings, inputs, address)
    return manifest


def working_folder(address: str, settings: dict[str, Any], inputs: list[dict[str, Any]]) -> Path:
    """Where `prepare` does the work for an address that is not finished: the cache's folder.

    Raises:
        UserError: the address holds other files, or cannot be written to.
    """
    strangers = [name for name in remote_files(address) if not _OURS.fullmatch(name)]
    if strangers:
        raise UserError(f"{address} holds other files ({strangers[0]}): choose a new or empty address for --out.")
    check_writable(address)
    folder = cache_folder(address)
    if (folder / MANIFEST).exists():
        stale = bool(difference(read_manifest(folder).provenance, {"settings": settings, "inputs": inputs}))
    else:
        stale = folder.exists() and not (folder / PARTIAL).exists()  # a download that was not finished
    if stale:
        say(f"What the cache kept of {address}, which holds nothing now, is deleted.")
        shutil.rmtree(folder)
    return folder


def publish(folder: Path, address: str) -> None:
    """Upload a data folder, the manifest last, and drop what parts had left there."""
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    upload_folder(folder, address, [name for name in names if not name.startswith(PARTIAL)], last=MANIFEST)
    delete_folder(f"{address}/{PARTIAL}")


def send_blocks(partial: Path, address: str) -> set[str]:
    """Upload a part's blocks that are not there yet; returns the names of all that are there then."""
    place = f"{address}/{PARTIAL}"
    there = remote_files(place)
    files = {file.name: file.stat().st_size for file in partial.glob("block-*.npz")}
    if _remote_manifest(address) is None:  # else all were put together without this part
        upload_folder(partial, place, [name for name, size in files.items() if there.get(name) != size])
    return {*there, *files}


def fetch_blocks(address: str, partial: Path) -> None:
    """Download the blocks of all parts; those that are here stay. Whoever uses them checks them."""
    there = remote_files(f"{address}/{PARTIAL}")
    for name in there:
        if re.fullmatch(r"block-\d+\.npz", name) and not (partial / name).exists():
            download(f"{address}/{PARTIAL}/{name}", partial / name)


def _remote_manifest(address: str) -> bytes | None:
    return read_bytes(f"{address}/{MANIFEST}") if MANIFEST in remote_files(address) else None


def _is(file: Path, text: bytes) -> bool:
    return file.exists() and file.read_bytes() == text


def _wrong(folder: Path, manifest: Manifest) -> list[str]:
    """Names of files, of TOKENIZER as a whole, that are absent or are not what the manifest says."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    wrong = [
        shard.file
        for shard in shards
        if not (folder / shard.file).exists() or sha256_file(folder / shard.file) != shard.sha256
    ]
    if folder_sha256(folder / TOKENIZER) != manifest.tokenizer.sha256:
        wrong.append(TOKENIZER)
    if not _is_unigram(folder / UNIGRAM, manifest):
        wrong.append(UNIGRAM)
    return wrong


def _is_unigram(file: Path, manifest: Manifest) -> bool:
    """The counts have no checksum of their own; their entropy stands in the manifest."""
    import numpy as np

    from sctd.tokens.shards import entropy

    try:
        counts = np.load(file, mmap_mode="r")
    except Exception:  # numpy reads the header as a Python expression, and raises whatever that raises
        return False
    return counts.shape == (manifest.vocab_size,) and math.isclose(entropy(counts), manifest.unigram_entropy)


def _download(address: str, folder: Path, wanted: list[str]) -> None:
    files = remote_files(address)
    if TOKENIZER in wanted:
        shutil.rmtree(folder / TOKENIZER, ignore_errors=True)
    names = [name for name in files if name in wanted or name.split("/")[0] in wanted]
    say(f"Downloading {len(names):,} files of {address} into {folder}.")
    with progress_bar() as bar:
        task = bar.add_task("downloading", total=sum(files[name] for name in names), note="")
        for name in names:
            download(f"{address}/{name}", folder / name)
            bar.update(task, advance=files[name], note=name)
