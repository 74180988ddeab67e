"""The rest of a user's time: `sctd --help`, the start of a run, a checkpoint's pause, `prepare` beside its tokenizer.

    python bench/user_time.py --text corpus/wiki-00.txt.xz --data DATA

Prints one JSON object; seconds and MB/s, medians of the repetitions, beside each other in turn where two are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from sctd.console import console
from sctd.recipe import build_config, load_recipe
from sctd.text.documents import read_documents
from sctd.text.options import ReadOptions
from sctd.text.sources import find_sources
from sctd.tokens.prepare import prepare
from sctd.tokens.prepared import load_prepared
from sctd.train.checkpoint import list_checkpoints
from sctd.train.environment import cpu_name
from sctd.train.metrics import read_metrics
from sctd.train.saving import Saver
from sctd.train.trainer import Trainer

REPETITIONS = 5
SAVED = ("mini", "small", "base")


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sctd", *command], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(data: str, scratch: Path) -> float:
    """From the command to the first step's line in metrics.jsonl: imports, data, model, first evaluation, a step."""
    run = scratch / "first"
    command = [sys.executable, "-m", "sctd", "pretrain", "--config", "mini", "--data", data, "--out", str(run)]
    command += ["--schedule.steps", "100000", "--log.every", "1", "--eval.sequences", "64"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not (run / "metrics.jsonl").exists() or read_metrics(run)[-1]["step"] < 1:
            if process.poll() is not None:
                raise SystemExit("sctd pretrain ended before its first step")
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def checkpoint(recipe: str, data: str, scratch: Path) -> dict[str, Any]:
    """What training waits for: the copy in memory, and until the file is whole."""
    config = build_config(load_recipe(recipe) | {"precision": "fp32", "log.tensorboard": False})
    run = scratch / recipe
    run.mkdir()
    trainer = Trainer(run, load_prepared(data), config)
    trainer.stepper.run(trainer.batches.at(1).split(1)[0], 1, 1e-6, "dense")  # gives the optimizer its state
    pauses, wholes = [], []
    with Saver(run, config.checkpoint, trainer.processes) as saver:
        for step in range(1, REPETITIONS + 1):
            trainer.state = replace(trainer.state, global_step=step)
            began = time.perf_counter()
            trainer.save(saver)
            pauses.append(time.perf_counter() - began)
            saver.finish()
            wholes.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in list_checkpoints(run)[0].iterdir())
    return {
        "pause_seconds": statistics.median(pauses),
        "whole_seconds": statistics.median(wholes),
        "megabytes": round(size / 1e6),
    }


def preparing(text: str, scratch: Path) -> dict[str, float]:
    """MB/s of `prepare` with a tokenizer that is there, and of that tokenizer alone, on all cores, in turn."""
    from tokenizers import Tokenizer

    prepare([text], str(scratch / "trained"), vocab_size=8192, seq_len=128)
    folder = scratch / "trained" / "tokenizer"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    documents = [d for source in find_sources([text]) for d in read_documents(source, ReadOptions(), lambda _: None)]
    megabytes = sum(len(document.encode()) for document in documents) / 1e6
    alone, whole = [], []
    for number in range(3):
        os.environ["TOKENIZERS_PARALLELISM"] = "true"  # prepare turns it off, because it has threads of its own
        began = time.perf_counter()
        for first in range(0, len(documents), 1000):
            tokenizer.encode_batch_fast(documents[first : first + 1000], add_special_tokens=False)
        alone.append(megabytes / (time.perf_counter() - began))
        began = time.perf_counter()
        prepare([text], str(scratch / f"again-{number}"), tokenizer=str(folder), seq_len=128)
        whole.append(megabytes / (time.perf_counter() - began))
    return {"megabytes": megabytes, "tokenizers_alone": statistics.median(alone), "prepare": statistics.median(whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    console().quiet = True
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        report = {
            "cpu": cpu_name(),
            "help_seconds": statistics.median(seconds_of(["--help"]) for _ in range(REPETITIONS)),
            "pretrain_help_seconds": statistics.median(seconds_of(["pretrain", "--help"]) for _ in range(REPETITIONS)),
            "first_step_seconds": first_step(given.data, scratch),
            "checkpoint": {recipe: checkpoint(recipe, given.data, scratch) for recipe in SAVED},
            "prepare_mb_per_second": preparing(given.text, scratch),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
