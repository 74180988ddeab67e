"""Where a run's figures are shown while it trains: TensorBoard, Weights & Biases, Trackio; one table entry each.

metrics.jsonl is the record; a tracker that fails is named once and left, and training goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sctd.config import LogConfig
from sctd.console import say
from sctd.errors import first_line
from sctd.extras import check_installed

ENVIRONMENT = "environment.json"  # says when the run was begun


class Tracker(Protocol):
    """What takes scalars by name."""

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Take the figures of one step."""

    def close(self) -> None:
        """The run ends here, for now."""


class TensorBoard:
    """RUN/tb, for `tensorboard --logdir RUN/tb`."""

    def __init__(self, run: Path, project: str, config: Mapping[str, Any], after_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board: Any = SummaryWriter(str(run / "tb"), purge_step=after_step + 1)

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._board.close()


class WandB:
    """Weights & Biases, by wandb's own environment variables (WANDB_MODE=offline writes below RUN/wandb alone)."""

    def __init__(self, run: Path, project: str, config: Mapping[str, Any], after_step: int) -> None:
        import wandb  # type: ignore[import-not-found]

        # the same run when it is resumed, and another one when the folder is used anew
        begun = (run / ENVIRONMENT).read_bytes() if (run / ENVIRONMENT).exists() else b""
        name = hashlib.sha256(str(run.resolve()).encode() + begun).hexdigest()[:16]
        self._run: Any = wandb.init(
            project=project, name=run.as_posix(), id=name, resume="allow", dir=str(run), config=dict(config)
        )

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio, on this machine, for `trackio show --project PROJECT`."""

    def __init__(self, run: Path, project: str, config: Mapping[str, Any], after_step: int) -> None:
        import trackio  # type: ignore[import-not-found]

        self._run: Any = trackio.init(
            project=project, name=run.as_posix(), resume="allow", config=dict(config), embed=False
        )

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


Opener = Callable[[Path, str, Mapping[str, Any], int], Tracker]

# a setting of LogConfig -> what opens it: run, project, the run's settings, the last step that is kept
TRACKERS: dict[str, Opener] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}


def check_trackers(log: LogConfig) -> None:
    """Raise UserError for a wanted tracker that is not installed."""
    for name in TRACKERS:
        if getattr(log, name):
            check_installed(name, extra=name)


class Trackers:
    """All that the settings ask for.

    Args:
        run: the run's folder.
        log: which.
        config: the run's settings, to be shown beside its figures.
        after_step: of a resumed run, the step that it goes on from; 0 for a new one.
    """

    def __init__(self, run: Path, log: LogConfig, config: Mapping[str, Any], after_step: int) -> None:
        self._open: dict[str, Tracker] = {}
        for name, opener in TRACKERS.items():
            wanted = getattr(log, name)
            if wanted:
                with _Named(self, name):
                    self._open[name] = opener(run, str(wanted), config, after_step)

    def write(self, line: Mapping[str, Any]) -> None:
        """Take a line of metrics.jsonl; its numbers are scalars under their names, drift's by layer."""
        scalars = {}
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                scalars[f"{'eval' if name.startswith('eval_') else 'train'}/{name}"] = value
        for measure, figures in line.get("drift", {}).items():
            for layer, value in enumerate(figures):
                if value is not None:
                    scalars[f"drift/{measure}_layer_{layer}"] = value
        for name, tracker in list(self._open.items()):
            with _Named(self, name):
                tracker.write(scalars, line["step"])

    def close(self) -> None:
        """End all."""
        for name, tracker in list(self._open.items()):
            with _Named(self, name):
                tracker.close()

    def leave(self, name: str, error: Exception) -> None:
        """Say why, and ask that one no more."""
        self._open.pop(name, None)
        say(f"log.{name} failed ({first_line(error)}); training goes on without it.")


class _Named:
    """Whatever a tracker raises, its name is said and training goes on."""

    def __init__(self, trackers: Trackers, name: str) -> None:
        self._trackers, self._name = trackers, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._trackers.leave(self._name, error)
            return True
        return False
