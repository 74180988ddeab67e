"""The out folder while work is under way: what it may hold, whose work it is, and what was finished before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sctd.errors import UserError
from sctd.files import write_json
from sctd.json_text import read_json
from sctd.locks import BusyError, is_only_holder, locked
from sctd.tokens.manifest import MANIFEST, Manifest, read_manifest
from sctd.tokens.parts import Part

PARTIAL = ".partial"
_JOB = "job.json"


class Workspace:
    """`OUT/.partial`: job.json (settings and input), tokenizer/, survey.json, block-NNNNNN.npz, and locks.

    Parts share the folder; who makes the whole has it alone.
    """

    def __init__(self, out: Path, part: Part | None = None) -> None:
        self.out, self.part = out, part
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
        with self._locks() as lock:
            if (self.out / MANIFEST).exists():
                raise UserError(f"Another sctd prepare has just finished {self.out}: nothing is left to do.")
            try:
                yield
            except UserError:
                if not any(self.partial.glob("block-*.npz")) and is_only_holder(lock):
                    shutil.rmtree(self.partial if existed else self.out, ignore_errors=True)
                raise

    @contextmanager
    def first_reading(self, job: dict[str, Any]) -> Iterator[None]:
        """Hold what only one process does for all: job.json, survey and tokenizer."""
        waiting = f"Another part reads the text of {self.out} for the first time; this one waits for it."
        with locked(self.partial / "first-reading.lock", waiting=waiting):
            self._refuse_what_is_not_ours(job)
            write_json(self.partial / _JOB, job)
            yield

    @contextmanager
    def _locks(self) -> Iterator[IO[str]]:
        try:
            with locked(self.partial / "lock", shared=self.part is not None) as lock:
                if self.part is None:
                    yield lock
                    return
                name = f"part-{self.part.number}-of-{self.part.of}.lock"
                with locked(self.partial / name):
                    yield lock
        except BusyError:
            at_work = ", ".join(self._parts_at_work())
            raise UserError(
                f"Another sctd prepare is at work in {self.out}{at_work and f' ({at_work})'}: wait for it, "
                "or choose another --out."
            ) from None

    def _parts_at_work(self) -> Iterator[str]:
        for file in sorted(self.partial.glob("part-*.lock")):
            try:
                with locked(file):
                    pass
            except BusyError:
                yield file.stem.replace("-", " ")

    def finished(self, settings: dict[str, Any], inputs: list[dict[str, Any]]) -> Manifest | None:
        """The manifest, if the same settings and input made it; None if there is none.

        Raises:
            UserError: the folder is finished and was made by another command.
        """
        if not (self.out / MANIFEST).exists():
            return None
        manifest = read_manifest(self.out)
        refuse_another_job(manifest, settings, inputs, str(self.out))
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
        other = difference(begun, job)
        if other:
            raise UserError(
                f"{self.out} holds unfinished work with {other}: run the command that began it, "
                "choose another --out, or delete that folder."
            )


def refuse_another_job(manifest: Manifest, settings: dict[str, Any], inputs: list[dict[str, Any]], place: str) -> None:
    """Raise UserError unless the finished data at `place` were made with these settings from this input."""
    other = difference(manifest.provenance, {"settings": settings, "inputs": inputs})
    if other:
        raise UserError(
            f"{place} already holds finished data made with {other}: choose another --out, or delete that folder."
        )


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In words, the first thing that is not the same; empty if all is."""
    now = json.loads(json.dumps(now))
    for key, value in now["settings"].items():
        old = before.get("settings", {}).get(key)
        if old != value:
            return f"{key} {old} instead of {value}"
    if before.get("inputs") != now["inputs"]:
        return "other input files (or they were changed since)"
    return ""
