"""What a device can do, by its maker's data sheet: dense matrix products, memory, and links to its neighbours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sctd.errors import UserError
from sctd.recipe import did_you_mean

# Share of the sheet's rate that our steps reached: base, 32 x 512, bf16, compiled, on one H200 (docs/benchmarks.md):
# by the count of operations, over 989 TFLOP/s. Smaller models reach less.
REACHED = {"dense": 0.34, "drop": 0.30, "sctd": 0.30}
GPUS_A_MACHINE = 8


@dataclass(frozen=True)
class Device:
    """One accelerator.

    Args:
        tflops: 10^12 operations a second of dense products in its 16-bit type with float32 sums; a multiply-add is two.
        memory: bytes.
        link: bytes a second that it sends to others in its machine.
        precision: its 16-bit type, bf16 or fp16.
    """

    tflops: float
    memory: float
    link: float
    precision: str = "bf16"


GB = 1e9
# data sheets; where one gives a rate with sparsity, half of it; links: one direction of NVLink, xGMI or PCIe
DEVICES = {
    "T4": Device(65, 16 * GB, 16 * GB, "fp16"),
    "V100": Device(125, 32 * GB, 150 * GB, "fp16"),
    "A10": Device(125, 24 * GB, 32 * GB),
    "L4": Device(121, 24 * GB, 32 * GB),
    "L40S": Device(362, 48 * GB, 32 * GB),
    "RTX3090": Device(71, 24 * GB, 32 * GB),
    "RTX4090": Device(165, 24 * GB, 32 * GB),
    "RTX5090": Device(209, 32 * GB, 64 * GB),
    "A100-40GB": Device(312, 40 * GB, 300 * GB),
    "A100": Device(312, 80 * GB, 300 * GB),
    "H100": Device(989, 80 * GB, 450 * GB),
    "H200": Device(989, 141 * GB, 450 * GB),
    "B200": Device(2250, 180 * GB, 900 * GB),
    "MI300X": Device(1307, 192 * GB, 448 * GB),
}


def parse_gpus(text: str) -> tuple[int, str, Device]:
    """(how many, name, device) of `8xH100` or `H100`.

    Raises:
        UserError: no such number or device; it names the nearest.
    """
    found = re.fullmatch(r"(?:(\d+)x)?([\w-]+)", text.strip(), re.IGNORECASE)
    count, name = (int(found[1] or 1), found[2]) if found else (0, text)
    known = {each.lower(): each for each in DEVICES}
    if name.lower() not in known:
        near = did_you_mean(name.upper(), list(DEVICES), f"known are {', '.join(DEVICES)}")
        raise UserError(f'--gpus: there is no device "{name}"; {near}')
    if not 1 <= count <= 100_000:
        raise UserError(f"--gpus: {count} devices; give 1 or more, such as 8x{known[name.lower()]}.")
    name = known[name.lower()]
    return count, name, DEVICES[name]
