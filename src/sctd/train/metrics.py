"""A run's record: metrics.jsonl, what shows it meanwhile, and means over the steps between two lines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from sctd.errors import UserError
from sctd.files import disk_errors, write_text
from sctd.json_text import MAYBE_NUMBER, differs, parse_json
from sctd.train.trackers import Trackers

METRICS = "metrics.jsonl"
LINE = {"step": int, "drift?": {"*": [MAYBE_NUMBER]}, "warning?": str, "*": MAYBE_NUMBER}


class Averages:
    """Means over the steps since the last line; stays on the device until it is read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor | None]) -> None:
        """Add one step's scalars; null ones were not measured in that step."""
        for name, value in values.items():
            if value is not None:
                self._sums[name] = self._sums[name] + value if name in self._sums else value.detach().clone()
                self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means


class RunLog:
    """metrics.jsonl (one JSON object a line), and the trackers, if any.

    Opened for a resumed run, it drops the lines after the checkpoint's step: those steps come again.
    """

    def __init__(self, run: Path | None, after_step: int, trackers: Trackers | None = None) -> None:
        self.path = None if run is None else run / METRICS  # null: another process writes
        if self.path is not None and self.path.exists():
            assert run is not None
            lines = [line for line in read_metrics(run) if line["step"] <= after_step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._trackers = trackers
        self.failed: UserError | None = None

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; where that cannot be, `failed` says why, and the run is to be saved first."""
        if self.path is None:
            return
        clean = without_nan(line)
        try:
            with disk_errors(self.path.parent), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(clean) + "\n")
        except UserError as error:
            self.failed = error
        if self._trackers is not None:
            self._trackers.write(clean)

    def check(self) -> None:
        """Raise what a line could not be written for."""
        if self.failed is not None:
            raise self.failed

    def close(self) -> None:
        """Flush what the trackers still hold."""
        if self._trackers is not None:
            self._trackers.close()


def without_nan(value: Any) -> Any:
    """The same with null for every number that is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(run: Path | str) -> list[dict[str, Any]]:
    """The lines of RUN/metrics.jsonl; what is none, such as a last one cut short by a kill, is left out."""
    path = Path(run) / METRICS
    lines = []
    if path.exists():
        for text in path.read_bytes().splitlines():
            try:
                line = parse_json(text)
            except ValueError:
                continue
            if differs(line, LINE) is None:
                lines.append(line)
    return lines
