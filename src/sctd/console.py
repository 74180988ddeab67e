"""What a person sees: while work is under way, sentences and bars on standard error; tables on standard output."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from sctd.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text


@cache
def console() -> Console:
    """The one console; standard output stays free for results that a program may read."""
    from rich.console import Console

    # of several processes that torchrun started, the first one says it
    quiet = os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ
    return Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)


def say(text: str) -> None:
    """Print one line, as it is (what comes from data is never taken for markup, nor does it steer the terminal)."""
    console().print(printable(text), markup=False, emoji=False)


def as_text(text: str) -> Text:
    """A table's cell or title, as it is, likewise."""
    from rich.text import Text

    return Text(printable(text))


def show(table: Table) -> None:
    """Print a table to standard output. On a screen that is too narrow its lines break, and no figure is cut."""
    from rich.console import Console
    from rich.measure import Measurement

    wide = Console(width=10_000)
    Console(width=max(Console().width, Measurement.get(wide, wide.options, table).maximum)).print(table)


def show_line(text: str) -> None:
    """Print a sentence that belongs to a table below it."""
    from rich.console import Console

    Console().print(as_text(text), soft_wrap=True)


def progress_bar() -> Progress:
    """A bar with rate and time left: `task = bar.add_task("words", total=n, note="")`, then
    `bar.update(task, advance=k, note="3.1 MB/s")`. The caller states the rate in its own unit in `note`.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=console(),
        speed_estimate_period=30,
    )


class Counter:
    """A line of a progress bar that counts, with its rate: call it with the number of things that were done.

    Args:
        bar: from `progress_bar`.
        name: what stands left of the line.
        unit: what is counted, in the plural.
        total: how many there are, or null while that is not known.
    """

    def __init__(self, bar: Progress, name: str, unit: str, total: int | None = None) -> None:
        self.bar, self.unit, self.done = bar, unit, 0
        self.line: TaskID = bar.add_task(name, total=total, note="")
        self.begin = bar.get_time()

    def __call__(self, done: int) -> None:
        self.done += done
        rate = self.done / max(self.bar.get_time() - self.begin, 1e-9)
        self.bar.update(self.line, advance=done, note=f"{rate:,.0f} {self.unit}/s")

    def set_total(self, total: int) -> None:
        """Say how many there are."""
        self.bar.update(self.line, total=total)
