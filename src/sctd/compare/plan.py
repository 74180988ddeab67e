"""Which runs there are to be: every arm and seed, at equal steps and at equal time, fixed before the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sctd.check import check
from sctd.compare.arms import Arm
from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.json_text import NUMBER
from sctd.recipe import build_config

VIEWS = ("steps", "time")
# of a Plan in plan.json
FORM = {
    **{
        "arms": [str],
        "first_arms": [str],
        "seeds": [int],
        "first_seeds": [int],
        "budgets": [NUMBER],
        "seconds": {"*": NUMBER},
    },
    **{"doubts": {"*": NUMBER}},
    **{"precision": str, "scores": [str], "steps": {"*": {"*": [int]}}},
}


@dataclass(frozen=True)
class Run:
    """One pretraining run.

    Args:
        arm: its name.
        folder: below OUT.
        steps: optimizer steps.
        seed: of the run.
        settings: all of the configuration, by dotted name.
    """

    arm: str
    folder: str
    steps: int
    seed: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What was fixed before the first run.

    Args:
        arms: their names, in order; the first is what the others are compared with.
        first_arms: those of the first command; others were added later, and are not tested.
        seeds: of every arm.
        first_seeds: those of the first command; others were added when the figures of these could be known.
        budgets: as multiples of the first arm's steps.
        seconds: arm -> seconds of a step, see `step_times.paired`; empty without the view `time`.
        doubts: arm beside the first -> how well these are known, see `step_times.uncertain`.
        steps: view -> arm -> a number of steps for each budget. The view `steps` has the budget 1 alone.
        precision: of every run and score, so that `auto` is not decided by each process anew.
        scores: that were asked for before the first run.
    """

    arms: list[str]
    first_arms: list[str]
    seeds: list[int]
    first_seeds: list[int]
    budgets: list[float]
    seconds: dict[str, float]
    doubts: dict[str, float]
    steps: dict[str, dict[str, list[int]]]
    precision: str
    scores: list[str]


def dotted(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= dotted(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found


def arm_settings(config: PretrainConfig, arm: Arm) -> dict[str, Any]:
    """The common recipe with the arm's own settings in their place, by dotted name."""
    return {**dotted(asdict(config)), **arm.settings}


def count_steps(
    arms: Sequence[Arm], base: int, budgets: Sequence[float], views: Sequence[str], seconds: Mapping[str, float]
) -> dict[str, dict[str, list[int]]]:
    """Plan.steps: the first arm's for every arm in the view `steps`, what takes as long in the view `time`.

    The first arm has `base` steps, or its own. Another arm that sets schedule.steps has these in every view, at
    budget 1, and is at equal steps or time in none.
    """
    first = arms[0]
    base = first.settings.get("schedule.steps", base)
    steps: dict[str, dict[str, list[int]]] = {}
    for view in views:
        steps[view] = {}
        for arm in arms:
            own = arm.settings.get("schedule.steps")
            if own is not None and arm is not first:
                steps[view][arm.name] = [own]
            elif view == "steps":
                steps[view][arm.name] = [base]
            else:
                faster = seconds[first.name] / seconds[arm.name]
                steps[view][arm.name] = [max(1, round(budget * base * faster)) for budget in budgets]
    return steps


def make_runs(plan: Plan, config: PretrainConfig, arms: Sequence[Arm]) -> list[Run]:
    """Every run once, whichever views it is in; one seed of all arms before the next seed.

    Raises:
        UserError: settings that do not work together, with the arm's name.
    """
    runs = {}
    for seed in plan.seeds:
        for arm in arms:
            for number in sorted({n for view in plan.steps.values() for n in view[arm.name]}):
                settings = arm_settings(config, arm)
                settings |= {"schedule.steps": number, "schedule.minutes": None, "seed": seed}
                if settings["precision"] == "auto":
                    settings["precision"] = plan.precision
                try:
                    check(build_config(settings))
                except UserError as error:
                    raise UserError(f'--arms: "{arm.name}": {error}') from None
                folder = run_folder(arm, number, seed)
                runs[folder] = Run(arm.name, folder, number, seed, settings)
    return list(runs.values())


def compared(plan: Plan, run: Run) -> bool:
    """Whether a run stands in a view's table, or is there for the time to quality alone, which is of held-out loss."""
    return any(run.steps == view[run.arm][whole(plan, view[run.arm])] for view in plan.steps.values())


def differences_of(plan: Plan) -> list[tuple[str, str]]:
    """(view, arm) of each difference to the first arm; two views of the same two runs are one."""
    found: dict[tuple[str, int, int], tuple[str, str]] = {}
    for view, steps in plan.steps.items():
        base, *others = ((arm, steps[arm][whole(plan, steps[arm])]) for arm in plan.arms)
        for arm, number in others:
            found.setdefault((arm, number, base[1]), (view, arm))
    return list(found.values())


def whole(plan: Plan, steps: list[int]) -> int:
    """The place of the budget 1 among an arm's numbers of steps."""
    return plan.budgets.index(1.0) if len(steps) == len(plan.budgets) else 0


def answers(plan: Plan, asked: Mapping[str, Any]) -> bool:
    """Whether a plan that was read is one of what was asked: its arms, seeds and budgets, and their steps whole."""
    names = {name for name, _ in asked["arms"]}
    return (
        plan.arms == [name for name, _ in asked["arms"]]
        and plan.seeds == asked["seeds"]
        and {*plan.first_seeds} <= {*plan.seeds}
        and plan.arms[0] in plan.first_arms
        and {*plan.first_arms} <= names
        and plan.budgets == asked["budgets"]
        and plan.steps.keys() == {*(VIEWS if asked["equal"] == "both" else [asked["equal"]])}
        and all(view.keys() == names and all(view.values()) for view in plan.steps.values())
        and (plan.seconds.keys() == names if "time" in plan.steps else not plan.seconds)
        and all(seconds > 0 for seconds in plan.seconds.values())
    )


def run_folder(arm: Arm, steps: int, seed: int) -> str:
    """Where a run lies below OUT."""
    return str(Path("runs") / arm.folder / f"steps-{steps}" / f"seed-{seed}")
