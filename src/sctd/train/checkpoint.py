"""Checkpoints: whole or absent, checksummed, and with everything that a resumed run needs. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sctd.config import CheckpointConfig
from sctd.errors import UserError, first_line
from sctd.files import ASIDE, disk_errors, flush_to_disk, sha256_file, whole_folder, write_json
from sctd.json_text import MAYBE_NUMBER, NUMBER, differs, read_json
from sctd.model.attention import ATTENTION
from sctd.train.parallel import spread_like, whole_tensor

FORMAT = 1
STATE = "state.json"


@dataclass
class TrainState:
    """What a run is, beside its tensors.

    Args:
        global_step: optimizer steps done.
        tokens: input tokens seen, dropped ones included.
        seconds: training time, without evaluation, checkpoints and start-up.
        config: every setting, resolved.
        choices: what was chosen by rule or by measurement (steps, micro-batch, attention, precision, device).
        data: fingerprint of the data folder's manifest.
        scaler: state of the fp16 loss scaling.
        skipped: steps that were left out, because their gradients were not finite.
        eval_loss: held-out loss of the full network at this step, in nats; null where it was not evaluated.
    """

    global_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    scaler: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0
    eval_loss: float | None = None


def checkpoints_folder(run: Path) -> Path:
    """RUN/checkpoints."""
    return run / "checkpoints"


def list_checkpoints(run: Path) -> list[Path]:
    """Folders RUN/checkpoints/step-N, the newest first; half-written ones never bear that name."""
    folder = checkpoints_folder(run)
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


FILES = ("model.safetensors", "method.safetensors", "optimizer.safetensors")
FORM: dict[str, Any] = {
    **dict.fromkeys(("global_step", "tokens", "skipped"), int),
    **{"seconds": NUMBER, "eval_loss": MAYBE_NUMBER, "config": dict, "data": str},
    "choices": {
        **{"steps": int, "micro": (int, type(None)), "device": str},
        **{"precision": {"fp32", "bf16", "fp16"}, "attention": {*ATTENTION}},
    },
    "scaler": {"*": NUMBER},
    "files": dict.fromkeys(FILES, str),
}

# the three files of tensors, by name
Tensors = dict[str, dict[str, Tensor]]


@torch.no_grad()
def gather(model: nn.Module, method: nn.Module | None, optimizers: list[torch.optim.Optimizer]) -> Tensors:
    """A copy of what a checkpoint holds, on the host and whole, however the model is spread; every process must ask.

    The optimizers' state stands under the parameter's name: 'exp_avg/layers.0.query.weight', ...
    """
    states = {
        f"{key}/{name}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    tensors = {
        "model": model.state_dict(),
        "method": {} if method is None else method.state_dict(),
        "optimizer": states,
    }
    return {
        kind: {name: whole_tensor(tensor.detach()).contiguous().to("cpu", copy=True) for name, tensor in each.items()}
        for kind, each in tensors.items()
    }


def save_checkpoint(run: Path, state: TrainState, tensors: Tensors, keep: CheckpointConfig) -> Path:
    """Write RUN/checkpoints/step-N whole, then remove those that are not to be kept.

    Raises:
        UserError: there is no room for it; the checkpoints before it are as they were.
    """
    place = checkpoints_folder(run) / f"step-{state.global_step}"
    _check_room(checkpoints_folder(run), sum(tensor.nbytes for each in tensors.values() for tensor in each.values()))
    with whole_folder(place) as folder:
        for kind, each in tensors.items():
            _save(each, folder / f"{kind}.safetensors")
        checksums = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
        content = {"format": FORMAT, **asdict(state), "files": checksums}
        write_json(folder / STATE, {**content, "checksum": _checksum(content)})
    # after a resumption from an older step there may be newer ones, which `keep` would count first
    for old in set(list_checkpoints(run)) - kept_checkpoints(run, keep) - {place}:
        gone = old.with_name(f"{ASIDE}{old.name}")  # a kill in the middle must not leave half of one under its name
        with suppress(OSError):  # it is tried again after the next checkpoint
            old.rename(gone)
            shutil.rmtree(gone)
    return place


def kept_checkpoints(run: Path, keep: CheckpointConfig) -> set[Path]:
    """Of the checkpoints that are there, those that the settings keep."""
    every = list_checkpoints(run)
    kept = set(every[: keep.keep])
    if keep.keep_every is not None:
        kept |= {folder for folder in every if int(folder.name[5:]) % keep.keep_every == 0}
    if keep.keep_best:
        losses = {folder: loss for folder in every if (loss := _eval_loss(folder)) is not None}
        kept |= {min(losses, key=lambda folder: losses[folder])} if losses else set()
    return kept


def _eval_loss(folder: Path) -> float | None:
    """What state.json says; null where it is damaged, which is said when the checkpoint is asked for."""
    try:
        loss = read_json(folder / STATE, {"eval_loss?": MAYBE_NUMBER}).get("eval_loss")
    except (OSError, ValueError):
        return None
    return None if loss is None else float(loss)


def _check_room(place: Path, needed: int) -> None:
    """UserError where the disk has not enough room, before anything is written."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free, before = shutil.disk_usage(there).free, any(place.glob("step-*"))
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 1e6:,.1f} MB and the disk has {free / 1e6:,.1f} MB free at {place}: free "
            "some room, or set a smaller checkpoint.keep, and "
            + ("go on with --resume; the checkpoints before it are whole." if before else "run the same command again.")
        )


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    with disk_errors(path.parent.parent):
        save_file(tensors, path)
        flush_to_disk(path)


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 of state.json's content, whatever its layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_state(folder: Path) -> TrainState:
    """state.json of a checkpoint, after comparing every file's checksum; UserError that names what is damaged."""
    if not (folder / STATE).is_file():
        raise UserError(f"{folder} is not a checkpoint: give a folder RUN/checkpoints/step-N, or --resume alone.")
    try:
        content = read_json(folder / STATE, {"checksum": str})
        if content.pop("checksum") != _checksum(content):
            raise ValueError
        if content.pop("format", None) != FORMAT:
            raise UserError(f"{folder} was written by another version of sctd; resume it with that version.")
        if differs(content, FORM) is not None:
            raise ValueError
        files = {name: content["files"][name] for name in FILES}
        del content["files"]
        state = TrainState(**content)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / STATE} is damaged ({type(error).__name__}): remove the folder {folder.name} and resume "
            "from the checkpoint before it."
        ) from error
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != checksum:
            raise UserError(
                f"{path} is {'damaged' if path.is_file() else 'missing'}: remove the folder {folder.name} and "
                "resume from the checkpoint before it."
            )
    return state


