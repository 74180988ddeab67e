"""The verb `compare`: is token dropping worth it on this text, at this size, in these hours?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.locks import LOCK

if TYPE_CHECKING:
    from sctd.compare.arms import Arm
    from sctd.compare.plan import Plan, Run
    from sctd.tokens.prepared import PreparedData

PLAN = "plan.json"


def compare(
    data: str,
    out: str,
    arms: list[str] | None = None,
    config: PretrainConfig | None = None,
    seeds: list[int] | None = None,
    equal: Literal["both", "steps", "time"] = "both",
    budgets: list[float] | None = None,
    scores: list[str] | None = None,
    scores_data: str | None = None,
    rounds: int = 15,
    ablation: str | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Pretrain several arms with several seeds, score them, and say what differs and how sure that is.

    The first arm is what the others are compared with, at equal steps and at equal time. Equal time: all arms' step
    times are measured first, taking turns, and the first arm's time gives each of the others its number of steps; so
    let nothing else run then. Writes OUT: plan.json (fixed before the first run), runs/, scores/, results.json,
    report.md and report.html. The same command goes on where it was stopped.

    Args:
        data: folder that `sctd prepare` wrote.
        out: folder for everything.
        arms: two or more of `dense`, `drop`, `sctd`, a keep rule (`random`, `frequency`), a recipe, each with overrides
            if wanted: `sctd@interval=5`, `random@keep_ratio=0.25`, `dense@steps=2000`.
        config: what all arms have in common; its schedule.steps are the first arm's.
        seeds: of the runs, the same for every arm; null: 1, 2 and 3. Later commands may add some, which is reported.
        equal: `steps`, `time`, or `both`.
        budgets: for the time to quality, lengths of the equal-time runs as multiples of the first arm's, 1 among them,
            such as 0.5 0.75 1; null: 1 alone.
        scores: beside held-out loss and drift: `blimp`, `probe` (all) or `probe:NAME`, `task:NAME` (quick, fine-tuned
            with seed 1); null: none. What is asked for later than with the first command is shown, but not tested.
        scores_data: folder that holds blimp, probing or tasks, as far as they are wanted.
        rounds: turns of each arm in measuring step times.
        ablation: in place of arms, a list of them that is shipped, by name: `interval`, `weight`, `terms`, `distance`,
            `place`, `variant`, `keep_ratio`, `keep_rule`, `beta`, `where`, `route`, `full_tail`, `full_start`,
            `optimizer`.
        jobs: how many runs are pretrained, and then scored, at once, where the device has room for several; their
            clocks then say little, the steps at equal time are still those that were measured alone.

    Returns:
        What results.json holds, see `sctd.compare.results.collect` and `sctd.compare.facts`.

    Raises:
        UserError: an arm, setting or folder that cannot be used; finished runs stay.
    """
    config = config or PretrainConfig()
    seeds, budgets, scores = seeds or [1, 2, 3], budgets or [1.0], scores or []
    _check(config, seeds, budgets, equal, rounds, jobs)

    from dataclasses import asdict

    from sctd.compare.ablations import arms_of
    from sctd.compare.arms import parse_arms
    from sctd.compare.plan import dotted
    from sctd.compare.scoring import check_scores
    from sctd.extras import check_installed

    if (arms is None) == (ablation is None):
        raise UserError("Give --arms, such as --arms dense drop sctd, or --ablation: one of the two.")
    chosen = parse_arms(arms or arms_of(str(ablation)), dotted(asdict(config)))
    check_installed("scipy", *(["sklearn", "accelerate"] if scores else []), extra="evaluate")
    check_installed("matplotlib", extra="bench")
    check_scores(scores, scores_data)

    import json

    from sctd.locks import alone
    from sctd.tokens.prepared import load_prepared
    from sctd.train.trainer import data_fingerprint

    prepared = load_prepared(data)
    asked = {
        "config": asdict(config),
        "data": data_fingerprint(prepared),
        "arms": [[arm.name, dict(arm.settings)] for arm in chosen],
        "seeds": seeds,
        "budgets": budgets,
        "equal": equal,
    }
    asked = json.loads(json.dumps(asked))  # as it is read back
    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"{out} exists and holds no comparison: give another --out.")
    # the plan and its runs are one command's
    with alone(Path(out), lambda: f"Another sctd compare works on {out}: wait for its end, or stop it."):
        return _carry_out(Path(out), asked, config, chosen, prepared, rounds, scores, scores_data, jobs)


