"""Runs that are killed at random instants and resumed: `python tests/kills.py --kills 60 --out table.md`.

Each run is started, killed by SIGKILL (at a random instant, or while a checkpoint is being written), resumed to its
end, and compared byte for byte with a run that nobody disturbed. A table of all is written; the exit code is 1 if one
differs.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import make_prepared
from sctd.train.checkpoint import list_checkpoints, newest_checkpoint
from sctd.train.metrics import read_metrics
from small_runs import SMALL, weights

SETTINGS = {**SMALL, "schedule.steps": 60, "checkpoint.every": 7, "checkpoint.keep": 3, "batch.micro": 3}
SETTINGS |= {"model.hidden_size": 64, "log.every": 1, "eval.every": 30, "eval.baselines": False}
PRECISIONS = ("fp32", "fp32", "fp32", "bf16")  # which some processors are very slow at


def command(data, run, method, precision, *more):
    words = [
        sys.executable,
        "-m",
        "sctd",
        "pretrain",
        "--data",
        str(data),
        "--out",
        str(run),
        "--method",
        method,
        *more,
    ]
    for key, value in {**SETTINGS, "precision": precision}.items():
        words += [f"--{key}", str(value).lower()]
    return words


def run_whole(data, run, method, precision):
    subprocess.run(command(data, run, method, precision), check=True, stderr=subprocess.DEVNULL)
    return weights(run)


def writes(run):
    return any((run / "checkpoints").glob(".partial-*"))


def kill(data, run, method, precision, while_writing, chance):
    """Start a run and kill it; where it was: (newest step in its log, a checkpoint was half written)."""
    process = subprocess.Popen(command(data, run, method, precision), stderr=subprocess.DEVNULL)
    first = chance.randrange(3, 50)  # the step from which on it may be killed
    while process.poll() is None and len(read_metrics(run)) <= first:
        time.sleep(0.002)
    if while_writing:
        while process.poll() is None and not writes(run):
            pass
    else:
        time.sleep(chance.random() * 0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = [line["step"] for line in read_metrics(run)]
    return (steps[-1] if steps else 0), writes(run)


def resume(data, run, method, precision):
    more = ["--resume"] if list_checkpoints(run) else []
    subprocess.run(command(data, run, method, precision, *more), check=True, stderr=subprocess.DEVNULL)


def matrix(kills, seed, methods=("dense", "drop", "sctd")):
    """Yield a row a kill: method, precision, step, half a checkpoint, resumed from, identical."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="sctd-kills-") as scratch:
        data = make_prepared(Path(scratch), sequences=200)
        whole = {}
        for number in range(kills):
            method, precision = methods[number % len(methods)], PRECISIONS[number // len(methods) % len(PRECISIONS)]
            if (method, precision) not in whole:
                whole[method, precision] = run_whole(data, Path(scratch) / f"{method}-{precision}", method, precision)
            run = Path(scratch) / "killed"
            step, half = kill(data, run, method, precision, number % 2 == 0, chance)
            before = newest_checkpoint(run)[1].global_step if list_checkpoints(run) else 0
            resume(data, run, method, precision)
            yield method, precision, step, half, before, weights(run) == whole[method, precision]
            shutil.rmtree(run)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lines = [
        "| method | precision | killed after step | while a checkpoint was written | went on from | the same bytes |"
    ]
    lines.append("|---|---|---:|---|---:|---|")
    rows = []
    for row in matrix(given.kills, given.seed):
        rows.append(row)
        method, precision, step, half, before, same = row
        lines.append(
            f"| {method} | {precision} | {step} | {'yes' if half else ''} | {before} | {'yes' if same else 'NO'} |"
        )
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(lines[-1], flush=True)
    print(
        f"{len(rows)} kills, {sum(row[3] for row in rows)} while writing, {sum(not row[5] for row in rows)} that differ"
    )
    return int(any(not row[5] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
