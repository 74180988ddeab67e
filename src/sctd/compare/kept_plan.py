"""The plan that OUT holds, if it is one of what is asked, or a new one, for which step times are measured."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from sctd.compare.arms import Arm
from sctd.compare.plan import FORM, VIEWS, Plan, Run, answers, arm_settings, count_steps, dotted, make_runs
from sctd.config import PretrainConfig
from sctd.console import progress_bar
from sctd.errors import UserError
from sctd.files import disk_errors, write_json
from sctd.json_text import differs
from sctd.locks import LOCK
from sctd.scores.kept import read_object

PLAN = "plan.json"
NAMES = {"equal": "views (--equal)", "config": "settings"}  # of what was asked, for a person


def read_or_make_plan(
    folder: Path,
    asked: dict[str, Any],
    config: PretrainConfig,
    arms: list[Arm],
    data: Path,
    rounds: int,
    scores: list[str],
) -> tuple[Plan, list[Run]]:
    """The plan that OUT holds, or a new one, for which step times are measured."""
    from sctd.compare.step_times import measure_step_times
    from sctd.train.device import choose_device, choose_precision

    assert config.schedule.steps is not None
    path = folder / PLAN
    if path.exists():
        kept = read_object(path)
        names = {each.name for each in fields(Plan)}
        damaged = UserError(f"{path} is damaged, or of another version of sctd: give another --out.")
        form = {"asked": {"config": dict, "seeds": [int]}, "plan": FORM}
        if differs(kept, form) is not None or kept["plan"].keys() != names:
            raise damaged
        before = kept["plan"]["seeds"]
        if set(kept["asked"]["seeds"]) == set(asked["seeds"]):
            asked["seeds"] = kept["asked"]["seeds"]  # in another order
        if set(kept["asked"]["seeds"]) < set(asked["seeds"]):
            kept["asked"]["seeds"] = kept["plan"]["seeds"] = asked["seeds"]
        for name, value in asked.items():
            if kept["asked"].get(name) != value:
                more = ", or all of its seeds and more" if name == "seeds" else ""
                raise UserError(
                    f"{folder} holds a comparison of other {NAMES.get(name, name)}{_where(kept, asked)}: give another "
                    f"--out{more}."
                )
        plan = Plan(**kept["plan"])
        if not answers(plan, asked):
            raise damaged
        if before != plan.seeds:
            write_json(path, {"asked": asked, "plan": vars(plan)})
        return plan, make_runs(plan, config, arms)
    if folder.exists() and any(each.name != LOCK for each in folder.iterdir()):
        raise UserError(f"{folder} exists and holds no comparison: give another --out.")
    views = VIEWS if asked["equal"] == "both" else (asked["equal"],)
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)[0]

    def plan_of(wanted: tuple[str, ...], seconds: dict[str, float], doubts: dict[str, float]) -> Plan:
        steps = count_steps(arms, config.schedule.steps or 0, asked["budgets"], wanted, seconds)
        names = [arm.name for arm in arms]
        return Plan(names, asked["seeds"], asked["seeds"], asked["budgets"], seconds, doubts, steps, precision, scores)

    for run in make_runs(plan_of(("steps",), {}, {}), config, arms):  # checked before anything is measured
        _check_names(run)
    seconds: dict[str, float] = {}
    doubts: dict[str, float] = {}
    if "time" in views:
        with progress_bar() as bar:
            line = bar.add_task("step times", total=len(arms) * (rounds + 2), note="")

            def advance(note: str) -> None:
                bar.update(line, advance=1, note=note)

            each = [(arm.name, {"precision": precision, **_known(arm_settings(config, arm))}) for arm in arms]
            seconds, doubts = measure_step_times(each, data, rounds, advance, device.type != "cpu")
    plan = plan_of(views, seconds, doubts)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"asked": asked, "plan": vars(plan)})
    return plan, make_runs(plan, config, arms)


def _check_names(run: Run) -> None:
    """UserError for a name that no table has, which else a run would find when others have been trained."""
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
