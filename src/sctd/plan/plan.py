"""The verb `plan`: what a run will take on machines that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.config import PretrainConfig
from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.plan.forecast import Place

METHODS = ("dense", "drop", "sctd")


def plan(
    config: PretrainConfig | None = None,
    gpus: str = "cpu",
    data: str | None = None,
    vocab_size: int = 30522,
    seq_len: int = 512,
    utilization: float | None = None,
    network: float | None = None,
    json: str | None = None,
) -> dict[str, Any]:
    """Say what a run takes before it is begun: parameters, operations, memory, speed, days, and what is sent.

    Nothing is trained. dense, drop and sctd stand side by side; the run's own settings say all else. How far the
    figures are from measured runs is in docs/planning.md.

    Args:
        config: the settings of a run.
        gpus: how many of which device: `8xH100`, `L4`; `cpu` is this machine, whose matrix product is measured now. A
            name that is not known is answered with the list.
        data: a folder that `sctd prepare` wrote, for vocabulary and sequence length; null: the two flags below.
        vocab_size: of data that is not there yet; 30,522 is BERT's.
        seq_len: of data that is not there yet; 512 is the published length.
        utilization: share of the device's peak that dense training reaches, in (0, 1]; the other methods' are in
            proportion. null: what we measured, on one H200 or, for `cpu`, of the bare product's rate.
        network: Gbit/s between machines, all cards of one machine together; null: the table's.
        json: file for the figures.

    Returns:
        What the JSON file holds.

    Raises:
        UserError: a device that there is not, or settings that cannot work on it.
    """
    from dataclasses import replace

    from sctd.check import check
    from sctd.plan.devices import parse_gpus

    config = config or PretrainConfig()
    count, name = parse_gpus(gpus)
    if config.schedule.steps is None and config.schedule.minutes is None:  # which a plan does not need
        check(replace(config, schedule=replace(config.schedule, steps=1)))
    else:
        check(config)
    _check(config, count, vocab_size, seq_len, utilization, network, json)
    if data is not None:
        from sctd.tokens.manifest import read_manifest

        manifest = read_manifest(Path(data))
        vocab_size, seq_len = manifest.vocab_size, manifest.seq_len
    if (config.model.max_position_embeddings or seq_len) < seq_len:
        raise UserError(
            f"Sequences of {seq_len} tokens are longer than model.max_position_embeddings "
            f"{config.model.max_position_embeddings}: raise it, or plan with a smaller --seq-len."
        )

    from sctd.files import write_json
    from sctd.plan.forecast import forecast, scaling
    from sctd.plan.memory import Parameters
    from sctd.plan.report import print_report

    place = _place(config, name, vocab_size, seq_len, utilization, network)
    parameters = Parameters.of(config, vocab_size, seq_len)
    methods = {}
    for method in METHODS:
        own = replace(config, method=method)  # type: ignore[arg-type]
        try:
            check(replace(own, schedule=replace(own.schedule, steps=own.schedule.steps or 1)))
        except UserError:
            if method == config.method:
                raise
            continue  # a model of such layers cannot drop tokens
        methods[method] = forecast(own, place, count)
    results: dict[str, Any] = {
        "about": {
            "device": name,
            "gpus": count,
            "precision": place.precision,
            "compile": config.compile,
            "parallel": config.parallel,
            "method": config.method,
            "optimizer": config.optimizer.name,
            "vocab_size": vocab_size,
            "seq_len": seq_len,
            "batch_size": config.batch.size,
            "steps": config.schedule.steps,
            "peak_tflops": place.device.tflops(place.precision),
            "reached": place.reached,
            "room_bytes": place.room,
        },
        "parameters": parameters.total,
        "methods": methods,
        "scaling": [] if name == "cpu" else scaling(config, place),
    }
    print_report(results)
    if json is not None:
        write_json(Path(json), results)
    return results


def _check(
    config: PretrainConfig,
    count: int,
    vocab_size: int,
    seq_len: int,
    utilization: float | None,
    network: float | None,
    json: str | None,
) -> None:
    if config.init_from is not None:
        raise UserError("init_from is set: plan counts models of the recipe's own shape; leave it out.")
    for flag, value, least in (("--vocab-size", vocab_size, 100), ("--seq-len", seq_len, 8)):
        if value < least:
            raise UserError(f"{flag} is {value}; it must be {least} or more.")
    if utilization is not None and not 0 < utilization <= 1:
        raise UserError(f"--utilization is {utilization}; it must be in (0, 1].")
    if network is not None and not network > 0:
        raise UserError(f"--network is {network}; it must be above 0.")
    if config.batch.size % count:
        raise UserError(f"batch.size {config.batch.size} is not a multiple of the number of GPUs, {count}.")
    if config.parallel not in ("ddp", "fsdp"):
        raise UserError(f"parallel: there is no {config.parallel!r}; choose one of ddp, fsdp.")
    if config.optimizer.name not in ("adamw", "muon"):
        raise UserError(f"optimizer.name: there is no {config.optimizer.name!r}; choose one of adamw, muon.")
    if json is not None and not Path(json).parent.is_dir():
        raise UserError(f"--json: {Path(json).parent} is not a folder: make it, or name another place.")


def _place(
    config: PretrainConfig,
    name: str,
    vocab_size: int,
    seq_len: int,
    utilization: float | None,
    network: float | None,
) -> Place:
    """The device with its precision and the shares of its peak that are reached."""
    from dataclasses import replace

    from sctd.plan.devices import CPU, DEVICES, ON_CPU, ON_GPU, this_cpu
    from sctd.plan.forecast import Place

    if name == CPU:
        device, precision = this_cpu(config, min(config.batch.size * seq_len, 4096))
        kind, measured = "cpu", ON_CPU
    else:
        device, precision = DEVICES[name], config.precision
        kind, measured = "cuda", ON_GPU
        if precision == "auto":
            precision = "fp16" if device.bf16 is None else "bf16"
        if device.tflops(precision) is None:
            raise UserError(f"precision: {name} does not multiply {precision}; choose fp16 or auto.")
    if network is not None:
        device = replace(device, network=network / 8)
    scale = 1 if utilization is None else utilization / measured["dense"]
    reached = {method: share * scale for method, share in measured.items()}
    return Place(device, kind, precision, reached, vocab_size, seq_len)
