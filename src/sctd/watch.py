"""The verb `watch`: running and finished runs at a glance, from what they write themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError
from sctd.json_text import read_json

if TYPE_CHECKING:
    from rich.table import Table

ENDS = ("stopped", "failed")  # phases after which nothing more is heard
SILENT = 120.0  # seconds without a new line, and four times its usual distance, after which a run counts as silent
STEADY = 5  # lines that the rate is taken over


@dataclass(frozen=True)
class Look:
    """A run as it stands.

    Args:
        name: its folder.
        method: dense, drop or sctd.
        step: the last one logged, or told by the heartbeat.
        steps: how many there will be; null where the run has not said it yet.
        loss: training loss, mean since the line before.
        eval_loss: held-out loss of the full network, the newest.
        eval_loss_dropped: with dropping.
        tokens_per_second: by the last line.
        seconds_left: of training, at the rate of the last lines.
        state: finished, running, evaluating, saving, probing, stopped, failed, silent, or not begun.
        warning: the newest warning of the run.
    """

    name: str
    method: str
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    eval_loss_dropped: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    state: str = "not begun"
    warning: str | None = None


def watch(runs: list[str], once: bool = False, every: float = 2.0) -> None:
    """Show running and finished runs, and follow them until Ctrl-C.

    Args:
        runs: folders of runs, or folders with runs somewhere below, such as a comparison's.
        once: show them as they stand, and end; also where standard output is no terminal.
        every: seconds between two looks.

    Raises:
        UserError: a folder without runs.
    """
    import sys

    if not every > 0:
        raise UserError(f"--every is {every}; it must be above 0.")
    from sctd.console import show

    find(runs)
    if once or not sys.stdout.isatty():
        show(table([look(run) for run in find(runs)]))
        return
    from rich.live import Live

    with Live(table([look(run) for run in find(runs)]), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(table([look(run) for run in find(runs)]), refresh=True)


def find(folders: list[str]) -> list[Path]:
    """The runs that are meant: these folders, or what is below them, by name."""
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give the folder of a run that sctd pretrain wrote.")
        below = sorted(
            each.parent for each in folder.rglob("config.yaml") if (each.parent / "environment.json").exists()
        )
        if not below:
            raise UserError(f"{folder} holds no run: give the folder of a run, or one with runs below it.")
        found += below
    return list(dict.fromkeys(found))


def look(run: Path, now: float | None = None) -> Look:
    """Read a run's record; what is not there yet stays null."""
    from sctd.recipe import build_config, load_recipe
    from sctd.train.metrics import METRICS, read_metrics
    from sctd.train.pulse import read_heartbeat

    try:
        config = build_config(load_recipe(run / "config.yaml"))
    except UserError:
        return Look(str(run), "?", state="unreadable settings")
    steps = _steps(run) or (config.schedule.steps if config.schedule.minutes is None else None)
    lines = read_metrics(run)
    if not lines:
        return Look(str(run), config.method, steps=steps)
    rate, distance = _pace(lines)
    step = lines[-1]["step"]
    finished = (run / "model" / "config.json").exists() and step == steps
    heard, phase = (run / METRICS).stat().st_mtime, "training"
    beat = read_heartbeat(run)
    if beat and beat["time"] > heard - 1:  # its time is in whole seconds
        heard, phase, step = max(heard, beat["time"]), beat["phase"], max(step, beat["step"])
    left = None if steps is None or not rate else (steps - step) / rate
    quiet = (time.time() if now is None else now) - heard
    if finished:
        state = "finished"
    elif phase in ENDS:
        state = phase
    elif quiet > max(SILENT, 4 * distance):
        state = "silent"
    else:
        state = "running" if phase == "training" else phase
    return Look(
        name=str(run),
        method=config.method,
        step=step,
        steps=steps,
        loss=_newest(lines, "loss"),
        eval_loss=_newest(lines, "eval_loss"),
        eval_loss_dropped=_newest(lines, "eval_loss_dropped"),
        tokens_per_second=_newest(lines, "tokens_per_second"),
        seconds_left=left if state in ("running", "evaluating", "saving", "probing") else None,
        state=state,
        warning=_newest(lines, "warning"),
    )


def _steps(run: Path) -> int | None:
    """The number of steps that a checkpoint says."""
    for state in sorted(run.glob("checkpoints/step-*/state.json"), reverse=True):
        try:
            return int(read_json(state, {"choices": {"steps": int}})["choices"]["steps"])
        except (OSError, ValueError):
            continue
    return None


def _pace(lines: list[dict[str, Any]]) -> tuple[float | None, float]:
    """(steps a second of training, seconds from line to line) over the last lines."""
    timed = [line for line in lines if line.get("seconds") is not None][-STEADY - 1 :]
    if len(timed) < 2:
        return None, 0.0
    seconds = timed[-1]["seconds"] - timed[0]["seconds"]
    steps = timed[-1]["step"] - timed[0]["step"]
    return (steps / seconds if seconds > 0 else None), seconds / (len(timed) - 1)


def _newest(lines: list[dict[str, Any]], name: str) -> Any:
    return next((line[name] for line in reversed(lines) if line.get(name) is not None), None)


def table(looks: list[Look]) -> Table:
    """A row a run."""
    from rich.table import Table

    from sctd.console import as_text

    names = ("run", "method", "step", "loss", "held-out", "with dropping", "tokens/s", "time left", "state")
    page = Table()
    for number, name in enumerate(names):
        page.add_column(name, justify="left" if number in (0, 1, 8) else "right", no_wrap=True)
    for each in looks:
        total = "" if each.steps is None else f" of {each.steps:,}"
        losses = ("" if loss is None else f"{loss:.3f}" for loss in (each.loss, each.eval_loss, each.eval_loss_dropped))
        rate = "" if each.tokens_per_second is None else f"{each.tokens_per_second:,.0f}"
        cells = (each.name, each.method, f"{each.step:,}{total}", *losses, rate, _clock(each.seconds_left), each.state)
        page.add_row(*map(as_text, cells))
    warnings = [f"{each.name}: {each.warning}" for each in looks if each.warning]
    if warnings:
        page.caption = as_text("\n".join(warnings))
    return page


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
