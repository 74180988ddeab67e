"""The verb `compare`: is token dropping worth it on this text, at this size, in these hours?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.config import PretrainConfig
from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.compare.arms import Arm
    from sctd.compare.plan import Run
    from sctd.tokens.prepared import PreparedData

MOST_BUDGET = 100  # times the first arm's steps: more is a slip of the hand
FEWEST_ROUNDS = 6  # of which the whole range is a 95 % interval of the median


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
            if wanted: `sctd@interval=5`, `random@keep_ratio=0.25`, `dense@steps=2000`. Later commands may add some,
            which are shown and not tested.
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
    if scores_data is not None and not scores:
        raise UserError("--scores-data is given and nothing is scored by it: give --scores too, or leave it out.")
    if config.seed not in seeds and config.seed != PretrainConfig().seed:
        raise UserError(
            f"seed is {config.seed}, which compare does not use: every arm has --seeds, {seeds[0]} and so on."
        )
    chosen = parse_arms(arms or arms_of(str(ablation)), dotted(asdict(config)))
    check_installed("scipy", *(["sklearn", "accelerate"] if scores else []), extra="evaluate")
    check_installed("matplotlib", extra="bench")
    check_scores(scores, scores_data)

    import json

    from sctd.hf.load import model_fingerprint, model_folder
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
    starts = {config.init_from, *(arm.settings.get("init_from") for arm in chosen)} - {None}
    asked["init_from"] = {place: model_fingerprint(model_folder(place)) for place in sorted(map(str, starts))}
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
    from sctd.compare import sections
    from sctd.compare.facts import began_and_ended, costs, dropped_words, facts
    from sctd.compare.kept_plan import read_or_make_plan
    from sctd.compare.plan import compared
    from sctd.compare.pretraining import pretrain_all
    from sctd.compare.report import own_length, verdict, write_report
    from sctd.compare.results import collect, comparisons
    from sctd.compare.scoring import averaged, held_out, score_all, score_run
    from sctd.compare.step_times import doubtful
    from sctd.console import say
    from sctd.files import write_json
    from sctd.train.device import choose_device
    from sctd.train.environment import environment

    plan, runs = read_or_make_plan(folder, asked, config, arms, prepared.path, rounds, scores)
    for arm in plan.arms:
        took = f"{1000 * plan.seconds[arm]:,.1f} ms a step; " if plan.seconds else ""
        say(f"{arm}: {took}" + ", ".join(f"{_numbers(each[arm])} steps at equal {v}" for v, each in plan.steps.items()))
    if (doubt := doubtful(plan.arms[0], plan.doubts)) is not None:
        say(f"{doubt} Let nothing else run, or give more --rounds; for another measurement, another --out.")
    say(f"{len(runs)} runs, seeds {', '.join(map(str, plan.seeds))}{_how_long(runs, plan.seconds)}.")
    say(sections.power(len(plan.seeds), comparisons(plan)))
    pretrain_all(folder, runs, str(prepared.path), jobs)
    places = None if scores_data is None else Path(scores_data)
    tasks = averaged(plan.scores, scores)
    to_score = [run for run in runs if compared(plan, run)] if scores else []
    if to_score and jobs > 1:
        score_all(folder, to_score, scores, places, tasks, jobs)
    found: dict[str, Any] = {}
    for run in runs:
        if run in to_score:
            number = to_score.index(run) + 1
            say(f"Scoring {number} of {len(to_score)}: {run.arm}, {run.steps:,} steps, seed {run.seed}.")
        loss, about = held_out(folder / run.folder)
        more = score_run(folder, run, scores if run in to_score else [], places, tasks)
        found[run.folder] = {"scores": loss | more, "about": about}
    results = collect(plan, runs, found, own_length({"asked": asked}))
    results |= {"asked": asked, "environment": environment(choose_device(config.device))}
    results["environment"] |= began_and_ended(folder, runs)
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
    if any(not 0 < budget <= MOST_BUDGET for budget in budgets) or len(set(budgets)) < len(budgets):
        raise UserError(f"--budgets must be above 0, at most {MOST_BUDGET}, and each be given once.")
    if len(budgets) > 1 and equal == "steps":
        raise UserError("--budgets asks for the time to quality, which needs --equal time or both.")
    if rounds < FEWEST_ROUNDS:
        raise UserError(
            f"--rounds is {rounds}; it must be {FEWEST_ROUNDS} or more, to tell how well step times are known."
        )
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it must be 1 or more.")


def _how_long(runs: list[Run], seconds: dict[str, float]) -> str:
    """`: 150 minutes of training`, by the step times that were measured."""
    if not seconds:
        return ""
    minutes = sum(run.steps * seconds[run.arm] for run in runs) / 60
    length = f"{minutes:,.0f} minutes" if minutes >= 1.5 else "about a minute" if minutes > 0.5 else "seconds"
    return f": {length} of training, one run after another; evaluation and scores come on top"


def _numbers(steps: list[int]) -> str:
    return " and ".join(f"{number:,}" for number in steps)