def newest_checkpoint(run: Path) -> tuple[Path, TrainState, list[str]]:
    """(folder, state, sentences about damaged ones that were passed over) of the newest whole checkpoint.

    Raises UserError where there is none.
    """
    damaged: list[str] = []
    for folder in list_checkpoints(run):
        try:
            return folder, read_state(folder), damaged
        except UserError as error:
            damaged.append(str(error).partition(": ")[0])  # the way out that it names is the one that is gone here
    detail = f" ({'; '.join(damaged)})" if damaged else ""
    raise UserError(f"{run} has no whole checkpoint to go on from{detail}; start a new run with another --out.")


def load_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint's file; UserError where it cannot be read."""
    try:
        return load_file(folder / name)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / name} cannot be read ({error}); remove the folder {folder.name}.") from error


def _other_model(folder: Path, cause: str) -> UserError:
    return UserError(
        f"{folder} holds tensors of another model than its settings mean ({cause}): remove the folder {folder.name} "
        "and resume from the checkpoint before it."
    )


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """torch says that names or shapes differ by a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise _other_model(folder, first_line(error)) from error


def load_checkpoint(
    folder: Path, model: nn.Module, method: nn.Module | None, optimizers: list[torch.optim.Optimizer]
) -> None:
    """Copy a checkpoint's tensors into a model, a keep rule and optimizers that were built from its config."""
    saved = load_tensors(folder, "model.safetensors")
    named = dict(model.named_parameters())
    with fitting(folder):
        parts = {name: spread_like(saved[name], own) for name, own in model.state_dict().items() if name in saved}
        model.load_state_dict({**saved, **parts})
        if method is not None:
            method.load_state_dict(load_tensors(folder, "method.safetensors"))
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in load_tensors(folder, "optimizer.safetensors").items():
        kind, _, name = key.partition("/")
        if name not in named:
            raise _other_model(folder, f"{key} is of no parameter")
        entries.setdefault(name, {})[kind] = value
    for optimizer in optimizers:
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, state in entries.items():
            if id(named[name]) in own:
                like = named[name]
                # fused AdamW wants its step counter on the parameter's device
                optimizer.state[like] = {
                    kind: spread_like(value, like) if value.shape == like.shape else value.to(like.device)
                    for kind, value in state.items()
                }
