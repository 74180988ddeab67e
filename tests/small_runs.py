"""Runs of seconds, for the tests of training."""

import hashlib

from sctd.recipe import build_config
from sctd.train.checkpoint import newest_checkpoint

SMALL = {
    "precision": "fp32",  # whatever the machine multiplies fast
    "model.num_layers": 4,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "schedule.steps": 60,
    "batch.size": 8,
    "consistency.interval": 10,
    "eval.every": 20,
    "eval.sequences": 16,
    "checkpoint.every": 9,
    "log.every": 5,
    "log.tensorboard": False,
}


def config(**changes):
    return build_config({**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})


def continued(folder, **changes):
    """Settings of a run that takes its shape from a Hugging Face folder."""
    shape = dict.fromkeys(("model__num_layers", "model__hidden_size", "model__num_heads"))
    return config(**shape, init_from=str(folder), **changes)


def digest(path):
    """Of a file's bytes: where two differ, pytest would look for the difference for minutes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(run):
    folder = newest_checkpoint(run)[0]
    return {name: digest(folder / f"{name}.safetensors") for name in ("model", "method", "optimizer")}
