"""From scored runs to results.json: each view's table, differences with their certainty, time to quality."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np

from sctd.compare.plan import Plan, Run, compared, differences_of, whole
from sctd.compare.quality import share_of_time
from sctd.compare.scoring import LOSS, planned_titles
from sctd.compare.statistics import compare_scores, decide, in_words

LOWER_IS_BETTER = (LOSS,)
MOST_OTHERS = 3

Found = Mapping[str, Mapping[str, Any]]  # a run's folder -> {"scores", "about"}


def collect(plan: Plan, runs: list[Run], found: Found, own_length: Collection[str] = ()) -> dict[str, Any]:
    """What the report shows.

    Args:
        plan: what was fixed before the first run.
        runs: all of them.
        found: what each scored.
        own_length: arms that have a number of steps of their own, and so no time to quality.

    Returns:
        `tested`: the scores that are, fixed before the runs; `not_scored`: what was to be tested and was not scored;
        `comparisons`: how many differences these make together; `views`: view -> {arms: arm -> {steps, seconds: of
        training, by the clock of its runs, their median, tokens, scores: name -> {by_seed, mean}, drift}, differences:
        arm -> name -> Difference and `words`, of arms whose runs are not those of a view before}; `time_to_quality`:
        arm -> {by_seed, mean, low, high}, shares of the first arm's time, with two budgets or more; `runs`: folder ->
        what each run scored. Each view also has `pairs` of the arms beside the first, where these are MOST_OTHERS at
        most.
    """
    by_place = {(run.arm, run.steps, run.seed): run.folder for run in runs}
    base = plan.arms[0]
    first = next(run for run in runs if run.arm == base and compared(plan, run))  # scored whole
    names = [*found[first.folder]["scores"]]
    planned = planned_titles(plan.scores)
    tested = [name for name in names if name in planned]

    def runs_of(arm: str, steps: int) -> dict[int, Mapping[str, Any]]:
        return {seed: found[by_place[arm, steps, seed]] for seed in plan.seeds}

    views: dict[str, Any] = {}
    pairs = differences_of(plan)
    for view, steps in plan.steps.items():
        number = {arm: steps[arm][whole(plan, steps[arm])] for arm in plan.arms}
        views[view] = {
            "arms": {arm: _arm(number[arm], runs_of(arm, number[arm]), names) for arm in plan.arms},
            "differences": {},
        }
    count = comparisons(plan)
    places, differences = [], []
    for view, arm in pairs:
        mine, theirs = (runs_of(a, views[view]["arms"][a]["steps"]) for a in (arm, base))
        for name in names:
            places.append((view, arm, name))
            differences.append(compare_scores(_by_seed(mine, name), _by_seed(theirs, name), count))
    shown: set[frozenset[tuple[str, int]]] = set()  # pairs of (arm, steps), in a view before
    for each in views.values():
        numbers = {arm: each["arms"][arm]["steps"] for arm in plan.arms[1:]}
        scored = {arm: runs_of(arm, number) for arm, number in numbers.items()}
        new = {frozenset(two) for two in combinations(numbers.items(), 2)} - shown
        shown |= new
        each["pairs"] = [
            [arm, other, both]
            for arm, other, both in (_pairs(scored, names) if len(numbers) <= MOST_OTHERS else [])
            if frozenset({(arm, numbers[arm]), (other, numbers[other])}) in new
        ]
    # what was asked for first, scores and arms, is tested
    is_tested = [name in tested and arm in plan.first_arms for _, arm, name in places]
    decided = iter(decide([d for d, one in zip(differences, is_tested, strict=True) if one], count))
    for difference, (view, arm, name), so in zip(differences, places, is_tested, strict=True):
        better = "lower" if name in LOWER_IS_BETTER else "higher"
        if so:
            one = next(decided)
            words = in_words(one, better)
        else:
            one, words = replace(difference, test="none", p=None), "not tested"
        views[view]["differences"].setdefault(arm, {})[name] = asdict(one) | {"words": words}
    return {
        "plan": asdict(plan),
        "tested": tested,
        "not_scored": [name for name in planned if name not in names],
        "comparisons": count,
        "views": views,
        "time_to_quality": _time_to_quality(plan, by_place, found, own_length),
        "runs": {
            run.folder: {"arm": run.arm, "steps": run.steps, "seed": run.seed, **_without_examples(found[run.folder])}
            for run in runs
        },
    }


def comparisons(plan: Plan) -> int:
    """How many differences are tested, for which p is corrected."""
    first = [arm for _, arm in differences_of(plan) if arm in plan.first_arms]
    return len(first) * len(planned_titles(plan.scores))


def _pairs(scored: Mapping[str, Mapping[int, Mapping[str, Any]]], names: list[str]) -> list[list[Any]]:
    """[arm, one before it, name -> Difference]; shown, and not tested."""
    arms, found = list(scored), []
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            both = {name: compare_scores(_by_seed(scored[arm], name), _by_seed(scored[other], name)) for name in names}
            untested = {name: asdict(replace(one, test="none", p=None)) for name, one in both.items()}
            found.append([arm, other, untested])
    return found


def _arm(steps: int, each: Mapping[int, Mapping[str, Any]], names: list[str]) -> dict[str, Any]:
    scores = {}
    for name in names:
        by_seed = {seed: float(one["scores"][name]["value"]) for seed, one in each.items()}
        scores[name] = {
            "by_seed": {str(seed): value for seed, value in by_seed.items()},
            "mean": statistics.fmean(by_seed.values()),
        }
    return {
        "steps": steps,
        # one run that stood still says nothing of the others
        "seconds": statistics.median(one["about"]["seconds"] for one in each.values()),
        "tokens": next(iter(each.values()))["about"]["tokens"],
        "scores": scores,
        "at_mask": _mean_of(each, "eval_loss_mask"),
        "unigram": _mean_of(each, "unigram"),
        "drift": _drift(list(each.values())),
    }


def _mean_of(each: Mapping[int, Mapping[str, Any]], name: str) -> float | None:
    figures = [one["about"].get(name) for one in each.values()]
    return None if None in figures else statistics.fmean(figures)


def _by_seed(each: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, Any]:
    """Seed -> the results of the examples where they are known, else the score."""
    scores = {seed: one["scores"][name] for seed, one in each.items()}
    return {
        seed: np.asarray(score["examples"], dtype=float) if "examples" in score else score["value"]
        for seed, score in scores.items()
    }


def _drift(each: list[Mapping[str, Any]]) -> dict[str, list[float | None]] | None:
    """Mean over the seeds of each measure at each layer, at the end; null without dropping, or where not measured."""
    if any("drift" not in one["about"] for one in each):
        return None
    measures = each[0]["about"]["drift"]
    means: dict[str, list[float | None]] = {}
    for measure, layers in measures.items():
        means[measure] = []
        for layer in range(len(layers)):
            figures = [one["about"]["drift"][measure][layer] for one in each]
            means[measure].append(None if None in figures else statistics.fmean(figures))
    return means


def _time_to_quality(plan: Plan, by_place: Any, found: Found, own_length: Collection[str]) -> dict[str, Any]:
    """Of each arm's runs of all lengths, in seconds that were measured before the runs."""
    if "time" not in plan.steps:
        return {}
    shares: dict[str, Any] = {}
    base = plan.arms[0]
    steps = plan.steps["time"]
    for arm in plan.arms:
        if arm in own_length:
            continue
        lengths = sorted({number for view in plan.steps.values() for number in view[arm]})
        by_seed: dict[str, Any] = {}
        for seed in plan.seeds:
            number = steps[base][whole(plan, steps[base])]
            target = found[by_place[base, number, seed]]["scores"][LOSS]["value"]
            losses = [found[by_place[arm, n, seed]]["scores"][LOSS]["value"] for n in lengths]
            seconds = [n * plan.seconds[arm] for n in lengths]
            by_seed[str(seed)] = share_of_time(target, number * plan.seconds[base], seconds, losses)
        # a mean over those seeds alone that reached the loss would be too good
        known = [share for share in by_seed.values() if isinstance(share, float)]
        reached = len(known) == len(by_seed)
        shares[arm] = {
            "by_seed": by_seed,
            "mean": min(max(statistics.fmean(known), min(known)), max(known)) if reached else None,  # rounding
            "low": min(known) if reached else None,
            "high": max(known) if reached else None,
        }
    # the first arm alone, of one length, says nothing
    return shares if len(shares) > 1 else {}


def _without_examples(one: Mapping[str, Any]) -> dict[str, Any]:
    scores = {
        name: {key: value for key, value in score.items() if key != "examples"} for name, score in one["scores"].items()
    }
    return {"about": one["about"], "scores": scores}
