"""From finished runs to results.json: scores of each seed, their median and spread, baselines beside them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError
from sctd.files import write_json, write_text
from sctd.json_text import NUMBER
from sctd.scores.flagged import Flagged
from sctd.scores.jobs import ARMS, Job, LoadedTask, identity, read_job
from sctd.scores.kept import read_object
from sctd.scores.metrics import score
from sctd.scores.tasks.table import TASKS

if TYPE_CHECKING:
    from sctd.scores.encoder import Encoder


def collect(
    folder: Path,
    loaded: Iterable[LoadedTask],
    encoder: Encoder,
    settings: dict[str, Any],
    flagged: Flagged | None = None,
) -> dict[str, Any]:
    """Everything that is finished, as results.json holds it.

    Tasks of earlier commands with the same OUT stay as they stand in its results.json.

    Returns:
        `tasks`: name -> {title, metrics, notes, fine_tuning, arms: arm -> split -> {runs: [{seed, scores, seconds}],
        median, min, max, std: metric -> value}}; `averages`: arm -> mean over the tasks of the median of the task's
        main metric, over its splits; only for arms that have all tasks.
    """
    from sctd.train.environment import environment

    found = {each.task.name: _task(folder, each, encoder, settings, flagged) for each in loaded}
    before = _tasks_before(folder / "results.json")
    tasks = {name: (before | found)[name] for name in TASKS if name in before or name in found}
    averages = {}
    for arm in ARMS:
        figures = [_main(task, arm) for task in tasks.values()]
        if figures and None not in figures:
            averages[arm] = statistics.fmean(f for f in figures if f is not None)
    return {
        "model": str(encoder.folder),
        "fingerprint": encoder.fingerprint(),
        "settings": settings | {"trained_length": encoder.max_length, "token_types": encoder.token_types},
        "environment": environment(encoder.device),
        "tasks": tasks,
        "averages": averages,
    }


def _tasks_before(path: Path) -> dict[str, Any]:
    """The tasks in results.json, which is of the same model and settings as OUT is; none where it is damaged."""
    if not path.exists():
        return {}
    try:
        tasks = read_object(path, {"tasks": {"*": _TASK}})["tasks"]
    except UserError:
        return {}
    return {name: each for name, each in tasks.items() if name in TASKS and _whole(each)}


_FIGURES = {"*": NUMBER}
_ARMS = {"*": {"*": {"runs": list, **dict.fromkeys(("median", "min", "max", "std"), _FIGURES)}}}
_TASK = {
    **{"title": str, "metrics": [str], "notes": [str], "arms": _ARMS, "without_overlap?": _ARMS},
    "fine_tuning?": {"max_length": int},
}


def _whole(task: dict[str, Any]) -> bool:
    """Each split has each metric."""
    arms = [*task["arms"].values(), *task.get("without_overlap", {}).values()]
    splits = [split for arm in arms for split in arm.values()]
    return bool(task["metrics"]) and all(
        set(task["metrics"]) <= split[name].keys() for split in splits for name in ("median", "min", "max")
    )


def _task(
    folder: Path, loaded: LoadedTask, encoder: Encoder, settings: dict[str, Any], flagged: Flagged | None
) -> dict[str, Any]:
    task = loaded.task
    entry: dict[str, Any] = {
        "title": task.title,
        "metrics": list(task.metrics),
        "notes": list(loaded.notes),
        "rows": {"train": len(loaded.train), **{split: len(rows) for split, rows in loaded.scored.items()}},
        "arms": {},
    }
    looked_up = {} if flagged is None else looked_up_in(loaded, flagged)
    for arm in ARMS:
        done = [
            _of_these(found, loaded, job.file(folder))
            for job in _finished(folder, task, arm)
            if (found := read_job(folder, job, identity(job, loaded, encoder, settings))) is not None
        ]
        if not done:
            continue
        if arm == "model":
            entry["fine_tuning"] = done[0]["fine_tuning"]
            entry["notes"] += _cut_notes(done[0], loaded, encoder)
        entry["arms"][arm] = {split: _summary([_run(each, split) for each in done]) for split in loaded.scored}
        if looked_up:
            entry.setdefault("without_overlap", {})[arm] = {
                split: _summary([_rescored(each, loaded, split, ids) for each in done])
                for split, ids in looked_up.items()
            }
    if flagged is not None:
        for split, examples in loaded.scored.items():
            if split in looked_up:
                number = sum(example.id in looked_up[split] for example in examples)
                entry["notes"].append(f"{split}: {number:,} flagged for overlap")
            else:
                entry["notes"].append(f"{split}: not looked up for overlap")
    return entry


def _of_these(found: dict[str, Any], loaded: LoadedTask, path: Path) -> dict[str, Any]:
    """A run's result, which has a prediction of each example of each split; UserError where it has not."""
    splits = found["splits"]
    whole = (
        loaded.scored.keys() <= splits.keys()
        and all(example.id in splits[name]["predictions"] for name, each in loaded.scored.items() for example in each)
        and found.get("cut", {}).keys() <= {"train", *loaded.scored}
    )
    if not whole:
        raise UserError(f"{path} is damaged: remove it, and the same command makes it again.")
    return found


