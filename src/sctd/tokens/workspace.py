"""The out folder while work is under way: what it may hold, whose work it is, and what was finished before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sctd.errors import UserError
from sctd.files import disk_errors, write_json
from sctd.json_text import read_json
from sctd.tokens.manifest import MANIFEST, Manifest, read_manifest

PARTIAL = ".partial"
_JOB = "job.json"


class Workspace:
    """`OUT/.partial`: job.json (settings and input), tokenizer/, survey.json, block-NNNNNN.npz."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.partial = out / PARTIAL

    @contextmanager
    def claimed(self, job: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for `job`: made if absent, continued if it was left by the same job.

        When the first reading refuses the input, nothing was worth keeping and the folder is as it was before.

        Raises:
            UserError: it holds other things, another job's work, or another process is at work in it.
        """
        self._refuse_what_is_not_ours(job)
        existed = self.out.is_dir()
        with disk_errors(self.out):
            self.partial.mkdir(parents=True, exist_ok=True)
            lock = (self.partial / "lock").open("w")
        with lock:
            _lock(lock, self.out)
            write_json(self.partial / _JOB, job)
            try:
                yield
            except UserError:
                if not any(self.partial.glob("block-*.npz")):
                    shutil.rmtree(self.partial if existed else self.out, ignore_errors=True)
                raise

    def finished(self, settings: dict[str, Any], inputs: list[dict[str, Any]]) -> Manifest | None:
        """The manifest, if the same settings and input made it; None if there is none.

        Raises:
            UserError: the folder is finished and was made by another command.
        """
        if not (self.out / MANIFEST).exists():
            return None
        manifest = read_manifest(self.out)
        difference = _difference(manifest.provenance, {"settings": settings, "inputs": inputs})
        if difference:
            raise UserError(
                f"{self.out} already holds finished data made with {difference}: choose another --out, "
                "or delete that folder."
            )
        self.clear()
        return manifest

    def clear(self) -> None:
        """Drop everything that only the work needed."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _refuse_what_is_not_ours(self, job: dict[str, Any]) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise UserError(f"{self.out} is a file: choose a folder for --out.")
        if not self.partial.is_dir():
            if any(self.out.iterdir()):
                raise UserError(f"{self.out} holds other files: choose a new or empty folder for --out.")
            return
        try:
            begun = read_json(self.partial / _JOB, {"settings": dict, "inputs": list})
        except FileNotFoundError:
            return  # stopped before anything was done
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.partial / _JOB} is damaged ({error}): delete the folder {self.out} and begin anew."
            ) from error
        difference = _difference(begun, job)
        if difference:
            raise UserError(
                f"{self.out} holds unfinished work with {difference}: run the command that began it, "
                "choose another --out, or delete that folder."
            )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In words, the first thing that is not the same; empty if all is."""
    now = json.loads(json.dumps(now))
    for key, value in now["settings"].items():
        old = before.get("settings", {}).get(key)
        if old != value:
            return f"{key} {old} instead of {value}"
    if before.get("inputs") != now["inputs"]:
        return "other input files (or they were changed since)"
    return ""


def _lock(file: IO[str], out: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows: two writers at once are then the user's own care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(f"Another sctd prepare is at work in {out}: wait for it, or choose another --out.") from error
