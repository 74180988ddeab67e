"""Files that are whole or absent: written aside, flushed, then renamed; checksums; a full disk in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sctd.errors import UserError

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
ASIDE = ".partial-"


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_errors(place: Path | str) -> Iterator[None]:
    """Turn a full disk or a refused write below `place` into a UserError that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full at {place}: free some room there and run the same command again (pretrain: with "
                "--resume, where it has a checkpoint); what was complete before is kept."
            ) from error
        if number == errno.EFBIG:
            raise UserError(
                f"A file at {place} is larger than its file system or a limit (ulimit -f) allows: choose another place."
            ) from error
        if number == errno.EEXIST:
            raise UserError(
                f"Cannot write to {place}: a file, or a link that leads nowhere, is in the way; choose another place."
            ) from error
        if number in REFUSED:
            raise UserError(f"Cannot write to {place}: {os.strerror(number)}; choose another place.") from error
        raise


def _error_number(error: Exception) -> int:
    """The system's number of an error, also of one that safetensors or tokenizers hand on as text; else 0."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def flush_to_disk(path: Path) -> None:
    """fsync a file or a folder, so that a rename after it never shows an empty file after a power cut."""
    if os.name == "nt":  # flushes only what is open for writing, and no folders
        if not path.is_dir():
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")  # two processes may write the same file
    with disk_errors(path.parent):
        try:
            aside.write_text(text, encoding="utf-8")
            flush_to_disk(aside)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, readable by a person."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at `path`, complete and flushed, when the block ends, or not at all.

    What stood at `path` is replaced at the end, and is deleted only when its successor is in place. A kill leaves at
    most `.partial-` siblings, which the next attempt clears.
    """
    aside, replaced = path.with_name(ASIDE + path.name), path.with_name(f"{ASIDE}{path.name}.replaced")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for file in sorted(aside.rglob("*")):
            flush_to_disk(file)
        flush_to_disk(aside)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        aside.rename(path)
        flush_to_disk(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