def _carry_out(
    folder: Path,
    asked: dict[str, Any],
    config: PretrainConfig,
    arms: list[Arm],
    prepared: PreparedData,
    rounds: int,
    scores: list[str],
    scores_data: str | None,
    jobs: int,
) -> dict[str, Any]:
    """What results.json holds: plan, runs, scores and report."""
    from sctd.compare.facts import costs, dropped_words, facts
    from sctd.compare.pretraining import pretrain_all
    from sctd.compare.report import verdict, write_report
    from sctd.compare.results import collect
    from sctd.compare.scoring import held_out, score_all, score_run
    from sctd.console import say
    from sctd.files import write_json
    from sctd.train.device import choose_device
    from sctd.train.environment import environment

    plan, runs = _plan(folder, asked, config, arms, prepared.path, rounds, scores)
    for arm in plan.arms:
        took = f"{1000 * plan.seconds[arm]:,.1f} ms a step; " if plan.seconds else ""
        say(f"{arm}: {took}" + ", ".join(f"{_numbers(each[arm])} steps at equal {v}" for v, each in plan.steps.items()))
    say(f"{len(runs)} runs, seeds {', '.join(map(str, plan.seeds))}.")
    pretrain_all(folder, runs, str(prepared.path), jobs)
    places = None if scores_data is None else Path(scores_data)
    if scores and jobs > 1:
        score_all(folder, runs, scores, places, jobs)
    found: dict[str, Any] = {}
    for number, run in enumerate(runs, start=1):
        if scores:
            say(f"Scoring {number} of {len(runs)}: {run.arm}, {run.steps:,} steps, seed {run.seed}.")
        loss, about = held_out(folder / run.folder)
        more = score_run(folder, run, scores, places)
        found[run.folder] = {"scores": loss | more, "about": about}
    results = collect(plan, runs, found)
    results |= {"asked": asked, "environment": environment(choose_device(config.device))}
    results |= {"facts": facts(config, prepared), "costs": costs(runs, prepared)}
    results["words"] = dropped_words(folder, plan, runs, prepared.path)
    write_json(folder / "results.json", results)
    write_report(folder, results)
    say(verdict(results))
    say(f"Written: {folder / 'results.json'}, {folder / 'report.md'} and {folder / 'report.html'}.")
    return results


def _check(config: PretrainConfig, seeds: list[int], budgets: list[float], equal: str, rounds: int, jobs: int) -> None:
    if config.schedule.minutes is not None:
        raise UserError("schedule.minutes is set: compare needs a number of steps for the first arm, schedule.steps.")
    if config.schedule.steps is None:
        raise UserError("schedule.steps is not set: give --schedule.steps, the number of steps of the first arm.")
    if len(set(seeds)) < len(seeds):
        raise UserError("--seeds names a seed twice: each is one run of every arm.")
    if 1.0 not in budgets:
        raise UserError("--budgets must hold 1, the budget at which arms are compared.")
    if any(not budget > 0 for budget in budgets) or len(set(budgets)) < len(budgets):
        raise UserError("--budgets must be above 0, and each be given once.")
    if len(budgets) > 1 and equal == "steps":
        raise UserError("--budgets asks for the time to quality, which needs --equal time or both.")
    if rounds < 2:
        raise UserError(f"--rounds is {rounds}; it must be 2 or more.")
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it must be 1 or more.")


def _plan(
    folder: Path,
    asked: dict[str, Any],
    config: PretrainConfig,
    arms: list[Arm],
    data: Path,
    rounds: int,
    scores: list[str],
) -> tuple[Plan, list[Run]]:
    """The plan that OUT holds, or a new one, for which step times are measured."""
    from dataclasses import fields

    from sctd.compare.plan import FORM, VIEWS, Plan, answers, arm_settings, count_steps, make_runs
    from sctd.compare.step_times import measure_step_times
    from sctd.console import progress_bar
    from sctd.files import disk_errors, write_json
    from sctd.json_text import differs
    from sctd.scores.kept import read_object
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
        if set(kept["asked"]["seeds"]) < set(asked["seeds"]):
            kept["asked"]["seeds"] = kept["plan"]["seeds"] = asked["seeds"]
        for name, value in asked.items():
            if kept["asked"].get(name) != value:
                more = ", or all of its seeds and more" if name == "seeds" else ""
                raise UserError(
                    f"{folder} holds a comparison of other {name}{_where(kept, asked)}: give another --out{more}."
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

    def plan_of(wanted: tuple[str, ...], seconds: dict[str, float]) -> Plan:
        steps = count_steps(arms, config.schedule.steps or 0, asked["budgets"], wanted, seconds)
        names = [arm.name for arm in arms]
        return Plan(names, asked["seeds"], asked["seeds"], asked["budgets"], seconds, steps, precision, scores)

    make_runs(plan_of(("steps",), {}), config, arms)  # all settings are checked before anything is measured
    seconds: dict[str, float] = {}
    if "time" in views:
        with progress_bar() as bar:
            line = bar.add_task("step times", total=len(arms) * (rounds + 2), note="")

            def advance(note: str) -> None:
                bar.update(line, advance=1, note=note)

            each = [(arm.name, {"precision": precision, **_known(arm_settings(config, arm))}) for arm in arms]
            seconds = measure_step_times(each, data, rounds, advance, device.type != "cpu")
    plan = plan_of(views, seconds)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"asked": asked, "plan": vars(plan)})
    return plan, make_runs(plan, config, arms)


def _where(kept: dict[str, Any], asked: dict[str, Any]) -> str:
    """` (schedule.steps: 200 there, 300 now)`, where it is a setting that differs."""
    from sctd.compare.plan import dotted

    there, now = (dotted(each["asked"]["config"]) for each in (kept, {"asked": asked}))
    for name, value in now.items():
        if there.get(name) != value:
            return f" ({name}: {there.get(name)} there, {value} now)"
    return ""


def _numbers(steps: list[int]) -> str:
    return " and ".join(f"{number:,}" for number in steps)


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a precision that is still to be chosen."""
    return {key: value for key, value in settings.items() if (key, value) != ("precision", "auto")}
