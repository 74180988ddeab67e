"""Locks on files that end with their process, also between machines that share a file system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from sctd.console import say
from sctd.errors import UserError
from sctd.files import disk_errors

LOCK = ".lock"  # of a folder


class BusyError(Exception):
    """Somebody else holds the lock."""


class NoLocksError(UserError):
    """The file system has no locks."""


@contextmanager
def locked(path: Path, *, shared: bool = False, waiting: str = "") -> Iterator[IO[str]]:
    """Hold the lock of the file `path`, which is made if absent; on Windows there is none, and nobody waits.

    Args:
        path: a file that is there for this alone, in a folder that is made if absent too.
        shared: together with others that ask for it so.
        waiting: a sentence for who must wait; empty: do not wait.

    Raises:
        BusyError: somebody else holds it, and `waiting` is empty.
        NoLocksError: the file system has no locks.
    """
    while True:
        with disk_errors(path.parent):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # below /proc, for one, where nothing can be made
                raise UserError(f"{path.parent} cannot be made ({error.strerror}): choose another place.") from error
            try:
                opened = path.open("a+")
            except FileNotFoundError:  # its last holder removed the empty folder just now
                if path.is_symlink():
                    raise
                continue
        with opened as file:
            _take(file, shared, waiting)
            if _is_at(path, file):  # else it was deleted, and perhaps made anew, while we waited
                yield file
                return


@contextmanager
def alone(folder: Path, busy: Callable[[], str], patience: int = 0) -> Iterator[None]:
    """Hold a folder's LOCK, which the system lets go however the process ends; the folder goes where it is left empty.

    Args:
        folder: made if absent.
        busy: the sentence for one that somebody else holds.
        patience: seconds to wait for that one's end.

    Raises:
        UserError: somebody else holds it, after the waiting.
    """
    with ExitStack() as held:
        for waited in range(patience + 1):
            try:
                held.enter_context(locked(folder / LOCK))
                break
            except NoLocksError as error:
                say(f"{error} Nothing keeps a second process from {folder} now.")
                break
            except BusyError as error:
                if waited == patience:
                    raise UserError(busy()) from error
                if not waited:
                    say(f"Another process is at {folder}; waiting up to {patience} s for its end.")
                time.sleep(1)
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()


def is_only_holder(file: IO[str]) -> bool:
    """Whether nobody shares the lock that `locked` gave; if so, nobody can from now on."""
    try:
        _take(file, shared=False, waiting="")
    except BusyError:
        return False
    return True


def _take(file: IO[str], shared: bool, waiting: str) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows: two writers at once are then the user's own care
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # some file systems of a network say it by the second
            if not waiting:
                raise BusyError from error
            say(waiting)
            fcntl.flock(file, kind)
    except OSError as error:
        raise NoLocksError(
            f"The file system of {file.name} has no locks ({error.strerror}): choose a place on another one."
        ) from error


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
