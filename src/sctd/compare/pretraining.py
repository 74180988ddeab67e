"""The runs, each a process of its own: compiled code and memory are one run's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from sctd.compare.plan import Run
from sctd.console import say
from sctd.errors import UserError
from sctd.files import disk_errors, write_text
from sctd.pretrain import WITHIN
from sctd.recipe import build_config, to_yaml
from sctd.train.pulse import read_heartbeat

POLL = 0.1  # seconds
STOPPED = (130, -signal.SIGINT, -signal.SIGTERM)


def pretrain_all(folder: Path, runs: list[Run], data: str, jobs: int = 1) -> None:
    """Pretrain what is not finished yet; a run that was stopped goes on from its checkpoint.

    Args:
        folder: of the comparison.
        runs: all of them.
        data: the data folder.
        jobs: how many at once; if several, what they say goes to logs/ in the folder.

    Raises:
        UserError: a run that fails; what else was under way has saved itself.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was under way has saved itself.
    """
    left = [(number, run) for number, run in enumerate(runs, start=1) if not _finished(folder / run.folder, run)]
    under_way = UnderWay()
    failed: tuple[Path, Path | None, int] | None = None
    with under_way.until_they_end():
        while under_way.runs or (left and not under_way.told):
            if left and len(under_way.runs) < jobs and not under_way.told:
                number, run = left.pop(0)
                say(f"Run {number} of {len(runs)}: {run.arm}, {run.steps:,} steps, seed {run.seed}.")
                log = folder / "logs" / f"{_name(run)}.log" if jobs > 1 else None
                under_way.start(_command(folder, run, data), folder / run.folder, log)
                continue
            time.sleep(POLL)
            for path, log, status in under_way.ended():
                if status in STOPPED:
                    under_way.stopped = True
                elif status and failed is None:
                    failed = (path, log, status)
                if status:
                    under_way.stop()
    if failed is not None:
        path, log, status = failed
        reason = "its reason stands above" if log is None else f"its reason stands in {log}"
        raise UserError(f"The run {path} ended with exit code {status}; {reason}. The same command tries again.")
    if under_way.stopped:
        raise KeyboardInterrupt


class UnderWay:
    """Runs, each a process of a session of its own, which hears of signals through this one alone, and once.

    A second signal would end a run that is saving itself.
    """

    def __init__(self) -> None:
        self.runs: dict[subprocess.Popen[bytes], tuple[Path, Path | None]] = {}
        self.told = False  # to stop
        self.stopped = False  # by a signal

    def start(self, command: list[str], path: Path, log: Path | None) -> None:
        """Start one; what it says goes to the log, if there is one."""
        with ExitStack() as stack:
            output: IO[str] | None = None
            if log is not None:
                with disk_errors(log.parent):
                    log.parent.mkdir(parents=True, exist_ok=True)
                    output = stack.enter_context(log.open("a", encoding="utf-8"))
            environment = {**os.environ, WITHIN: "compare"}
            process = subprocess.Popen(command, start_new_session=True, env=environment, stdout=output, stderr=output)
        self.runs[process] = (path, log)
        if self.told:  # by a signal that came while it was being started
            process.send_signal(signal.SIGTERM)

    def ended(self) -> Iterator[tuple[Path, Path | None, int]]:
        """(folder, log, exit code) of those that have ended since."""
        for process in [each for each in self.runs if each.poll() is not None]:
            yield *self.runs.pop(process), process.returncode

    def stop(self) -> None:
        """Tell all to save themselves and end."""
        if not self.told:
            self.told = True
            for process in list(self.runs):
                process.send_signal(signal.SIGTERM)

    @contextmanager
    def until_they_end(self) -> Iterator[None]:
        """Signals are handed on; whatever ends the block, the runs are told and waited for."""

        def hear(number: int, frame: FrameType | None) -> None:
            self.stopped = True
            self.stop()

        before = {}
        try:
            for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # not on Windows
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    before[number] = signal.signal(number, hear)
        except ValueError:  # not in the main thread, which hears of signals alone
            pass
        try:
            yield
        finally:
            self.stop()
            for process in self.runs:
                process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)


def _finished(path: Path, run: Run) -> bool:
    """Whether it has all of its steps; a model may be there before, exported from the middle."""
    beat = read_heartbeat(path)
    return beat is not None and beat["phase"] == "finished" and beat["step"] == run.steps


def _name(run: Run) -> str:
    return run.folder.removeprefix("runs/").replace("/", " ")


def _command(folder: Path, run: Run, data: str) -> list[str]:
    """Begins the run, or goes on with it; its recipe is written."""
    path = folder / run.folder
    # which of both, the run itself decides, when it has its folder to itself
    command = [sys.executable, "-m", "sctd", "pretrain", "--data", data, "--out", str(path), "--resume", "if-begun"]
    recipe = folder / "recipes" / f"{_name(run)}.yaml"
    with disk_errors(folder):
        recipe.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(recipe, to_yaml(build_config(dict(run.settings))))
    return [*command, "--config", str(recipe)]
