"""Places that are not on a disk of this machine: `scheme://...`, by fsspec. Files move whole, the telling one last."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from glob import has_magic
from pathlib import Path
from typing import Any

from sctd.console import progress_bar, say
from sctd.errors import UserError, first_line
from sctd.files import ASIDE, REFUSED, disk_errors, flush_to_disk

CACHE = "SCTD_CACHE"  # the variable that names the cache's folder
BUFFER_BYTES = 2**20
RETRIES = (5, 30, 120)  # seconds before an upload is tried again
_PROBE = ".sctd-may-write"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_remote(place: str | Path) -> bool:
    """Whether a place is an address, `scheme://...`, rather than a path."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn whatever the library of an address raises into a UserError that names it; a full disk here stays one."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{address} does not exist ({first_line(error)}): check the bucket and the path.") from error
    except Exception as error:  # botocore, aiohttp and others have no exception in common
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
        way_out = "check the credentials and what they allow" if refused else "check the address and the connection"
        raise UserError(
            f"{address} cannot be {'accessed' if refused else 'reached'} ({first_line(error)}): {way_out}."
        ) from error


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path within it.

    Raises:
        UserError: nothing knows the scheme, or its library is not installed.
    """
    import fsspec

    scheme = address.partition("://")[0].lower()
    if scheme not in fsspec.available_protocols():
        raise UserError(f"{address} is of a kind that fsspec does not know: s3://, gs://, hf:// and file:// are usual.")
    options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
    with remote_errors(address):
        try:
            system, path = fsspec.url_to_fs(address, **options)
        except ImportError as error:
            extra = ": pip install 'sctd[remote]'" if scheme in ("s3", "s3a") else ""
            raise UserError(f"{address} needs a package that is not installed ({first_line(error)}){extra}.") from error
    return system, str(path).rstrip("/")


def remote_files(address: str) -> dict[str, int]:
    """What lies below an address: relative name -> bytes, in the order of names; {} if nothing does.

    Raises:
        UserError: it cannot be reached, or a name leads out of the folder that a copy would be in.
    """
    system, root = file_system(address)
    with remote_errors(address):
        system.invalidate_cache()
        try:
            found = system.find(root, detail=True)
        except FileNotFoundError:  # a missing bucket too, which is met when something is read or written
            return {}
    files = {
        path.removeprefix(root).lstrip("/"): int(info["size"])
        for path, info in sorted(found.items())
        if info.get("type") == "file"
    }
    for name in files:
        if ".." in re.split(r"[/\\]", name) or Path(name).is_absolute():  # an object's name may be anything
            raise UserError(f"{address} has an object {name!r}, whose name leads out of its folder: remove it there.")
    return files


def remote_matches(address: str) -> dict[str, dict[str, Any]]:
    """The files that an address means, a file, a folder with all below or a glob: full address -> fsspec's `info`.

    Raises:
        UserError: it does not exist or cannot be reached.
    """
    system, path = file_system(address)
    with remote_errors(address):
        system.invalidate_cache()
        magic = has_magic(path)
        found = system.glob(path, detail=True) if magic else {path: system.info(path)}
        files: dict[str, dict[str, Any]] = {}
        for name, info in found.items():
            files |= {name: info} if info["type"] == "file" else system.find(name, detail=True)
        # what stands before the path, which `unstrip_protocol` does not know all of: a host, a user
        before = address.removesuffix(path) if address.endswith(path) else None
        names = {name: system.unstrip_protocol(name) if before is None else f"{before}{name}" for name in sorted(files)}
        return {names[name]: files[name] for name in names if files[name]["type"] == "file"}


def without_secrets(place: str) -> str:
    """A place as it may be stored and shown: an address without user, password and, of the web, what follows a `?`."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return place
    host, slash, path = rest.partition("/")
    path = path.partition("?")[0] if scheme in ("http", "https") else path
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def read_bytes(address: str) -> bytes:
    """All of a small file."""
    system, path = file_system(address)
    with remote_errors(address):
        system.invalidate_cache()
        return bytes(system.cat_file(path))


