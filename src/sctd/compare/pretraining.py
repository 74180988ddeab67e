"""The runs, one after the other, each a process of its own: compiled code and memory are one run's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from sctd.compare.plan import Run
from sctd.console import say
from sctd.errors import UserError
from sctd.files import disk_errors, write_text
from sctd.pretrain import WITHIN
from sctd.recipe import build_config, to_yaml


def _until_it_ends(command: list[str]) -> int:
    """Exit code of a process of its own session, which hears of Ctrl-C and SIGTERM through this one and saves itself.

    Raises KeyboardInterrupt once it has ended, where it was told to stop.
    """
    stopped = []
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, WITHIN: "compare"})

    def hand_on(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        process.send_signal(number)

    try:
        before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, which hears of signals alone
        return process.wait()
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped or status in (130, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    return status


def pretrain_all(folder: Path, runs: list[Run], data: str) -> None:
    """Pretrain what is not finished yet; a run that was stopped goes on from its checkpoint.

    Raises:
        UserError: a run that fails, which has said why on standard error.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run under way has saved itself.
    """
    for number, run in enumerate(runs, start=1):
        path = folder / run.folder
        if (path / "model" / "config.json").exists():
            continue
        say(f"Run {number} of {len(runs)}: {run.arm}, {run.steps:,} steps, seed {run.seed}.")
        command = [sys.executable, "-m", "sctd", "pretrain", "--data", data, "--out", str(path)]
        if any((path / "checkpoints").glob("step-*")):
            command.append("--resume")
        else:
            recipe = folder / "recipes" / f"{path.relative_to(folder / 'runs').as_posix().replace('/', ' ')}.yaml"
            with disk_errors(folder):
                recipe.parent.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
            write_text(recipe, to_yaml(build_config(dict(run.settings))))
            command += ["--config", str(recipe)]
        status = _until_it_ends(command)
        if status:
            raise UserError(
                f"The run {path} ended with exit code {status}; its reason stands above. The same command tries again."
            )
