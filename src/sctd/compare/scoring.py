"""What a finished run scores: held-out loss, drift, minimal pairs, probes, fine-tuned tasks; each is kept."""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from sctd.compare.plan import Run
from sctd.console import say
from sctd.errors import UserError
from sctd.json_text import NUMBER, differs
from sctd.scores.kept import read_object
from sctd.train.metrics import METRICS, read_metrics

# name -> {"value": figure, "examples": results of the same examples in every run, where there are such}
Scores = dict[str, dict[str, Any]]
LOSS, BLIMP, PROBES, TASKS = "held-out loss", "BLiMP", "probes", "tasks, average"
Precision = Literal["auto", "fp32", "bf16", "fp16"]


def held_out(run: Path) -> tuple[Scores, dict[str, Any]]:
    """(the full network's loss at the end in nats, what else the run's record says); UserError for a damaged record."""
    lines = [line for line in read_metrics(run) if "eval_loss" in line]
    needed = ("tokens", "seconds", "eval_loss")
    known = [line for line in lines if all(line.get(name) is not None for name in needed)]
    if not known or known[-1] is not lines[-1] or len({len(each) for each in lines[-1].get("drift", {}).values()}) > 1:
        raise UserError(f"{run / METRICS} is damaged: remove the folder {run}, and the same command trains it again.")
    last = known[-1]
    about: dict[str, Any] = {name: last[name] for name in ("step", "tokens", "seconds")}
    about |= {name: last[name] for name in ("eval_loss_mask", "eval_loss_dropped") if name in last}
    baselines = run / "baselines.json"
    if baselines.exists():
        found = read_object(baselines)
        if differs(found, {"unigram": NUMBER, "bigram?": NUMBER}) is not None:
            raise UserError(f"{baselines} is damaged: remove it; the report does without it.")
        about |= {name: found[name] for name in ("unigram", "bigram") if name in found}
    if "drift" in last:
        about["drift"] = last["drift"]
        about["drift_curve"] = [
            {"step": line["step"], **{name: figures[-1] for name, figures in line["drift"].items()}}
            for line in known
            if line.get("drift") and all(line["drift"].values())
        ]
    about["curve"] = [{name: line[name] for name in ("step", "seconds", "eval_loss")} for line in known]
    return {LOSS: {"value": last["eval_loss"]}}, about


def _blimp(run: Path, data: Path, out: Path, name: str, precision: Precision) -> Scores:
    from sctd.scores.blimp import blimp

    found = blimp(str(run), data=str(data / "blimp"), out=str(out / "blimp"), random_init=False, precision=precision)
    sets = found["model"]["sets"]
    # the sets, whose mean the score is, are the examples: pairs of one set are made from one template
    return {BLIMP: {"value": found["model"]["overall"], "examples": [sets[name]["accuracy"] for name in sorted(sets)]}}


def _probe(run: Path, data: Path, out: Path, name: str, precision: Precision) -> Scores:
    from sctd.scores.probe import probe

    chosen = [name] if name else None
    where = str(out / ("probe" if not name else f"probe-{name.replace('/', '+')}"))
    found = probe(str(run), str(data / "probing"), out=where, tasks=chosen, random_init=False, precision=precision)
    return {
        f"{PROBES if not name else f'probe {name}'} ({pooling})": {
            "value": statistics.fmean(part["model"][key]["test"] for part in found["parts"].values()),
            "parts": {each: part["model"][key]["test"] for each, part in found["parts"].items()},
            "layers": _layers(found["parts"].values(), key),
        }
        for key, pooling in (("mean", "mean"), ("cls", "[CLS]"))
    }


def _layers(parts: Any, key: str) -> list[float]:
    by_probe = [[layer["test"] for layer in part["model"][key]["layers"]] for part in parts]
    return [statistics.fmean(each) for each in zip(*by_probe, strict=True)]


def _task(run: Path, data: Path, out: Path, name: str, precision: Precision) -> Scores:
    from sctd.scores.evaluate import evaluate

    found = evaluate(
        str(run),
        [name],
        str(out / f"task-{name}"),
        str(data / "tasks"),
        seeds=1,
        budget="quick",
        baselines=False,
        precision=precision,
    )
    return {
        task["title"]: {
            "value": statistics.fmean(split["median"][task["metrics"][0]] for split in task["arms"]["model"].values())
        }
        for task in found["tasks"].values()
    }


KINDS: dict[str, Callable[[Path, Path, Path, str, Precision], Scores]] = {
    "blimp": _blimp,
    "probe": _probe,
    "task": _task,
}


