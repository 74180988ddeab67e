"""The verb `bench`: how fast the methods train here, beside what a user would run instead."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from sctd.bench.arms import MATMUL, METHODS, PEERS
from sctd.config import PretrainConfig
from sctd.errors import UserError

DEFAULT_STEPS = 1  # a configuration needs a length; none is trained


def bench(
    config: PretrainConfig | None = None,
    data: str | None = None,
    arms: list[str] | None = None,
    against: list[str] | None = None,
    rounds: int = 15,
    minutes: float | None = None,
    vocab_size: int = 8192,
    seq_len: int = 128,
    json: str | None = None,
) -> dict[str, Any]:
    """Measure step times of the methods and of what a user would run instead.

    Each arm runs in a process of its own, and they take turns, round after round, so that what the machine does beside
    meets all of them. Warm-up and compilation are outside the clock. Let nothing else run; all arms' memory is taken at
    once.

    Args:
        config: the settings of a run; its method is replaced by each arm's.
        data: a folder that `sctd prepare` wrote; null: made-up tokens.
        arms: some of dense, drop and sctd; null: all three.
        against: some of hf (transformers' BertForMaskedLM under its Trainer), hf-eager, hf-compiled,
            hf-graphs and hf-eager-compiled, or none; null: hf. The table compares with the first and with the fastest.
        rounds: turns of each arm: a step of each of its kinds, on a GPU twenty.
        minutes: also say how many steps this time gives each arm, for runs of equal time.
        vocab_size: of made-up tokens.
        seq_len: of made-up tokens.
        json: file for the figures; a table (.md) and a plot (.svg) are written beside it.

    Returns:
        What the JSON file holds.

    Raises:
        UserError: an arm that there is not, or that cannot run here.
    """
    from dataclasses import replace

    config = config or PretrainConfig()
    if config.schedule.steps is None and config.schedule.minutes is None:
        config = replace(config, schedule=replace(config.schedule, steps=DEFAULT_STEPS))
    methods = [*METHODS] if arms is None else arms
    peers = ["hf"] if against is None else [name for name in against if name != "none"]
    _check(config, methods, peers, rounds)
    for flag, value, least in (("--vocab-size", vocab_size, 100), ("--seq-len", seq_len, 8)):
        if value < least:
            raise UserError(f"{flag} is {value}; it must be {least} or more.")
    if json is not None and not Path(json).parent.is_dir():
        raise UserError(f"--json: {Path(json).parent} is not a folder: make it, or name another place.")
    if json is not None and Path(json).suffix != ".json":
        raise UserError(f"--json: {json} must end with .json; a table (.md) and a plot (.svg) are written beside it.")
    if minutes is not None and not minutes > 0:
        raise UserError(f"--minutes is {minutes}; it must be above 0.")

    from sctd.extras import check_installed

    check_installed(*(["accelerate"] if peers else []), *(["matplotlib"] if json else []), extra="bench")

    import json as json_format
    import tempfile

    from sctd.bench.figures import figures
    from sctd.bench.made_up import write_made_up
    from sctd.bench.report import markdown, plot, print_report
    from sctd.bench.rounds import measure
    from sctd.bench.worker import Job
    from sctd.console import progress_bar, say
    from sctd.files import write_text
    from sctd.tokens.prepared import load_prepared
    from sctd.train.device import choose_device

    with tempfile.TemporaryDirectory(prefix="sctd-bench-") as scratch:
        if data is None:
            write_made_up(Path(scratch) / "data", vocab_size, seq_len, max(512, 4 * config.batch.size))
        prepared = load_prepared(Path(scratch) / "data" if data is None else data)
        about, shape = _about(config, prepared)
        about |= {"rounds": rounds, "minutes": minutes, "against": peers}
        arms_named = ", ".join([*peers, *methods])
        say(f"{about['sequences']} x {about['length']} tokens a step, {about['precision']}: {arms_named}.")
        shares = {arm: _shares(config, arm) for arm in [*peers, *methods, MATMUL]}
        jobs = [
            Job(arm, str(prepared.path), _settings(config, arm, about), str(Path(scratch) / arm), tuple(kinds))
            for arm, kinds in shares.items()
        ]
        with progress_bar() as bar:
            line = bar.add_task("bench", total=len(jobs) * (rounds + 2), note="")

            def advance(note: str) -> None:
                bar.update(line, advance=1, note=note)

            times, rest = measure(jobs, rounds, advance, on_gpu=choose_device(config.device).type != "cpu")
    results: dict[str, Any] = {
        "about": about,
        "arms": figures(times, rest["parts"], rest["bytes"], shape, about["sequences"], shares, peers, minutes),
        "parts": rest["parts"],
        "matmul_flops": 2 / statistics.median(times[MATMUL][MATMUL]),
        "seconds": times,
    }
    print_report(results)
    if json is not None:
        path = Path(json)
        write_text(path, json_format.dumps(results, indent=1) + "\n")
        write_text(path.with_suffix(".md"), markdown(results))
        plot(results, path.with_suffix(".svg"))
    return results


def _check(config: PretrainConfig, methods: list[str], peers: list[str], rounds: int) -> None:
    from dataclasses import replace

    from sctd.check import check
    from sctd.recipe import did_you_mean

    for flag, given, names in (("--arms", methods, METHODS), ("--against", peers, PEERS)):
        for name in given:
            if name not in names:
                others = f"there are {', '.join(names)}"
                raise UserError(f'{flag}: there is no "{name}"; {did_you_mean(name, names, others)}')
    if not methods:
        raise UserError("--arms names none: give some of dense, drop and sctd.")
    if rounds < 2:
        raise UserError(f"--rounds is {rounds}; it must be 2 or more.")
    for method in methods:
        check(replace(config, method=method))  # type: ignore[arg-type]
    if config.init_from is not None:
        raise UserError("init_from is set: bench measures models of the recipe's own shape; leave it out.")
    micro = config.batch.micro
    if micro is not None and config.batch.size % micro:
        raise UserError(f"batch.size {config.batch.size} is no multiple of batch.micro {micro}: peers need one.")


def _about(config: PretrainConfig, prepared: Any) -> tuple[dict[str, Any], Any]:
    """What the report says of the measurement, and the shape for its count."""
    from dataclasses import replace

    import torch

    from sctd.method.cost import Shape
    from sctd.model.attention import choose_attention
    from sctd.train.device import choose_device, choose_precision
    from sctd.train.environment import cpu_name, environment

    device = choose_device(config.device)
    length, vocabulary = prepared.manifest.seq_len, prepared.manifest.vocab_size
    shape = Shape.of(replace(config, method="dense"), vocabulary, length)  # which may be unable to drop tokens
    where = environment(device)
    about = {
        "layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "vocab_size": vocabulary,
        "sequences": config.batch.size,
        "length": length,
        "keep_ratio": config.dropping.keep_ratio,
        "interval": config.consistency.interval,
        "dropout": config.model.dropout,
        "precision": choose_precision(config.precision, device)[0],
        "compile": config.compile,
        "cuda_graphs": config.cuda_graphs,
        "optimizer": config.optimizer.name,
        "attention": choose_attention(config.model.attention, device.type, length),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "command": where["command"],
        "started": where["started"],
    }
    return about, shape


def _shares(config: PretrainConfig, arm: str) -> dict[Any, float]:
    """An arm's kinds of step, each with its share of the steps."""
    from dataclasses import replace

    from sctd.method.step_plan import StepPlan

    if arm not in METHODS:
        return {arm: 1.0}
    return dict(StepPlan.of(replace(config, method=arm)).shares())  # type: ignore[arg-type]


def _settings(config: PretrainConfig, arm: str, about: dict[str, Any]) -> dict[str, Any]:
    """An arm's configuration by dotted names, with the choices made once for all arms."""
    from dataclasses import asdict

    method = arm if arm in METHODS else "dense"
    return asdict(config) | {"method": method, "precision": about["precision"]}
