"""Ctrl-C and SIGTERM: a run ends after the step under way, saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: the run is saved; the message says how to resume."""


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        insist: a second signal ends the process at once. Not among many processes, which get one from the terminal and
            one from torchrun.
    """

    def __init__(self, insist: bool) -> None:
        self.insist = insist
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear of the signals; outside of the main thread, which alone can, the caller's own handlers stay."""
        before: dict[int, object] = {}

        def ask(number: int, frame: FrameType | None) -> None:
            self.asked = True
            if self.insist:
                restore()

        def restore() -> None:
            for each, handler in before.items():
                signal.signal(each, handler)  # type: ignore[arg-type]

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, ask)
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            restore()
