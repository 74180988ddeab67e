"""What a finished run scores: held-out loss, drift, minimal pairs, probes, fine-tuned tasks; each is kept."""

from __future__ import annotations

import contextlib
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sctd.errors import UserError
from sctd.train.metrics import read_metrics

# name -> {"value": figure, "examples": results of the same examples in every run, where there are such}
Scores = dict[str, dict[str, Any]]
LOSS = "held-out loss"


def held_out(run: Path) -> tuple[Scores, dict[str, Any]]:
    """(the full network's loss at the end, what else the run's record says of it)."""
    lines = read_metrics(run)
    last = next(line for line in reversed(lines) if "eval_loss" in line)
    about: dict[str, Any] = {name: last[name] for name in ("step", "tokens", "seconds")}
    about |= {name: last[name] for name in ("eval_loss_mask", "eval_loss_dropped") if name in last}
    if "drift" in last:
        about["drift"] = last["drift"]
    about["curve"] = [
        {name: line[name] for name in ("step", "seconds", "eval_loss")} for line in lines if "eval_loss" in line
    ]
    return {LOSS: {"value": last["eval_loss"]}}, about


def _blimp(run: Path, data: Path, out: Path, name: str, seed: int) -> Scores:
    from sctd.scores.blimp import blimp

    found = blimp(str(run), data=str(data / "blimp"), out=str(out / "blimp"), random_init=False)
    parts = json.loads((out / "blimp" / "blimp.json").read_text(encoding="utf-8"))["parts"]
    margins = {each: parts[f"model/{each}"]["margins"] for each in sorted(found["model"]["sets"])}
    score: dict[str, Any] = {"value": found["model"]["overall"]}
    if len({len(each) for each in margins.values()}) == 1:  # then the mean over sets is the mean over pairs
        score["examples"] = [int(margin > 0) for each in margins.values() for margin in each]
    return {"BLiMP": score}


def _probe(run: Path, data: Path, out: Path, name: str, seed: int) -> Scores:
    from sctd.scores.probe import probe

    chosen = [name] if name else None
    found = probe(str(run), str(data / "probing"), out=str(out / "probe"), tasks=chosen, random_init=False)
    title = f"probe {name}" if name else "probes"
    return {
        f"{title} ({pooling})": {
            "value": statistics.fmean(part["model"][key]["test"] for part in found["parts"].values()),
            "parts": {each: part["model"][key]["test"] for each, part in found["parts"].items()},
            "layers": _layers(found["parts"].values(), key),
        }
        for key, pooling in (("mean", "mean"), ("cls", "[CLS]"))
    }


def _layers(parts: Any, key: str) -> list[float]:
    by_probe = [[layer["test"] for layer in part["model"][key]["layers"]] for part in parts]
    return [statistics.fmean(each) for each in zip(*by_probe, strict=True)]


def _task(run: Path, data: Path, out: Path, name: str, seed: int) -> Scores:
    from sctd.scores.evaluate import evaluate

    found = evaluate(
        str(run), [name], str(out / f"task-{name}"), str(data / "tasks"), seeds=1, budget="quick", baselines=False
    )
    scores: Scores = {}
    for task in found["tasks"].values():
        for split, summary in task["arms"]["model"].items():
            one = len(task["arms"]["model"]) == 1
            title = task["title"] if one else f"{task['title']} {split}"
            scores[title] = {"value": summary["median"][task["metrics"][0]]}
    return scores


KINDS: dict[str, Callable[[Path, Path, Path, str, int], Scores]] = {"blimp": _blimp, "probe": _probe, "task": _task}


def check_scores(names: list[str], data: str | None) -> None:
    """UserError for scores that there are not, or whose data is not there."""
    for name in names:
        kind, _, of = name.partition(":")
        if kind not in KINDS or (kind == "task" and not of) or (kind == "blimp" and of):
            raise UserError(f"--scores: there is no {name!r}; give blimp, probe, probe:NAME or task:NAME.")
        folder = {"blimp": "blimp", "probe": "probing", "task": "tasks"}[kind]
        if data is None:
            raise UserError(f"--scores {name} needs --scores-data: the folder that holds {folder}.")
        if not (Path(data) / folder).is_dir():
            raise UserError(f"--scores {name}: {Path(data) / folder} is not a folder; --scores-data must hold it.")


def score_run(run: Path, out: Path, names: list[str], data: Path | None, seed: int) -> Scores:
    """Every score that was asked for; finished parts in `out` are not made again. The verbs' tables are not shown."""
    scores: Scores = {}
    for name in names:
        kind, _, of = name.partition(":")
        assert data is not None
        with contextlib.redirect_stdout(io.StringIO()):
            scores |= KINDS[kind](run, data, out, of, seed)
    return scores