def _finished(folder: Path, task: Any, arm: Any) -> list[Job]:
    """The jobs whose files are there, by seed."""
    names = (path.name for path in (folder / "runs" / task.name).glob(f"{arm}-*.json"))
    seeds = [int(found[1]) for name in names if (found := re.fullmatch(rf"{arm}-([0-9]+)\.json", name))]
    return [Job(task, arm, seed) for seed in sorted(seeds)]


def _run(found: dict[str, Any], split: str) -> dict[str, Any]:
    return {"seed": found["seed"], "scores": found["splits"][split]["scores"], "seconds": found["seconds"]}


def looked_up_in(loaded: LoadedTask, flagged: Flagged) -> dict[str, frozenset[str]]:
    """Split -> flagged ids, of the splits that were looked up; UserError where that was another copy of them."""
    found = {}
    for split in loaded.scored:
        each = flagged.get(loaded.task.name, {}).get(split)
        if each is None:
            continue
        if each.of != loaded.whole[split]:
            raise UserError(
                f"--without: what was looked up of {loaded.task.name} {split} is another copy of it than this one: run "
                "sctd overlap on this one."
            )
        found[split] = each.ids
    return found


def _rescored(found: dict[str, Any], loaded: LoadedTask, split: str, flagged: frozenset[str]) -> dict[str, Any]:
    """A run's scores without the flagged examples."""
    kept = [example for example in loaded.scored[split] if example.id not in flagged]
    predictions = found["splits"][split]["predictions"]
    scores = score(loaded.task, kept, [predictions[example.id] for example in kept]) if kept else {}
    return {"seed": found["seed"], "scores": scores, "seconds": found["seconds"]}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs with median, extremes and standard deviation (of the sample; 0 for one run) by metric."""
    values = {name: [run["scores"][name] for run in runs] for name in runs[0]["scores"]}
    return {
        "runs": runs,
        "median": {name: statistics.median(found) for name, found in values.items()},
        "min": {name: min(found) for name, found in values.items()},
        "max": {name: max(found) for name, found in values.items()},
        "std": {name: statistics.stdev(found) if len(found) > 1 else 0.0 for name, found in values.items()},
    }


def _main(task: dict[str, Any], arm: str) -> float | None:
    """A task's figure in the average: its first metric, mean over its splits."""
    if arm not in task["arms"]:
        return None
    return statistics.fmean(split["median"][task["metrics"][0]] for split in task["arms"][arm].values())


def _cut_notes(found: dict[str, Any], loaded: LoadedTask, encoder: Encoder) -> list[str]:
    """What the network could not see of the examples."""
    length = found["fine_tuning"]["max_length"]
    notes = []
    if loaded.task.kind == "span":
        notes.append(f"windows of {length} tokens")
    for split, number in found["cut"].items():
        if number:
            rows = len(loaded.train if split == "train" else loaded.scored[split])
            what = "questions cut" if loaded.task.kind == "span" else f"cut at {length} tokens"
            notes.append(f"{split}: {number:,} of {rows:,} {what}")
    if encoder.token_types < 2 and getattr(encoder.config, "type_vocab_size", 0) > 1:
        first = loaded.train[0]
        if getattr(first, "second", None) is not None or loaded.task.kind in ("choice", "span"):
            notes.append("pairs in token type 0")
    return notes


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """OUT/results.json and OUT/results.md."""
    from sctd.scores.tables import markdown

    write_json(folder / "results.json", results)
    write_text(folder / "results.md", markdown(results))
