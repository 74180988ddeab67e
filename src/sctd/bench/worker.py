"""One arm in a process of its own, which does steps when it is told to: so arms take turns, and memory is one arm's.

Started as `python -m sctd.bench.worker JOB` with a Job in JSON. Commands come as JSON lines on standard input, and each
is answered by one JSON line on standard output: {"do": "step", "kind": ..., "steps": ..., "in_parts": ...} by
{"seconds": a step's, "parts"}, {"do": "forget"}, which starts the memory's peak anew, by {}, {"do": "memory"} by
{"bytes"}. The end of the input ends all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sctd.recipe import build_config


@dataclass(frozen=True)
class Job:
    """What a worker is to be.

    Args:
        arm: a name in `sctd.bench.arms`.
        data: a data folder.
        settings: of the configuration, by dotted name.
        scratch: a folder to write to.
        kinds: of step, each timed by itself; of ours those of `sctd.method.step_plan`.
    """

    arm: str
    data: str
    settings: dict[str, Any]
    scratch: str
    kinds: tuple[str, ...]

    def to_json(self) -> str:
        """As the worker's argument."""
        return json.dumps(asdict(self))


class Commands:
    """The conversation with the process that started this one."""

    def __init__(self) -> None:
        # whatever libraries print goes to standard error: standard output is for answers alone
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for line in sys.stdin:
            yield json.loads(line)

    def next_step(self) -> dict[str, Any] | None:
        """Answer what is no step; the command of the next steps, or null at the end."""
        for command in self:
            if command["do"] == "step":
                return command
            if command["do"] == "forget":
                forget_peak()
                self.answer()
            else:
                self.answer(bytes=peak_bytes())
        return None

    def answer(self, **values: Any) -> None:
        """One line."""
        self._answers.write(json.dumps(values) + "\n")
        self._answers.flush()


def forget_peak() -> None:
    """Start the peak of memory anew, where the system can."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most memory since `forget_peak`: of the GPU where one is used, else of this process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Be the arm until the input ends."""
    commands = Commands()
    job = Job(**json.loads(sys.argv[1]))

    from sctd.bench.arms import MATMUL, PEERS

    config = build_config(job.settings)
    if job.arm in PEERS:
        from sctd.bench.peers import huggingface

        huggingface(job, config, commands, PEERS[job.arm])
    else:
        from sctd.bench.ours import matmul, ours

        (matmul if job.arm == MATMUL else ours)(job, config, commands)


if __name__ == "__main__":
    main()
