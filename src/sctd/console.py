"""What a person sees while work is under way: plain sentences and progress bars, all on standard error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@cache
def console() -> Console:
    """The one console; standard output stays free for results that a program may read."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print one line, as it is (what comes from data is never taken for markup)."""
    console().print(text, markup=False)


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
