"""A results file that grows part by part, so that a command goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError, first_line
from sctd.files import disk_errors, write_json
from sctd.json_text import differs, read_json

if TYPE_CHECKING:
    from sctd.scores.encoder import Encoder

BELONGS_TO = "belongs_to"


def read_object(path: Path, form: Any = dict) -> dict[str, Any]:
    """A JSON object of a form (see `sctd.json_text.differs`) from a file; UserError for anything else."""
    try:
        found: dict[str, Any] = read_json(path, form)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): give another --out.") from error
    return found


def refuse_other(path: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """UserError where results are of another model (by its fingerprint) or of other settings than mine."""
    for name, value in mine.items():
        if name != "model" and theirs.get(name) != value:
            what = "another model" if name == "fingerprint" else f"another {name} ({theirs.get(name)}, now {value})"
            raise UserError(f"{path.parent} holds results of {what}: give another --out.")


def kept_precision(path: Path | None, asked: str) -> str:
    """The precision asked for; of `auto`, what it came to when the results in `path` were begun.

    On a processor `auto` is a measurement, which may come out otherwise when the command is repeated.
    """
    if asked != "auto" or path is None or not path.exists():
        return asked
    try:
        found = read_json(path, dict)
        return str(found.get(BELONGS_TO, found)["precision"])
    except (OSError, ValueError, KeyError, TypeError):
        return asked  # whoever opens the file for good says what is wrong with it


def checksum(rows: Any) -> str:
    """SHA-256 of something that JSON can hold."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Kept:
    """Finished parts of one command's results, in PATH (null: in memory alone).

    Args:
        path: the file; what it holds must be of the same model and settings.
        encoder: whose results they are.
        settings: what else they depend on.
        part: the form of a part.

    Raises:
        UserError: the file is of another model or other settings, or damaged.
    """

    def __init__(self, path: Path | None, encoder: Encoder, settings: dict[str, Any], part: Any = dict) -> None:
        self.path, self._part = path, part
        self.parts: dict[str, Any] = {}
        self.belongs_to = {"model": str(encoder.folder), "fingerprint": encoder.fingerprint(), **settings}
        self.parts = self._read()

    def _read(self) -> dict[str, Any]:
        """The parts that the file holds now."""
        if self.path is None or not self.path.exists():
            return {}
        found = read_object(self.path)
        if differs(found, {BELONGS_TO: dict, "parts": dict}) is not None:
            raise UserError(f"{self.path} is damaged, or no results of this verb: give another --out.")
        refuse_other(self.path, self.belongs_to, found[BELONGS_TO])
        place = differs(found["parts"], {"*": self._part}, "parts")
        if place is not None:
            raise UserError(f"{self.path} is damaged ({place}): give another --out.")
        parts: dict[str, Any] = found["parts"]
        return parts

    def has(self, name: str, of: str) -> bool:
        """Whether the part is finished, of the same data, by its checksum."""
        return name in self.parts and self.parts[name].get("of") == of

    def add(self, name: str, of: str, part: dict[str, Any]) -> None:
        """Keep a part that is finished, in the place of one of other data."""
        self._write({}, {name: {"of": of, **part}})

    def finish(self, results: dict[str, Any]) -> None:
        """Write the results beside the parts that they are made of."""
        self._write(results, {})

    def _write(self, results: dict[str, Any], new: dict[str, Any]) -> None:
        self.parts |= new
        if self.path is None:
            return
        from filelock import FileLock

        with disk_errors(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                self.parts = {**self.parts, **self._read(), **new}  # another process may have added to it
                write_json(self.path, {BELONGS_TO: self.belongs_to, "parts": self.parts, **results})
