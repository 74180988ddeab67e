"""What the user named (files, folders, globs, data sets) to a sorted list of sources."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sctd.errors import UserError
from sctd.remote import is_remote, remote_matches
from sctd.text.compression import COMPRESSIONS
from sctd.text.formats import FORMATS
from sctd.text.hub import PREFIX

# how file systems call a mark of a file's content, or the time of its last change; the first that there is
STAMPS = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")
KNOWN = f"{', '.join(FORMATS)}, each also with {', '.join(COMPRESSIONS)}"


@dataclass(frozen=True)
class Source:
    """One file, or one `hf:` data set (0, "").

    Args:
        path: where it lies, a path or an address.
        bytes: as it lies.
        stamp: what is another one when the file was changed: the time of that, or a file system's own mark.
    """

    path: str
    bytes: int
    stamp: int | str


def suffixes(path: Path) -> tuple[str, str] | None:
    """(format, compression or "") by the file's name, or None if it is not one of ours."""
    packed = path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else ""
    plain = Path(path.stem) if packed else path
    return (plain.suffix.lower(), packed) if plain.suffix.lower() in FORMATS else None


def find_sources(places: list[str]) -> list[Source]:
    """All sources, in the order of `places` and by name within a folder or a glob, each once.

    In folders and globs, files of other kinds and hidden files are passed over.

    Raises:
        UserError: a place does not exist, holds nothing readable, is empty, or is a file of an unknown kind.
    """
    if not places:
        raise UserError("There is nothing to read: name files, folders, globs or hf:NAME with --input.")
    found: dict[str, Source] = {}
    for place in places:
        for source in _at(place):
            found.setdefault(source.path, source)
    return list(found.values())


def passed_over(places: list[str], sources: list[Source]) -> int:
    """How many files in the folders and globs among `places` are not among their sources, hidden ones aside."""
    there: set[str] = set()
    for place in places:
        path = Path(place).expanduser()
        if is_remote(place):
            there.update(name for name in remote_matches(place) if _is_visible(name, place))
        elif not place.startswith(PREFIX):
            for match in [path] if path.exists() else map(Path, glob.glob(str(path), recursive=True)):  # noqa: PTH207
                there.update(map(str, _visible(match) if match.is_dir() else [match]))
    return len(there - {source.path for source in sources})


def _at(place: str) -> Iterator[Source]:
    if is_remote(place):
        yield from _at_address(place)
        return
    if place.startswith(PREFIX):
        if place == PREFIX:
            raise UserError("hf: needs the name of a data set: hf:NAME or hf:FOLDER.")
        yield Source(place, 0, "")
        return
    path = Path(place).expanduser()
    if path.is_file():
        if suffixes(path) is None:
            raise UserError(f"{path} is of a kind that sctd cannot read: give {KNOWN}.")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty: leave it out.")
        yield _file(path)
        return
    if path.is_dir():
        files = _below(path)
        if not files:
            raise UserError(f"The folder {path} holds no file that sctd can read: give {KNOWN}.")
    else:
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        if not matches:
            has_magic = glob.has_magic(str(path))
            raise UserError(
                f"{path} matches no file: check the pattern given with --input."
                if has_magic
                else f"{path} does not exist: check the path given with --input."
            )
        files = [file for match in matches for file in (_below(match) if match.is_dir() else [match])]
        files = [file for file in files if suffixes(file)]
        if not files:
            raise UserError(f"{path} matches no file that sctd can read: give {KNOWN}.")
    yield from map(_file, files)


def _at_address(place: str) -> Iterator[Source]:
    files = remote_matches(place)
    wanted = {name: info for name, info in files.items() if suffixes(Path(name)) and _is_visible(name, place)}
    if not wanted:
        raise UserError(f"{place} holds or matches no file that sctd can read: give {KNOWN}.")
    for name, info in wanted.items():
        if info.get("size") is None:
            raise UserError(f"{name} does not tell its size: download it, and give the file.")
        if info["size"] == 0 and len(files) == 1:
            raise UserError(f"{name} is empty: leave it out.")
        yield Source(name, int(info["size"]), str(next((info[key] for key in STAMPS if info.get(key)), "")))


def _is_visible(name: str, place: str) -> bool:
    """Whether neither a file at an address nor a folder on the way to it, below `place`, is hidden."""
    return not any(part.startswith(".") for part in name.removeprefix(place).split("/"))


def _below(folder: Path) -> list[Path]:
    return sorted(file for file in _visible(folder) if suffixes(file))


def _visible(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _file(path: Path) -> Source:
    status = path.stat()
    return Source(str(path), status.st_size, status.st_mtime_ns)
