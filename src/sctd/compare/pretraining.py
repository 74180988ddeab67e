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

POLL = 0.1  # seconds


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
    left = [
        (number, run)
        for number, run in enumerate(runs, start=1)
        if not (folder / run.folder / "model" / "config.json").exists()
    ]
    under_way: dict[subprocess.Popen[bytes], tuple[Path, Path | None]] = {}
    failed: tuple[Path, Path | None, int] | None = None
    with _signals_handed_on(under_way) as stopped:
        while under_way or (left and not stopped and failed is None):
            if left and len(under_way) < jobs and not stopped and failed is None:
                number, run = left.pop(0)
                say(f"Run {number} of {len(runs)}: {run.arm}, {run.steps:,} steps, seed {run.seed}.")
                log = folder / "logs" / f"{_name(run)}.log" if jobs > 1 else None
                under_way[_start(_command(folder, run, data), log)] = (folder / run.folder, log)
                continue
            time.sleep(POLL)
            for process in [each for each in under_way if each.poll() is not None]:
                path, log = under_way.pop(process)
                if process.returncode in (130, -signal.SIGINT, -signal.SIGTERM):
                    stopped.append(process.returncode)
                elif process.returncode and failed is None:
                    failed = (path, log, process.returncode)
                if process.returncode:
                    for other in under_way:
                        other.send_signal(signal.SIGTERM)
    if failed is not None:
        path, log, status = failed
        reason = "its reason stands above" if log is None else f"its reason stands in {log}"
        raise UserError(f"The run {path} ended with exit code {status}; {reason}. The same command tries again.")
    if stopped:
        raise KeyboardInterrupt


def _name(run: Run) -> str:
    return run.folder.removeprefix("runs/").replace("/", " ")


def _command(folder: Path, run: Run, data: str) -> list[str]:
    """Begins the run, or goes on with it; its recipe is written."""
    path = folder / run.folder
    command = [sys.executable, "-m", "sctd", "pretrain", "--data", data, "--out", str(path)]
    if any((path / "checkpoints").glob("step-*")):
        return [*command, "--resume"]
    recipe = folder / "recipes" / f"{_name(run)}.yaml"
    with disk_errors(folder):
        recipe.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(recipe, to_yaml(build_config(dict(run.settings))))
    return [*command, "--config", str(recipe)]


def _start(command: list[str], log: Path | None) -> subprocess.Popen[bytes]:
    """A process of its own session, which hears of Ctrl-C and SIGTERM through this one and saves itself."""
    with ExitStack() as stack:
        output: IO[str] | None = None
        if log is not None:
            with disk_errors(log.parent):
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(log.open("a", encoding="utf-8"))
        environment = {**os.environ, WITHIN: "compare"}
        return subprocess.Popen(command, start_new_session=True, env=environment, stdout=output, stderr=output)


@contextmanager
def _signals_handed_on(under_way: dict[subprocess.Popen[bytes], tuple[Path, Path | None]]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM go to what is under way; they are in the list that this gives."""
    stopped: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        for process in list(under_way):
            process.send_signal(number)

    try:
        before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, which hears of signals alone
        before = {}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
