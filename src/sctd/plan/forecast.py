"""From settings and a device to figures: what fits, how long a step takes, how that grows with the processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sctd.config import Method, PretrainConfig
from sctd.plan.communication import ddp_bytes, fsdp_bytes, importance_bytes, link_speed
from sctd.plan.devices import GB, SHORTEST_PASS, USABLE, Device
from sctd.plan.memory import Parameters, Setting, halved_to, largest_micro, run_memory, settings_that_fit, taken

SECONDS_A_DAY = 86_400
# bytes that AdamW and the clipping read and write of a parameter: its gradient three times (norm, scaling, step) and
# once written, the parameter and both moments read and written
OPTIMIZER_TRAFFIC = 40
LARGEST = 1024  # processes


@dataclass(frozen=True)
class Place:
    """Where a run is planned.

    Args:
        device: one of its processes' GPU, or this processor.
        kind: cpu or cuda.
        precision: fp32, bf16 or fp16.
        reached: of each method, the share of the device's peak.
        vocab_size: V.
        seq_len: S.
    """

    device: Device
    kind: str
    precision: str
    reached: dict[Method, float]
    vocab_size: int
    seq_len: int

    def setting(self, processes: int) -> Setting:
        """For the count of memory."""
        return Setting(self.vocab_size, self.seq_len, self.precision, self.kind, processes)

    @property
    def room(self) -> float:
        """Bytes that a run may take on one device."""
        return USABLE * self.device.memory * GB


def micro_batch(config: PretrainConfig, place: Place, processes: int, most: int) -> int:
    """Sequences at a time: as set, else as the trainer takes them where `most` fit; 0 where none fits."""
    from sctd.train.step import CPU_TOKENS_AT_A_TIME

    share = config.batch.size // processes
    if config.batch.micro is not None:
        return min(config.batch.micro, share)
    if place.kind == "cpu":
        share = max(1, min(share, CPU_TOKENS_AT_A_TIME // place.seq_len))
    return halved_to(most, share) if most else 0


def forecast(config: PretrainConfig, place: Place, processes: int) -> dict[str, Any]:
    """Figures of a run of this method in so many processes.

    `seconds` and what follows from it are null where not even one sequence fits.
    """
    from sctd.method.cost import Shape
    from sctd.method.step_plan import StepPlan

    setting, share = place.setting(processes), config.batch.size // processes
    plan, shape = StepPlan.of(config), Shape.of(config, place.vocab_size, place.seq_len)
    most = largest_micro(config, share, place.room, setting)
    micro = micro_batch(config, place, processes, most)
    memory = run_memory(config, max(micro, 1), share, setting)
    found: dict[str, Any] = {
        "operations_a_token": shape.mean_training(plan) / place.seq_len,
        "sequences": share,
        "micro": micro,
        "largest_micro": most,
        "fits": 0 < micro <= most,
        "memory": memory.to_json(),
        "peak_bytes": taken(memory, setting),
        "advice": None,
    }
    if not found["fits"]:
        found["advice"] = settings_that_fit(
            config,
            place.vocab_size,
            place.seq_len,
            place.room,
            failed=max(micro, 1),
            precision=place.precision,
            device=place.kind,
            processes=processes,
        )
    if not micro:
        return found | {"seconds": None, "tokens_per_second": None, "days": None, "sent": None}
    count = Parameters.of(config, place.vocab_size, place.seq_len)
    peak = place.device.tflops(place.precision)
    assert peak is not None
    compute = 2e-12 * share * shape.mean_training(plan) / (peak * place.reached[config.method])
    if config.model.gradient_checkpointing:  # the forward pass again, a third of the operations
        compute *= 4 / 3
    micros = math.ceil(share / micro)
    runs = sum(part * len(shape.runs(kind)) for kind, part in plan.shares().items())
    sent = _sent(config, count, place.vocab_size, processes, runs, micros)
    exchange = sent / link_speed(place.device, processes) if processes > 1 else 0.0
    # DDP exchanges during the backward pass of the last micro-batch, FSDP2 all the time
    beside = compute if config.parallel == "fsdp" else 2 / 3 * compute / micros
    alone = compute + _optimizer(config, count, place, processes)
    least = 0.0 if place.kind == "cpu" else micros * SHORTEST_PASS
    seconds = max(alone, least) + max(0.0, exchange - beside)
    steps = config.schedule.steps
    return found | {
        "seconds": seconds,
        "compute_seconds": compute,
        "waits_for_processor": alone < least,
        "exchange_seconds": exchange,
        "sent": sent,
        "tokens_per_second": config.batch.size * place.seq_len / seconds,
        "days": None if steps is None else steps * seconds / SECONDS_A_DAY,
    }


def _sent(
    config: PretrainConfig, count: Parameters, vocab_size: int, processes: int, runs: float, micros: int
) -> float:
    """Bytes that each process sends in a step."""
    shared = 0.0 if config.method == "dense" else importance_bytes(vocab_size, processes)
    if config.parallel == "fsdp":
        return shared + fsdp_bytes(count, processes, runs, micros)
    return shared + ddp_bytes(count, processes)


def _optimizer(config: PretrainConfig, count: Parameters, place: Place, processes: int) -> float:
    """Seconds of the optimizer's step, bound by the memory; 0 where its speed is not known, as on a CPU."""
    if place.device.bandwidth is None:
        return 0.0
    own = count.total / (processes if config.parallel == "fsdp" else 1)
    return OPTIMIZER_TRAFFIC * own / (place.device.bandwidth * GB)


def scaling(config: PretrainConfig, place: Place) -> list[dict[str, Any]]:
    """The run in 1, 2, 4, ... 1,024 processes under DDP and FSDP2; speeds are null where its batch cannot be split."""
    rows = []
    for power in range(LARGEST.bit_length()):
        processes = 2**power
        row: dict[str, Any] = {"gpus": processes}
        for name in ("ddp", "fsdp"):
            split = config.batch.size % processes == 0
            # where it cannot be split, what is sent for a batch of one sequence a process
            sized = config if split else replace(config, batch=replace(config.batch, size=processes))
            found = forecast(replace(sized, parallel=name), place, processes)
            row[name] = {
                "sent": found["sent"],
                "exchange_seconds": found.get("exchange_seconds"),
                "tokens_per_second": found["tokens_per_second"] if split else None,
                "micro": found["micro"],
                "peak_bytes": found["peak_bytes"],
            }
        rows.append(row)
    return rows
