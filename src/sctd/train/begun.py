"""Whether a run is begun or gone on with: from which checkpoint, with which settings, in which folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sctd.check import check
from sctd.config import PretrainConfig
from sctd.console import say
from sctd.errors import UserError
from sctd.files import ASIDE, disk_errors
from sctd.locks import BusyError, NoLocksError, locked
from sctd.recipe import build_config, to_yaml
from sctd.train.checkpoint import TrainState, checkpoints_folder, list_checkpoints, newest_checkpoint, read_state

# what a run that has no checkpoint yet may hold
WRITTEN_BEFORE_A_CHECKPOINT = {
    "config.yaml", "environment.json", "origin", "baselines.json", "metrics.jsonl", "tb", "wandb", "checkpoints",
    "heartbeat.json",
}  # fmt: skip
# what a resumed run may have otherwise than it was begun: the weights that it leads to are the same
FREE = ("parallel", "log", "checkpoint")
LOCK = ".lock"
PATIENCE = 60  # seconds that a run waits for another process, which may just be ending
SET_ASIDE = "set-aside"  # checkpoints of a way that the run did not go on


def newest(run: Path, resume: str) -> tuple[Path, TrainState]:
    """The checkpoint to go on from."""
    if resume == "auto":
        if not run.is_dir():
            raise UserError(f"{run} does not exist: there is no run to resume; start it without --resume.")
        folder, state, damaged = newest_checkpoint(run)
        for sentence in damaged:
            say(f"Passed over: {sentence}")
        return folder, state
    inside = checkpoints_folder(run) / resume
    folder = inside if inside.is_dir() else Path(resume)
    state = read_state(folder)
    if folder.resolve().parent != checkpoints_folder(run).resolve():
        raise UserError(f"{folder} is not a checkpoint of {run}: give the --out folder that it belongs to.")
    return folder, state


def resumed(run: Path, config: PretrainConfig, checkpoint: tuple[Path, TrainState]) -> PretrainConfig:
    """The settings of the run, which those that were given must be."""
    folder, state = checkpoint
    saved = build_config(state.config)
    usual = PretrainConfig()
    saved = replace(saved, **{name: _given(*(getattr(of, name) for of in (saved, config, usual))) for name in FREE})
    check(saved)
    difference = _first_difference(saved, config, usual)
    if difference:
        raise UserError(
            f"{run} was begun with other settings ({difference}): resume with --resume alone, or start a new run with "
            "another --out."
        )
    say(f"Going on from {folder.name} of {run}.")
    return saved


def _given(saved: Any, given: Any, usual: Any) -> Any:
    """What was saved, but for each setting in it that was given otherwise than by default."""
    if not hasattr(saved, "__dataclass_fields__"):
        return saved if given == usual else given
    names = [name for name, value in vars(given).items() if value != getattr(usual, name)]
    return replace(saved, **{name: getattr(given, name) for name in names})


def _first_difference(saved: Any, given: Any, default: Any, prefix: str = "") -> str | None:
    """'optimizer.lr was 0.001, is 0.002' for the first setting that was given and is not the run's, or null."""
    for name, value in vars(saved).items():
        other, usual = getattr(given, name), getattr(default, name)
        if hasattr(value, "__dataclass_fields__"):
            found = _first_difference(value, other, usual, f"{prefix}{name}.")
            if found:
                return found
        elif other not in (value, usual):
            return f"{prefix}{name} was {value}, is {other}"
    return None


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Nobody else trains this run meanwhile: RUN/.lock is held, which the system lets go however the process ends.

    Raises:
        UserError: another process has it, after some waiting.
    """
    with ExitStack() as held:
        for waited in range(PATIENCE + 1):
            try:
                held.enter_context(locked(run / LOCK))
                break
            except NoLocksError as error:
                say(f"{error} Nothing keeps a second process from training {run} now.")
                break
            except BusyError as error:
                if waited == PATIENCE:
                    raise UserError(
                        f"Another process trains {run}: wait for its end or stop it, and run the same command again."
                    ) from error
                if not waited:
                    say(f"Another process is at {run}; waiting up to {PATIENCE} s for its end.")
                time.sleep(1)
        try:
            yield
        finally:
            with suppress(OSError):
                (run / LOCK).unlink()
                run.rmdir()  # where nothing came of it


def refuse(run: Path, config: PretrainConfig) -> None:
    """Refuse a folder that holds something, but for a run of ours that ended before its first checkpoint."""
    if not run.exists():
        return
    if not run.is_dir():
        raise UserError(f"{run} exists already and is no run: give another --out.")
    names = {path.name for path in run.iterdir() if path.name != LOCK and not path.name.startswith(ASIDE)}
    begun = {"config.yaml", "environment.json"} <= names <= WRITTEN_BEFORE_A_CHECKPOINT
    if names == {"config.yaml"}:  # ended right after it was written, or somebody's own: the same text is no loss
        begun = (run / "config.yaml").read_bytes() == to_yaml(config).encode()
    if names and (not begun or any(checkpoints_folder(run).glob("step-*"))):
        if "config.yaml" not in names:
            raise UserError(f"{run} exists already and is no run: give another --out.")
        raise UserError(f"{run} exists already: add --resume to go on with it, or give another --out.")


def clear(run: Path) -> None:
    """Remove all that is in a run's folder but its lock."""
    with disk_errors(run):
        for path in run.iterdir() if run.exists() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def set_aside(run: Path, step: int) -> None:
    """Move checkpoints that are newer than the one the run goes on from out of the way, and remove unfinished ones."""
    with disk_errors(run):
        for newer in [folder for folder in list_checkpoints(run) if int(folder.name[5:]) > step]:
            place = run / SET_ASIDE / newer.name
            place.parent.mkdir(exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            newer.rename(place)
            say(f"{newer.name} is newer, and is set aside: {place}.")
    for unfinished in checkpoints_folder(run).glob(f"{ASIDE}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
