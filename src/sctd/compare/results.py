"""From scored runs to results.json: each view's table, differences with their certainty, time to quality."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from sctd.compare.plan import Plan, Run
from sctd.compare.quality import share_of_time
from sctd.compare.scoring import LOSS
from sctd.compare.statistics import Difference, compare_scores, decide, in_words

TASKS = "tasks, average"
FIRST = ("held-out loss", "BLiMP", "probes (mean)", "probes ([CLS])", TASKS)  # what is tested; fixed before the runs
LOWER_IS_BETTER = (LOSS,)

Found = Mapping[str, Mapping[str, Any]]  # a run's folder -> {"scores", "about"}


def collect(plan: Plan, runs: list[Run], found: Found, task_names: list[str]) -> dict[str, Any]:
    """What the report shows.

    Returns:
        `views`: view -> {arms: arm -> {steps, seconds: of training, by the clock of its runs, scores: name ->
        {by_seed, mean}}, differences: arm -> name -> Difference and `words`}; `time_to_quality`: arm -> {by_seed,
        mean, low, high}, shares of the first arm's time, with two budgets or more.
    """
    by_place = {(run.arm, run.steps, run.seed): run.folder for run in runs}
    views: dict[str, Any] = {}
    pairs: list[tuple[str, str, str, Difference]] = []
    names = _names(found, task_names)
    tested = [name for name in names if name in FIRST]
    comparisons = len(plan.steps) * (len(plan.arms) - 1) * len(tested)
    for view, steps in plan.steps.items():
        arms = {}
        for arm in plan.arms:
            number = steps[arm][_whole(plan, steps[arm])]
            each = {seed: found[by_place[arm, number, seed]] for seed in plan.seeds}
            arms[arm] = {
                "steps": number,
                "seconds": statistics.fmean(one["about"]["seconds"] for one in each.values()),
                "tokens": next(iter(each.values()))["about"]["tokens"],
                "scores": {
                    name: _summary({s: _score(one, name, task_names) for s, one in each.items()}) for name in names
                },
                "drift": _drift(list(each.values())),
            }
        views[view] = {"arms": arms, "differences": {}}
        base = plan.arms[0]
        for arm in plan.arms[1:]:
            if arms[arm]["steps"] == arms[base]["steps"] and view != "steps" and "steps" in plan.steps:
                continue  # the same runs as in the other view
            for name in names:
                mine, theirs = (
                    _by_seed(found, by_place, plan, a, arms[a]["steps"], name, task_names) for a in (arm, base)
                )
                pairs.append((view, arm, name, compare_scores(mine, theirs, comparisons)))
    decided = decide([each for _, _, name, each in pairs if name in FIRST])
    for view, arm, name, difference in pairs:
        one = decided.pop(0) if name in FIRST else difference
        better = "lower" if name in LOWER_IS_BETTER else "higher"
        words = in_words(one, better) if name in FIRST else "not tested"
        views[view]["differences"].setdefault(arm, {})[name] = asdict(one) | {"words": words}
    return {
        "plan": asdict(plan),
        "tested": tested,
        "comparisons": comparisons,
        "views": views,
        "time_to_quality": _time_to_quality(plan, by_place, found),
        "runs": {
            run.folder: {"arm": run.arm, "steps": run.steps, "seed": run.seed, **_without_examples(found[run.folder])}
            for run in runs
        },
    }


def _names(found: Found, task_names: list[str]) -> list[str]:
    names = [*next(iter(found.values()))["scores"]]
    return [*names, TASKS] if len(task_names) > 1 else names


def _score(one: Mapping[str, Any], name: str, task_names: list[str]) -> float:
    if name == TASKS:
        return statistics.fmean(one["scores"][task]["value"] for task in task_names)
    return float(one["scores"][name]["value"])


def _summary(by_seed: dict[int, float]) -> dict[str, Any]:
    return {
        "by_seed": {str(seed): value for seed, value in by_seed.items()},
        "mean": statistics.fmean(by_seed.values()),
    }


def _by_seed(
    found: Found, by_place: Any, plan: Plan, arm: str, steps: int, name: str, task_names: list[str]
) -> dict[int, Any]:
    """Seed -> the results of the examples where they are known, else the score."""
    scores = {}
    for seed in plan.seeds:
        one = found[by_place[arm, steps, seed]]
        examples = None if name == TASKS else one["scores"][name].get("examples")
        scores[seed] = _score(one, name, task_names) if examples is None else np.asarray(examples, dtype=float)
    return scores


def _whole(plan: Plan, steps: list[int]) -> int:
    """The place of the budget 1 among an arm's numbers of steps."""
    return plan.budgets.index(1.0) if len(steps) == len(plan.budgets) else 0


def _drift(each: list[Mapping[str, Any]]) -> dict[str, list[float]] | None:
    """Mean over the seeds of each measure at each layer, at the end; null without dropping."""
    if any("drift" not in one["about"] for one in each):
        return None
    measures = each[0]["about"]["drift"]
    return {
        measure: [
            statistics.fmean(one["about"]["drift"][measure][layer] or 0.0 for one in each)
            for layer in range(len(measures[measure]))
        ]
        for measure in measures
    }


def _time_to_quality(plan: Plan, by_place: Any, found: Found) -> dict[str, Any]:
    """Equal time's runs at several budgets, in seconds that were measured before the runs."""
    if "time" not in plan.steps or len(plan.budgets) < 2:
        return {}
    shares: dict[str, Any] = {}
    base = plan.arms[0]
    steps = plan.steps["time"]
    for arm in plan.arms:
        if len(steps[arm]) != len(plan.budgets):
            continue  # an arm of its own number of steps
        by_seed = {}
        for seed in plan.seeds:
            number = steps[base][_whole(plan, steps[base])]
            target = found[by_place[base, number, seed]]["scores"][LOSS]["value"]
            losses = [found[by_place[arm, n, seed]]["scores"][LOSS]["value"] for n in steps[arm]]
            seconds = [n * plan.seconds[arm] for n in steps[arm]]
            by_seed[str(seed)] = share_of_time(target, number * plan.seconds[base], seconds, losses)
        known = [share for share in by_seed.values() if share is not None]
        shares[arm] = {
            "by_seed": by_seed,
            "mean": statistics.fmean(known) if known else None,
            "low": min(known) if known else None,
            "high": max(known) if known else None,
        }
    return shares


def _without_examples(one: Mapping[str, Any]) -> dict[str, Any]:
    scores = {
        name: {key: value for key, value in score.items() if key != "examples"} for name, score in one["scores"].items()
    }
    return {"about": one["about"], "scores": scores}
