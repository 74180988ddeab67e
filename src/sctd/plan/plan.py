"""The verb `plan`: what a run would need and take on devices that are not at hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.config import Method, PretrainConfig
from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.plan.devices import Device
    from sctd.train.step_memory import StepMemory

METHODS: tuple[Method, ...] = ("dense", "drop", "sctd")


def plan(
    config: PretrainConfig | None = None,
    gpus: str = "1xH100",
    data: str | None = None,
    vocab_size: int = 30522,
    seq_len: int = 512,
    utilization: float | None = None,
    network: float = 50.0,
    json: str | None = None,
) -> dict[str, Any]:
    """What a recipe needs on other devices: memory, operations, time and traffic, for dense, drop and sctd.

    Nothing is trained: operations are counted by shape, memory by running a step on tensors without data, and rates
    come from data sheets and from what was reached on one H200. docs/planning.md says how far that was off.

    Args:
        config: the run; its batch.size is shared among the devices.
        gpus: such as 8xH100; of T4, V100, A10, L4, L40S, RTX3090, RTX4090, RTX5090, A100-40GB, A100, H100, H200, B200,
            MI300X.
        data: folder that `sctd prepare` wrote, which gives the two that follow.
        vocab_size: token ids.
        seq_len: tokens a sequence.
        utilization: share of the device's rate that is reached; null: 0.34 for dense, 0.30 with dropping.
        network: gigabytes a second that each device sends between machines, of 8 devices each.
        json: file to write everything to.

    Returns:
        `about`, `methods` (a mapping a method) and `scaling` (a mapping a number of devices).

    Raises:
        UserError: settings or devices that cannot be used.
    """
    from sctd.check import check
    from sctd.plan.devices import parse_gpus

    config = config or PretrainConfig()
    count, name, device = parse_gpus(gpus)
    if utilization is not None and not 0 < utilization <= 1:
        raise UserError(f"--utilization is {utilization}; it must be above 0, at most 1.")
    if not network > 0:
        raise UserError(f"--network is {network}; it must be above 0.")
    if data is not None:
        from sctd.tokens.manifest import read_manifest

        manifest = read_manifest(Path(data))
        vocab_size, seq_len = manifest.vocab_size, manifest.seq_len
    if not 64 <= vocab_size <= 2**24 or not 8 <= seq_len <= 32768:
        raise UserError(
            f"--vocab-size {vocab_size} or --seq-len {seq_len} is out of range: give 64 to {2**24:,} and 8 to 32768."
        )
    check(config if _has_length(config) else replace(config, schedule=replace(config.schedule, steps=1)))
    if config.init_from is not None:
        raise UserError("init_from is set: plan needs the model's shape, so give model.preset or its sizes instead.")
    if config.batch.size % count:
        raise UserError(f"batch.size {config.batch.size} is not a multiple of the number of devices, {count}.")

    from sctd.console import say, show
    from sctd.files import write_json
    from sctd.plan.tables import about_text, method_table, scaling_table

    precision = device.precision if config.precision == "auto" else config.precision
    about = {
        "gpus": count, "device": name, **asdict(device), "precision": precision, "network": network * 1e9,
        "vocab_size": vocab_size, "seq_len": seq_len, "batch": config.batch.size, "steps": config.schedule.steps,
        "optimizer": config.optimizer.name, "parallel": config.parallel, "method": config.method,
    }  # fmt: skip
    found: dict[str, Any] = {"about": about, "methods": {}}
    for method in METHODS:
        one = replace(config, method=method)
        try:
            check(replace(one, schedule=replace(one.schedule, steps=one.schedule.steps or 1, minutes=None)))
        except UserError as error:
            say(f"{method} is left out: {error}")
            continue
        found["methods"][method] = of_method(one, count, device, about, utilization)
    found["scaling"] = scaling(found, config)
    say(about_text(found))
    show(method_table(found))
    show(scaling_table(found))
    if json is not None:
        write_json(Path(json), found)
    return found


def _has_length(config: PretrainConfig) -> bool:
    return config.schedule.steps is not None or config.schedule.minutes is not None


def of_method(
    config: PretrainConfig, count: int, device: Device, about: dict[str, Any], utilization: float | None
) -> dict[str, Any]:
    """One column of the first table: everything in bytes, seconds and operations."""
    from sctd.method.cost import Shape
    from sctd.method.step_plan import StepPlan
    from sctd.plan.communication import Sizes, rate, traffic
    from sctd.plan.devices import REACHED
    from sctd.train.step_memory import USABLE

    vocab_size, length = about["vocab_size"], about["seq_len"]
    steps = StepPlan.of(config)
    operations = 2 * Shape.of(config, vocab_size, length).mean_training(steps) / length
    kinds = list(steps.shares())
    memory = largest([_memory(config, kind, vocab_size, length, about["precision"]) for kind in kinds])
    own = config.batch.size // count
    states = memory.states / count if config.parallel == "fsdp" else memory.states
    fits = memory.largest_micro(USABLE * device.memory, states)
    micro = min(own, fits, config.batch.micro or own)
    reached = REACHED[config.method] if utilization is None else utilization
    tokens = config.batch.size * length
    seconds = tokens * operations / (device.tflops * 1e12 * reached * count)
    sent = traffic(Sizes.of(config, memory.parameters, vocab_size), count, max(1, -(-own // max(1, micro))))
    exchange = (sent.fsdp if config.parallel == "fsdp" else sent.ddp) / rate(count, device.link, about["network"])
    return {
        "parameters": memory.parameters,
        "operations_a_token": operations,
        "utilization": reached,
        "states": states,
        "a_sequence": memory.a_sequence,
        "fits": fits,
        "micro": micro,
        "peak": memory.peak(micro, states) if micro else None,
        "seconds_a_step": seconds,
        "exchange_seconds": exchange,
        "tokens_per_second": tokens / seconds,
        "seconds": None if about["steps"] is None else about["steps"] * seconds,
        "seconds_unhidden": None if about["steps"] is None else about["steps"] * (seconds + exchange),
    }


def _memory(config: PretrainConfig, kind: Any, vocab_size: int, length: int, precision: str) -> StepMemory:
    from sctd.train.step_memory import step_memory

    return step_memory(config, kind, vocab_size, length, "cuda", precision)


def largest(memories: list[StepMemory]) -> StepMemory:
    """Of a run with steps of several kinds, the one that needs most."""
    return max(memories, key=lambda memory: memory.a_sequence)


def scaling(found: dict[str, Any], config: PretrainConfig) -> list[dict[str, Any]]:
    """The second table: from 1 device to 1,024, the batch being shared among them; the recipe's own method.

    `sequences` and `seconds_a_step` are null where the batch has too few sequences, or cannot be shared evenly.
    """
    from sctd.plan.communication import COUNTS, Sizes, rate, traffic

    about, one = found["about"], found["methods"][config.method]
    states = one["states"] * (about["gpus"] if config.parallel == "fsdp" else 1)
    lines = []
    for count in COUNTS:
        own = None if config.batch.size % count else config.batch.size // count
        passes = -(-own // max(1, min(own, one["fits"]))) if own else 1
        sent = traffic(Sizes.of(config, one["parameters"], about["vocab_size"]), count, passes)
        by = rate(count, about["link"], about["network"])
        lines.append(
            {
                "gpus": count,
                "sequences": own,
                "seconds_a_step": one["seconds_a_step"] * about["gpus"] / count if own else None,
                "ddp_bytes": sent.ddp,
                "ddp_seconds": sent.ddp / by,
                "ddp_states": states,
                "fsdp_bytes": sent.fsdp,
                "fsdp_seconds": sent.fsdp / by,
                "fsdp_states": states / count,
            }
        )
    return lines
