"""Whether a run is begun or gone on with: from which checkpoint, with which settings, in which folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sctd.check import check
from sctd.config import PretrainConfig
from sctd.console import say
from sctd.errors import UserError
from sctd.recipe import build_config
from sctd.train.checkpoint import TrainState, checkpoints_folder, newest_checkpoint, read_state

# what a run that has no checkpoint yet may hold
WRITTEN_BEFORE_A_CHECKPOINT = {
    "config.yaml", "environment.json", "origin", "baselines.json", "metrics.jsonl", "tb", "wandb", "checkpoints",
    "heartbeat.json",
}  # fmt: skip
# what a resumed run may have otherwise than it was begun: the weights that it leads to are the same
FREE = ("parallel", "log", "checkpoint")


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
    kept = {name: getattr(config, name) for name in FREE if getattr(config, name) != getattr(usual, name)}
    saved = replace(saved, **kept)
    check(saved)
    difference = _first_difference(saved, config, usual)
    if difference:
        raise UserError(
            f"{run} was begun with other settings ({difference}): resume with --resume alone, or start a new run with "
            "another --out."
        )
    say(f"Going on from {folder.name} of {run}.")
    return saved


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


def refuse_or_clear(run: Path) -> None:
    """Refuse a folder that holds something; clear a run of ours that ended before its first checkpoint."""
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    names = {path.name for path in run.iterdir()} if run.is_dir() else set()
    begun = {"config.yaml", "environment.json"} <= names <= WRITTEN_BEFORE_A_CHECKPOINT
    if not begun or any((run / "checkpoints").glob("step-*")):
        if "config.yaml" not in names:
            raise UserError(f"{run} exists already and is no run: give another --out.")
        raise UserError(f"{run} exists already: add --resume to go on with it, or give another --out.")
    shutil.rmtree(run)
