"""environment.json: the versions, the machine and the command of a run."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sctd import __version__

PACKAGES = ("torch", "numpy", "transformers", "tokenizers", "safetensors")


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _program() -> str:
    """How this program was called: `sctd` also where it was `python -m sctd`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name


def environment(device: torch.device) -> dict[str, Any]:
    """What a reader needs in order to trust a number of this run, or to repeat it."""
    return {
        "sctd": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "command": shlex.join([_program(), *sys.argv[1:]]),
        # fine enough to tell two runs of one command apart (train/mirror.py)
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
