"""A run's checkpoints, written while training goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from sctd.config import CheckpointConfig
from sctd.train.checkpoint import Tensors, TrainState, save_checkpoint
from sctd.train.processes import Processes


class Saver:
    """Writes one checkpoint at a time; to be used in a `with` block, at whose end the last one is whole.

    What could not be written is raised, in every process, by the call that follows.

    Args:
        run: the run's folder.
        settings: which checkpoints are kept, and whether training waits for them.
        processes: of which the first one writes.
        sent: what else is done with a checkpoint that is whole.
    """

    def __init__(
        self,
        run: Path,
        settings: CheckpointConfig,
        processes: Processes,
        sent: Callable[[Path], None] | None = None,
    ) -> None:
        self.run = run
        self.settings = settings
        self.processes = processes
        self.sent = sent
        # one thread: hashing and writing let go of Python's lock
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[Path] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.shutdown(wait=True)

    @property
    def failed(self) -> bool:
        """The checkpoint that was being written could not be, in this process."""
        pending = self._pending
        return pending is not None and pending.done() and pending.exception() is not None

    def save(self, state: TrainState, tensors: Tensors) -> None:
        """Begin to write RUN/checkpoints/step-N, after the one before it; every process must call.

        Args:
            state: copied here, so that training may go on with it.
            tensors: on the host, and no longer written to by anybody.
        """
        self.finish()
        if self.processes.first:
            self._pending = self._writer.submit(self._write, copy.deepcopy(state), tensors)
        if not self.settings.background:
            self.finish()

    def _write(self, state: TrainState, tensors: Tensors) -> Path:
        place = save_checkpoint(self.run, state, tensors, self.settings)
        if self.sent is not None:
            self.sent(place)
        return place

    def finish(self) -> None:
        """Wait until what was begun is whole; every process must call. Raises UserError where it could not be."""
        pending, self._pending = self._pending, None
        self.processes.on_first(lambda: pending and pending.result())
