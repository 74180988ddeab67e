"""What `sctd overlap` flagged, as `sctd evaluate --without` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sctd.errors import UserError
from sctd.json_text import read_json


@dataclass(frozen=True)
class FlaggedSplit:
    """Ids of the flagged examples, and the checksum of all examples of the split."""

    ids: frozenset[str]
    of: str


Flagged = Mapping[str, Mapping[str, FlaggedSplit]]  # task -> split


def read_flagged(path: Path) -> Flagged:
    """The flagged examples of an overlap.json, or of the folder that holds it; UserError where it is none."""
    path = path / "overlap.json" if path.is_dir() else path
    try:
        tasks = read_json(path, {"tasks": {"*": {"*": {"flagged": [str], "of": str}}}})["tasks"]
        return {
            task: {split: FlaggedSplit(frozenset(found["flagged"]), found["of"]) for split, found in splits.items()}
            for task, splits in tasks.items()
        }
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}; give the overlap.json of sctd overlap.") from error
    except ValueError as error:
        raise UserError(f"{path} is not what sctd overlap writes: give its overlap.json.") from error
