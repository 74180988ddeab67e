"""Whether a run is begun or gone on with: from which checkpoint, with which settings, in which folder."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from operator import attrgetter
from pathlib import Path

from sctd.check import check
from sctd.config import PretrainConfig, given_names
from sctd.console import say
from sctd.errors import UserError
from sctd.files import ASIDE, disk_errors
from sctd.locks import LOCK, alone
from sctd.recipe import SETTINGS, build_config, to_yaml
from sctd.train.checkpoint import TrainState, checkpoints_folder, list_checkpoints, newest_checkpoint, read_state
from sctd.train.pulse import read_heartbeat
from sctd.yaml_text import as_written

# what a run that has no checkpoint yet may hold
WRITTEN_BEFORE_A_CHECKPOINT = {
    "config.yaml", "environment.json", "origin", "baselines.json", "metrics.jsonl", "tb", "wandb", "checkpoints",
    "heartbeat.json",
}  # fmt: skip
# what a resumed run may have otherwise than it was begun: the weights that it leads to are the same
FREE = ("parallel", "log", "checkpoint")
PATIENCE = 180  # seconds that a run waits for another process: one may just be ending, and NFS lets go after 90
SET_ASIDE = "set-aside"  # checkpoints of a way that the run did not go on


def newest(run: Path, resume: str) -> tuple[Path, TrainState]:
    """The checkpoint to go on from."""
    if resume == "auto":
        if not run.is_dir():
            raise UserError(f"{run} does not exist: there is no run to resume; start it without --resume.")
        folder, state, damaged = newest_checkpoint(run)
        for sentence in damaged:
            say(f"Passed over: {sentence}.")
        return folder, state
    inside = checkpoints_folder(run) / resume
    folder = inside if inside.is_dir() else Path(resume)
    state = read_state(folder)
    if folder.resolve().parent != checkpoints_folder(run).resolve():
        raise UserError(f"{folder} is not a checkpoint of {run}: give the --out folder that it belongs to.")
    return folder, state


def resumed(run: Path, config: PretrainConfig, checkpoint: tuple[Path, TrainState]) -> PretrainConfig:
    """The settings of the run, which those that were given must be, but for those that are FREE."""
    folder, state = checkpoint
    saved = build_config(state.config)
    names = given_or_changed(config)
    free = {name for name in names if name.partition(".")[0] in FREE}
    for name in sorted(names - free):
        was, now = attrgetter(name)(saved), attrgetter(name)(config)
        if was != now:
            raise UserError(
                f"{run} was begun with other settings ({name} was {as_written(was)}, is {as_written(now)}): resume "
                "with --resume alone, or start a new run with another --out, from this one's model, if wanted, by "
                f"--config continue --init-from {run}."
            )
    for name in free:
        section, _, key = name.rpartition(".")
        setattr(getattr(saved, section) if section else saved, key, attrgetter(name)(config))
    check(saved)
    say(f"Going on from {folder.name} of {run}.")
    return saved


def given_or_changed(config: PretrainConfig) -> frozenset[str]:
    """Dotted names of the settings that were given, and of those that are not as by default."""
    usual = PretrainConfig()
    changed = (name for name in SETTINGS if attrgetter(name)(config) != attrgetter(name)(usual))
    return given_names(config) | frozenset(changed)


def training_alone(run: Path) -> AbstractContextManager[None]:
    """Nobody else trains this run meanwhile; UserError where another process has it, after some waiting."""

    def busy() -> str:
        return (
            f"Another process trains {run}{_who(run)}: wait for its end or stop it, and run the same command again; "
            f"where it is gone with its machine, remove {run / LOCK}."
        )

    return alone(run, busy, PATIENCE)


def _who(run: Path) -> str:
    """` (process 12 on host)`, where its heartbeat says so."""
    beat = read_heartbeat(run) or {}
    return f" (process {beat['pid']} on {beat['host']})" if {"pid", "host"} <= beat.keys() else ""


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
    if begun and (read_heartbeat(run) or {}).get("phase") == "finished":
        raise UserError(
            f"{run} holds the record of a finished run, whose checkpoints are gone: give another --out, or remove it."
        )
    if names and (not begun or any(checkpoints_folder(run).glob("step-*"))):
        if "config.yaml" not in names:
            raise UserError(f"{run} exists already and is no run: give another --out.")
        raise UserError(f"{run} exists already: add --resume to go on with it, or give another --out.")


def clear(run: Path) -> None:
    """Remove all that is in a run's folder but its lock."""
    with disk_errors(run):
        # what says that this is a run of ours goes last: after a kill the same command still begins it anew
        last = ["environment.json", "config.yaml"]
        listed = sorted(
            run.iterdir() if run.exists() else (), key=lambda path: (path.name in last, path.name != last[0])
        )
        for path in listed:
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
    for unfinished in [*checkpoints_folder(run).glob(f"{ASIDE}*"), *run.glob(f"{ASIDE}*")]:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