def check_scores(names: list[str], data: str | None) -> None:
    """Read all that the scores need, so that a wrong name or a broken file ends the command before the first run.

    Raises:
        UserError: a score that there is not, or data that cannot be used.
    """
    from sctd.scores.blimp_data import load_pairs
    from sctd.scores.jobs import load_task
    from sctd.scores.probe_data import load_probes
    from sctd.scores.tasks.table import choose_tasks

    for name in names:
        kind, _, of = name.partition(":")
        if kind not in KINDS or (kind == "task" and not of) or (kind == "blimp" and of):
            raise UserError(f"--scores: there is no {name!r}; give blimp, probe, probe:NAME or task:NAME.")
        folder = {"blimp": "blimp", "probe": "probing", "task": "tasks"}[kind]
        if data is None:
            raise UserError(f"--scores {name} needs --scores-data: the folder that holds {folder}.")
        if not (Path(data) / folder).is_dir():
            raise UserError(f"--scores {name}: {Path(data) / folder} is not a folder; --scores-data must hold it.")
        if kind == "blimp":
            load_pairs(str(Path(data) / folder), None, None)
        elif kind == "probe":
            load_probes(str(Path(data) / folder), [of] if of else ())
        else:
            for task in choose_tasks([of]):
                load_task(task, str(Path(data) / folder), "quick")


def planned_titles(names: list[str]) -> list[str]:
    """The scores that these names mean and that are tested: means over many, and a task that is the only one."""
    tasks = _titles(names)
    found = [LOSS, *([BLIMP] if "blimp" in names else [])]
    found += [f"{PROBES} (mean)", f"{PROBES} ([CLS])"] if "probe" in names else []
    return [*found, *([TASKS] if len(tasks) > 1 else tasks)]


def score_all(folder: Path, runs: list[Run], names: list[str], data: Path | None, tasks: list[str], jobs: int) -> None:
    """`score_run` of every run, several at once, each in a process of its own; what they score is kept in files."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    say(f"Scoring {len(runs)} runs, {jobs} at once.")
    # a process for each: what one leaves in memory is not the next one's
    with ProcessPoolExecutor(jobs, get_context("spawn"), _leave_signals_alone, max_tasks_per_child=1) as pool:
        try:
            under_way = [pool.submit(score_run, folder, run, names, data, tasks, True) for run in runs]
            for number, each in enumerate(as_completed(under_way), start=1):
                each.result()
                say(f"Scored {number} of {len(runs)}.")
        except BaseException as error:
            for process in active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "A process that scored was ended from outside, perhaps for its memory: give fewer --jobs than "
                    f"{jobs}; the same command goes on."
                ) from error
            raise


def _leave_signals_alone() -> None:
    """Ctrl-C reaches all processes of a terminal; the first one ends the others."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def averaged(planned: list[str], asked: list[str]) -> list[str]:
    """Titles of the tasks whose average is a score: those that were planned, where these are several.

    So a task that is asked for later does not change it; with one of them left out, there is none.
    """
    first = _titles(planned)
    return first if len(first) > 1 else _titles(asked)


def _titles(names: list[str]) -> list[str]:
    """Of the tasks, single ones and groups, that names of scores mean."""
    from sctd.scores.tasks.table import choose_tasks

    tasks = [task.title for name in names if name.startswith("task:") for task in choose_tasks([name[5:]])]
    return list(dict.fromkeys(tasks))


def score_run(
    folder: Path, run: Run, names: list[str], data: Path | None, tasks: list[str], quiet: bool = False
) -> Scores:
    """Every score that was asked for; finished parts are not made again. The verbs' tables are not shown.

    Args:
        folder: of the comparison, which holds the run and keeps its scores.
        run: a finished one.
        names: as `--scores`.
        data: as `--scores-data`.
        tasks: titles, of which the average is a score too, if there are two or more and all are scored; `averaged`.
        quiet: show no progress either.
    """
    out = folder / "scores" / Path(run.folder).relative_to("runs")
    precision = cast("Precision", run.settings["precision"])
    scores: Scores = {}
    for name in names:
        kind, _, of = name.partition(":")
        assert data is not None
        with contextlib.ExitStack() as hidden:
            hidden.enter_context(contextlib.redirect_stdout(io.StringIO()))
            if quiet:
                hidden.enter_context(contextlib.redirect_stderr(io.StringIO()))
            found = KINDS[kind](folder / run.folder, data, out, of, precision)
        scores |= found
    if len(tasks) > 1 and scores.keys() >= {*tasks}:
        scores[TASKS] = {"value": statistics.fmean(scores[title]["value"] for title in tasks)}
    return scores