def download(address: str, path: Path) -> None:
    """A file to `path`, whole or not at all."""
    system, source = file_system(address)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()  # what cannot be written here is no fault of the address
        try:
            with remote_errors(address):
                system.get_file(source, str(aside))
            flush_to_disk(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def upload_folder(
    folder: Path, address: str, names: Iterable[str] | None = None, last: str = "", show: bool = True
) -> None:
    """Files of a folder to below an address; each appears there whole.

    Args:
        folder: what to upload.
        address: where to; what lies there under other names stays.
        names: the files, relative to `folder`; null: all.
        last: the file whose presence says that the rest is complete: taken away first, written after all others.
        show: a progress bar.

    Raises:
        UserError: the address cannot be reached or written; without `last` there, nothing takes it for whole.
    """
    found = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    ordered = sorted(names if names is not None else found, key=lambda name: (name == last, name))
    system, root = file_system(address)
    sizes = {name: (folder / name).stat().st_size for name in ordered}
    bar = progress_bar()
    task = bar.add_task("uploading ", total=sum(sizes.values()), note="")
    with bar if show else nullcontext(), disk_errors(address), remote_errors(address):
        if last:
            system.invalidate_cache()
            if system.exists(f"{root}/{last}"):
                system.rm_file(f"{root}/{last}")
        for name in ordered:
            _put(system, folder / name, f"{root}/{name}")
            bar.update(task, advance=sizes[name], note=name)


def _put(system: Any, file: Path, path: str) -> None:
    """Send a file; again after a while, where that may help: a run is not to end because an address was away."""
    for pause in RETRIES:
        try:
            return system.put_file(str(file), path)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # botocore, aiohttp and others have no exception in common
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *REFUSED):
                raise
            say(f"{path} could not be sent ({first_line(error)}); once more in {pause} s.")
            time.sleep(pause)
    return system.put_file(str(file), path)


def check_writable(address: str) -> None:
    """Raise UserError if nothing can be written below an address; nothing is left there."""
    system, root = file_system(address)
    with disk_errors(address), remote_errors(address):
        system.pipe_file(f"{root}/{_PROBE}", b"sctd")
        system.rm_file(f"{root}/{_PROBE}")


def delete_folder(address: str) -> None:
    """All that lies below an address; nothing if there is nothing."""
    system, root = file_system(address)
    with remote_errors(address):
        system.invalidate_cache()
        if system.exists(root):
            system.rm(root, recursive=True)


def move_folder(address: str, to: str) -> None:
    """All that lies below an address, to another address of the same kind; the last name first.

    So of a checkpoint state.json goes first, without which half of one is none.
    """
    system, root = file_system(address)
    there = file_system(to)[1]
    with disk_errors(to), remote_errors(address):
        system.invalidate_cache()
        for name in sorted(system.find(root), reverse=True):
            place = f"{there}{name.removeprefix(root)}"
            system.makedirs(place.rpartition("/")[0], exist_ok=True)
            system.mv(name, place)
        if system.exists(root):
            system.rm(root, recursive=True)


def open_remote(address: str) -> io.BufferedReader:
    """A file as a stream that can be read and sought in; what fails while it is read is a UserError too."""
    return io.BufferedReader(_RemoteFile(address), BUFFER_BYTES)


class _RemoteFile(io.RawIOBase):
    """Any file of fsspec's, with errors that name its address."""

    def __init__(self, address: str) -> None:
        self.address = address
        system, path = file_system(address)
        with remote_errors(address):
            self._file = system.open(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with remote_errors(self.address):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with remote_errors(self.address):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def cache_folder(address: str) -> Path:
    """Where the copy of an address lies: below SCTD_CACHE, or `~/.cache/sctd`."""
    place = Path(os.environ.get(CACHE) or Path.home() / ".cache/sctd").expanduser()
    address = address.rstrip("/")
    if address.partition("://")[0].lower() in ("file", "local"):  # a relative one is another in another folder
        address = f"file://{file_system(address)[1]}"
    name = re.sub(r"[^\w.-]", "-", address.rpartition("/")[2])
    return place / f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
