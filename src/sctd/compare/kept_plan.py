"""The plan that OUT holds, if it is one of what is asked, or a new one, for which step times are measured."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sctd.compare.arms import Arm
from sctd.compare.plan import FORM, VIEWS, Plan, Run, answers, arm_settings, count_steps, dotted, make_runs
from sctd.config import PretrainConfig
from sctd.console import progress_bar, say
from sctd.errors import UserError
from sctd.files import disk_errors, write_json
from sctd.json_text import differs
from sctd.locks import LOCK
from sctd.scores.kept import read_object

PLAN = "plan.json"
NAMES = {
    "equal": "views (--equal)",
    "config": "settings",
    "init_from": "weights to begin at (init_from)",
}  # of what was asked, for a person


def read_or_make_plan(
    folder: Path,
    asked: dict[str, Any],
    config: PretrainConfig,
    arms: list[Arm],
    data: Path,
    rounds: int,
    scores: list[str],
) -> tuple[Plan, list[Run]]:
    """The plan that OUT holds, with the seeds and arms that were added, or a new one; step times are measured."""
    from sctd.compare.step_times import measure_step_times
    from sctd.train.device import choose_device, choose_precision

    assert config.schedule.steps is not None
    path, base = folder / PLAN, config.schedule.steps
    views = VIEWS if asked["equal"] == "both" else (asked["equal"],)
    device = choose_device(config.device)

    def measured(some: list[Arm], precision: str) -> tuple[dict[str, float], dict[str, float]]:
        """Step times and how well they are known; empty where nobody asks for equal time."""
        if "time" not in views:
            return {}, {}
        say(f"Measuring step times: {len(some)} arms taking turns, {rounds} rounds.")
        with progress_bar() as bar:
            line = bar.add_task("step times", total=len(some) * (rounds + 2), note="")

            def advance(note: str) -> None:
                bar.update(line, advance=1, note=note)

            each = [(arm.name, {"precision": precision, **_known(arm_settings(config, arm))}) for arm in some]
            return measure_step_times(each, data, rounds, advance, device.type != "cpu")

    if path.exists():
        plan, new = _read(path, asked)
        first, *_ = arms = sorted(arms, key=lambda arm: plan.arms.index(arm.name))
        if new:
            added = [arm for arm in arms if arm.name in new]
            _check_runs(plan, [first, *added], config)
            seconds, doubts = measured([first, *added], plan.precision)
            # beside the first arm's step as it was measured then, whatever it takes now
            seconds = {name: plan.seconds[first.name] * seconds[name] / seconds[first.name] for name in seconds}
            plan = replace(plan, seconds=seconds | plan.seconds, doubts=plan.doubts | doubts)
            steps = count_steps([first, *added], base, plan.budgets, views, plan.seconds)
            plan = replace(plan, steps={view: steps[view] | plan.steps[view] for view in views})
        if read_object(path) != (now := {"asked": asked, "plan": vars(plan)}):
            write_json(path, now)
        return plan, make_runs(plan, config, arms)
    if folder.exists() and any(each.name != LOCK for each in folder.iterdir()):
        raise UserError(f"{folder} exists and holds no comparison: give another --out.")
    precision = choose_precision(config.precision, device)[0]
    names, seeds = [arm.name for arm in arms], asked["seeds"]
    plan = Plan(names, names, seeds, seeds, asked["budgets"], {}, {}, {}, precision, scores)
    _check_runs(plan, arms, config)
    seconds, doubts = measured(arms, precision)
    plan = replace(plan, seconds=seconds, doubts=doubts, steps=count_steps(arms, base, plan.budgets, views, seconds))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"asked": asked, "plan": vars(plan)})
    return plan, make_runs(plan, config, arms)


def _read(path: Path, asked: dict[str, Any]) -> tuple[Plan, list[str]]:
    """(the plan, with what is asked for beside it, names of the arms whose steps it does not have).

    `asked` gets the order of seeds and arms that the plan has.
    """
    kept = read_object(path)
    form = {"asked": {"config": dict, "seeds": [int], "arms": [[object]], "init_from?": {"*": str}}, "plan": FORM}
    if differs(kept, form) is not None or kept["plan"].keys() != {each.name for each in fields(Plan)}:
        raise _damaged(path)
    before = kept["asked"]
    was = {**before}
    for name in ("seeds", "arms"):
        all_of_it = all(each in asked[name] for each in before[name])
        if all_of_it and (name == "seeds" or before[name][:1] == asked[name][:1]):
            asked[name] = before[name] = before[name] + [each for each in asked[name] if each not in before[name]]
    if before.get("init_from", {}).items() <= asked["init_from"].items():
        before["init_from"] = asked["init_from"]  # an arm that was added may have one of its own
    for name in {**asked, **before}:
        if before.get(name) != asked.get(name):
            more = f", or all of its {name} and more" if name in ("seeds", "arms") else ""
            raise UserError(
                f"{path.parent} holds a comparison of other {NAMES.get(name, name)}{_where(kept, asked)}: give another "
                f"--out{more}."
            )
    plan = Plan(**kept["plan"])
    if not answers(plan, was):
        raise _damaged(path)
    names = [name for name, _ in asked["arms"]]
    return replace(plan, arms=names, seeds=asked["seeds"]), [name for name in names if name not in plan.arms]


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged, or of another version of sctd: give another --out.")


def _check_runs(plan: Plan, arms: list[Arm], config: PretrainConfig) -> None:
    """UserError for an arm that a run would stumble over, before anything is measured."""
    names = [arm.name for arm in arms]
    steps = count_steps(arms, config.schedule.steps or 0, plan.budgets, ("steps",), {})
    for run in make_runs(replace(plan, arms=names, steps=steps), config, arms):
        _check_names(run)


def _check_names(run: Run) -> None:
    """UserError for a setting that else a run would stumble over, when others have been trained."""
    from sctd.method.consistency import DISTANCES
    from sctd.method.keep_rules import KEEP_RULES
    from sctd.method.route import ROUTES
    from sctd.train.optimizer import OPTIMIZERS
    from sctd.train.schedule import SCHEDULES

    tables: dict[str, Collection[str]] = {
        "optimizer.name": OPTIMIZERS,
        "schedule.name": SCHEDULES,
        "dropping.keep_rule": KEEP_RULES,
        "dropping.route": ROUTES,
        "consistency.distance": DISTANCES,
    }
    if run.settings["log.heartbeat"] is None:
        raise UserError(
            f'--arms: "{run.arm}": log.heartbeat is null, by which compare knows what is finished: leave it out.'
        )
    for name, table in tables.items():
        if run.settings[name] not in table:
            raise UserError(
                f'--arms: "{run.arm}": {name}: there is no {run.settings[name]!r}; choose one of {", ".join(table)}.'
            )


def _where(kept: dict[str, Any], asked: dict[str, Any]) -> str:
    """` (schedule.steps: 200 there, 300 now)`, where it is a setting that differs."""
    there, now = (dotted(each["asked"]["config"]) for each in (kept, {"asked": asked}))
    for name, value in now.items():
        if there.get(name) != value:
            return f" ({name}: {json.dumps(there.get(name))} there, {json.dumps(value)} now)"
    return ""


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a precision that is still to be chosen."""
    return {key: value for key, value in settings.items() if (key, value) != ("precision", "auto")}
