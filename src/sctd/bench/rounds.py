"""Workers taking turns: every round asks each arm for its steps, so that a busy moment of the machine meets all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sctd.bench.worker import Job
from sctd.errors import UserError

WARM_UP = 3  # steps of each kind before the clock: compilation, first pages, first looks at the data
IN_PARTS = 5  # steps of each kind after the rounds, timed part by part
# In a turn on a GPU, which works on one while the processor prepares the next, as in training; more than the eight
# batches that a peer's loader makes ahead while it waits for its turn.
GPU_STEPS = 20


class Worker:
    """One arm's process."""

    def __init__(self, job: Job) -> None:
        self.arm = job.arm
        self.kinds = job.kinds
        scratch = Path(job.scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        self._said = scratch / "stderr"
        self._stderr = self._said.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sctd.bench.worker", job.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; UserError where the process has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            said = self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing said"]
            raise UserError(f"{self.arm} cannot be measured here ({said[-1][:300]}): leave it out.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def step(self, kind: str, steps: int = 1, in_parts: bool = False) -> dict[str, Any]:
        """Have steps done: {"seconds": a step's, "parts": part -> seconds, where asked for}."""
        return self.ask(do="step", kind=kind, steps=steps, in_parts=in_parts)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()


Times = dict[str, dict[str, list[float]]]  # arm -> kind of step -> seconds, a figure a round


def measure(
    jobs: list[Job], rounds: int, advance: Callable[[str], None], on_gpu: bool = False
) -> tuple[Times, dict[str, Any]]:
    """(times of all rounds, {"bytes": arm -> peak memory, "parts": arm -> kind -> part -> seconds}).

    Args:
        jobs: the arms.
        rounds: turns of each arm.
        advance: hears of every arm that is about to be asked.
        on_gpu: all arms warm up at the same time (a GPU's memory an arm keeps anyway), and a turn has several steps.

    Raises:
        UserError: an arm that cannot run, which ends all.
    """
    times: Times = {job.arm: {kind: [] for kind in job.kinds} for job in jobs}
    memory: dict[str, int] = {}
    parts: dict[str, dict[str, dict[str, float]]] = {}
    with ExitStack() as ends:
        workers = []
        for job in jobs:
            workers.append(Worker(job))
            ends.callback(workers[-1].close)

        def warm_up(worker: Worker) -> None:
            advance(f"warming up {worker.arm}")
            for kind in worker.kinds * WARM_UP:
                worker.step(kind)
            worker.ask(do="forget")

        with ThreadPoolExecutor(len(workers) if on_gpu else 1) as warming:
            list(warming.map(warm_up, workers))
        for number in range(1, rounds + 1):
            for worker in workers:
                advance(f"round {number}/{rounds}")
                for kind in worker.kinds:
                    times[worker.arm][kind].append(worker.step(kind, GPU_STEPS if on_gpu else 1)["seconds"])
        for worker in workers:
            memory[worker.arm] = worker.ask(do="memory")["bytes"]
        for worker in workers:
            advance(f"parts of {worker.arm}")
            for kind in worker.kinds:
                found = [worker.step(kind, in_parts=True)["parts"]]
                if found[0]:  # not of a peer
                    found += [worker.step(kind, in_parts=True)["parts"] for _ in range(IN_PARTS - 1)]
                    mean = {name: sum(each[name] for each in found) / IN_PARTS for name in found[0]}
                    parts.setdefault(worker.arm, {})[kind] = mean
    return times, {"bytes": memory, "parts": parts}
