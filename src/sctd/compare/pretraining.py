"""The runs, one after the other, each a process of its own: compiled code and memory are one run's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from sctd.compare.plan import Run
from sctd.console import say
from sctd.errors import UserError
from sctd.files import disk_errors, write_text
from sctd.recipe import build_config, to_yaml


def _until_it_ends(command: list[str]) -> int:
    """Exit code of a process; SIGTERM and Ctrl-C are handed on to it, and it is given the time to save itself."""
    process = subprocess.Popen(command)

    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    try:
        before = signal.signal(signal.SIGTERM, hand_on)
    except ValueError:  # not in the main thread
        return process.wait()
    try:
        return process.wait()
    except KeyboardInterrupt:  # from the terminal, which has told the process too
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def pretrain_all(folder: Path, runs: list[Run], data: str) -> None:
    """Pretrain what is not finished yet; a run that was stopped goes on from its checkpoint.

    Raises:
        UserError: a run that fails, which has said why on standard error.
        KeyboardInterrupt: Ctrl-C; the run under way has saved itself.
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
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise UserError(
                f"The run {path} ended with exit code {status}; its reason stands above. The same command tries again."
            )
