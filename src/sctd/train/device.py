"""Device and precision: what `auto` means here, and why, in a sentence."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from sctd.errors import UserError

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
MATMUL_WARM_UP, MATMUL_ROUNDS = 2, 9
SMALL, LARGE = 64, 1024  # rows of the products that are timed
HOPELESS = 0.2  # times as fast as float32
BF16_PAYS_FROM = 1.5  # times as fast as float32: below it, casts and rounding cost more than the products save


def choose_device(setting: str) -> torch.device:
    """cuda, else mps, else cpu for `auto`; UserError for a device that is not there."""
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if setting == "auto":
        return torch.device(next(name for name, is_there in available.items() if is_there()))
    kind = setting.split(":")[0]
    if kind not in available:
        raise UserError(f"device: there is no {setting!r}; choose auto, cpu, cuda or mps.")
    if not available[kind]():
        raise UserError(f"device: this machine has no {kind} that torch can use; choose auto or cpu.")
    try:
        device = torch.device(setting)
    except RuntimeError as error:
        raise UserError(f"device: there is no {setting!r}; choose auto, cpu, cuda or mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: there is no {setting!r}; this machine has {torch.cuda.device_count()} GPUs, from 0.")
    return device


def cpu_multiplies_bf16_fast() -> bool:
    """True where bf16 matrix products take much less time than float32 ones, measured on the spot, within 0.2 s.

    No flag of the processor says it: AVX-512's bf16 multiply is 2 to 5 times as fast as float32's on one that has it,
    and slower on another (docs/design.md).
    """

    def seconds(left: torch.Tensor, right: torch.Tensor) -> float:
        start = time.perf_counter()
        left @ right
        return time.perf_counter() - start

    def ratio(size: int, rounds: int) -> float:
        single = torch.randn(size, 512), torch.randn(512, size)
        half = single[0].bfloat16(), single[1].bfloat16()
        ratios = [seconds(*single) / seconds(*half) for _ in range(MATMUL_WARM_UP + rounds)]
        return statistics.median(ratios[MATMUL_WARM_UP:])

    # a processor without any such instruction is hundreds of times slower, which a small product says soon enough
    return ratio(SMALL, 3) > HOPELESS and ratio(LARGE, MATMUL_ROUNDS) > BF16_PAYS_FROM


def choose_precision(setting: str, device: torch.device) -> tuple[str, str]:
    """(precision, the reason in words) for a setting on a device."""
    if setting != "auto":
        return setting, "as set"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU multiplies it natively"
        return "fp16", "the GPU has no native bf16"
    if device.type == "cpu" and cpu_multiplies_bf16_fast():
        return "bf16", "this CPU multiplies it faster"
    return "fp32", f"this {device.type} does not multiply bf16 faster"


def check_compiler(device: torch.device) -> None:
    """UserError where torch.compile would find no C++ compiler, which it needs on a CPU."""
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # inductor's own, of no public type
        raise UserError(
            "compile: torch.compile needs a C++ compiler on a CPU and finds none: install g++ or clang, or leave "
            "compile out."
        ) from error


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory_of(device: torch.device) -> int:
    """Bytes that a device has in all; of a CPU, the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to the precision's type; nothing for fp32. Weights, losses and the importance stay float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_TYPES[precision])
