"""What may be trained on: a table of GPUs from their makers' data sheets, and this machine's processor, measured.

Peaks are of dense products (data sheets often state twice that, with sparsity). No figure here was measured by us but
the shares at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from sctd.config import Method, PretrainConfig
from sctd.errors import UserError

GB = 1e9


@dataclass(frozen=True)
class Device:
    """One kind.

    Args:
        bf16, fp16, fp32: dense TFLOP/s, sums in float32, fp32 without TF32; null: it has no such products.
        memory: GB.
        bandwidth: of the memory, GB/s; null: not known.
        link: between the GPUs of a machine, GB/s that one of them sends.
        together: GPUs in a machine.
        network: GB/s that a machine sends, over all of its cards.
    """

    bf16: float | None
    fp16: float | None
    fp32: float
    memory: float
    bandwidth: float | None
    link: float = 0.0
    together: int = 1
    network: float = 0.0

    def tflops(self, precision: str) -> float | None:
        """Peak TFLOP/s in fp32, bf16 or fp16."""
        found: float | None = getattr(self, precision)
        return found


# The network is that of the maker's own machine (DGX, or AMD's platform with a 400 Gbit/s card a GPU). Cards for PCIe
# are sold in any machine: 8 of them (GeForce: 4) and a card of 100 Gbit/s are our assumption; --network replaces it.
DEVICES = {
    # https://www.nvidia.com/en-us/data-center/dgx-b200/ and .../hgx/: eight B200
    "B200": Device(2250, 2250, 75, 180, 8000, link=900, together=8, network=400),
    # https://www.nvidia.com/en-us/data-center/h200/ (SXM); DGX H200: 8 cards of 400 Gbit/s
    "H200": Device(989.4, 989.4, 67, 141, 4800, link=450, together=8, network=400),
    # https://www.nvidia.com/en-us/data-center/h100/ (SXM); DGX H100
    "H100": Device(989.4, 989.4, 67, 80, 3350, link=450, together=8, network=400),
    # the same page (PCIe)
    "H100-PCIe": Device(756, 756, 51, 80, 2000, link=64, together=8, network=12.5),
    # https://www.nvidia.com/en-us/data-center/a100/ (SXM); DGX A100: 8 cards of 200 Gbit/s
    "A100-80GB": Device(312, 312, 19.5, 80, 2039, link=300, together=8, network=200),
    "A100-40GB": Device(312, 312, 19.5, 40, 1555, link=300, together=8, network=200),
    # https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf (SXM2);
    # DGX-1: 4 cards of 100 Gbit/s
    "V100-32GB": Device(None, 125, 15.7, 32, 900, link=150, together=8, network=50),
    "V100-16GB": Device(None, 125, 15.7, 16, 900, link=150, together=8, network=50),
    # https://www.nvidia.com/en-us/data-center/l40s/
    "L40S": Device(362, 362, 91.6, 48, 864, link=32, together=8, network=12.5),
    # https://www.nvidia.com/en-us/data-center/l4/
    "L4": Device(121, 121, 30.3, 24, 300, link=32, together=8, network=12.5),
    # https://www.nvidia.com/en-us/data-center/products/a10-gpu/
    "A10": Device(125, 125, 31.2, 24, 600, link=32, together=8, network=12.5),
    # https://www.nvidia.com/en-us/data-center/tesla-t4/
    "T4": Device(None, 65, 8.1, 16, 320, link=16, together=8, network=12.5),
    # https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf, appendix A
    "RTX-4090": Device(165.2, 165.2, 82.6, 24, 1008, link=32, together=4, network=12.5),
    # https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf, table 3
    "RTX-3090": Device(71, 71, 35.6, 24, 936, link=32, together=4, network=12.5),
    # https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html; 7 links of 64 GB/s
    "MI300X": Device(1307.4, 1307.4, 163.4, 192, 5300, link=448, together=8, network=400),
}
CPU = "cpu"

# Of a GPU's memory, what a run may take: the rest is for CUDA, NCCL and the gaps between what is allocated.
USABLE = 0.9
# The share of the peak that training reaches, its optimizer apart. GPUs: base at 32 x 512 tokens on one H200, compiled,
# bf16 (docs/bench/gpu-base-512.md). A CPU: of the bare product's rate, medians of the shapes in docs/benchmarks.md.
ON_GPU: dict[Method, float] = {"dense": 0.3545, "drop": 0.3132, "sctd": 0.3135}
ON_CPU: dict[Method, float] = {"dense": 0.68, "drop": 0.64, "sctd": 0.65}
MEASURED_TOKENS = 32 * 512  # in a step of that measurement
# Seconds of a GPU's step for each micro-batch, below which it waits for the processor that starts its kernels: the
# shortest that we measured, of small at 256 x 128 (docs/bench/gpu-small-128.md).
SHORTEST_PASS = 0.014


def parse_gpus(text: str) -> tuple[int, str]:
    """`8xH100` to (8, "H100"), `L4` to (1, "L4"), `cpu` to (1, "cpu"); UserError where the table has no such device."""
    found = re.fullmatch(r"(?:(\d+) ?x ?)?(\S+)", text.strip(), re.IGNORECASE)
    if found is None:
        raise UserError(f'--gpus: expected a number and a device, such as 8xH100, got "{text}"')
    count, name = int(found[1] or 1), found[2]
    names = {each.lower(): each for each in (*DEVICES, CPU)}
    known = names.get(name.lower().replace("_", "-"))
    if known is None:
        [near] = get_close_matches(name.lower(), names, n=1, cutoff=0)
        meant = f"{found[1]}x{names[near]}" if found[1] else names[near]
        raise UserError(f'--gpus: there is no "{name}" among {", ".join(names.values())}; did you mean "{meant}"?')
    if not 1 <= count <= 1024:
        raise UserError(f"--gpus: {count} is not in 1 to 1,024, the numbers that are planned for.")
    if known == CPU and count > 1:
        raise UserError("--gpus: cpu is this machine, of which there is one; leave the number out.")
    return count, known


def this_cpu(config: PretrainConfig, rows: int) -> tuple[Device, str]:
    """This machine's processor, its rate of bare products measured now, and the precision that the run will have.

    Args:
        config: the settings.
        rows: tokens that go through the model at a time.
    """
    import statistics

    import torch

    from sctd.bench.ours import MatmulRate
    from sctd.config import resolve_shape
    from sctd.train.device import choose_precision

    cpu = torch.device("cpu")
    precision = choose_precision(config.precision, cpu)[0]
    _, width, _, intermediate = resolve_shape(config.model)
    rate = MatmulRate(rows, width, intermediate, cpu, precision)
    rate.seconds()  # warms up
    tflops = 2e-12 / statistics.median(rate.seconds() for _ in range(3))
    return Device(tflops, tflops, tflops, memory=_memory() / GB, bandwidth=None), precision


def _memory() -> int:
    """Bytes of this machine, or of the part of it that a container may use."""
    import os
    from pathlib import Path

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such group, or "max"
        return memory
