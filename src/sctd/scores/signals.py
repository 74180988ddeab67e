"""Cheap signals while a model trains: chosen probes, minimal pairs and quick tasks, every so many steps.

A new kind of signal is a function and a line in KINDS.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError
from sctd.hf.load import MASKED_LM

if TYPE_CHECKING:
    import torch

    from sctd.model.bert import Bert
    from sctd.scores.encoder import Encoder

PAIRS = 50  # of each set of minimal pairs
SENTENCES = 1000  # of each split of a probe

# a signal: an encoder to figures, by their names in metrics.jsonl
Signal = Callable[["Encoder"], dict[str, float]]


def _task(name: str, data: Path) -> Signal:
    """`task:NAME`: fine-tuned on 500 examples with seed 1; the task's first metric, on each split that is scored."""
    from sctd.scores.jobs import Job, load_task, run_job
    from sctd.scores.tasks.table import choose_tasks

    loaded = [load_task(task, str(data / "tasks"), "signal") for task in choose_tasks([name])]
    settings: dict[str, Any] = {"lr": None, "epochs": None, "batch_size": 32, "max_length": None}

    def signal(encoder: Encoder) -> dict[str, float]:
        figures = {}
        for each in loaded:
            found = run_job(Job(each.task, "model", 1), each, encoder, settings, lambda _: None, lambda _: None)
            for split, result in found["splits"].items():
                only = len(found["splits"]) == 1
                key = f"eval_task_{each.task.name}" + ("" if only else f"_{split.removeprefix('dev_')}")
                figures[key] = result["scores"][each.task.metrics[0]]
        return figures

    return signal


def _probe(name: str, data: Path) -> Signal:
    """`probe:NAME`: test accuracy of the mean-pooled layer that is best on the validation split."""
    from sctd.scores.probe import probe_network
    from sctd.scores.probe_data import load_probes, subset

    [whole] = load_probes(str(data / "probing"), [name])
    probe = subset(whole, SENTENCES, seed=1, splits=("tr", "va", "te"))

    def signal(encoder: Encoder) -> dict[str, float]:
        return {
            f"eval_probe_{name}": probe_network(encoder, encoder.network(), probe, poolings=("mean",))["mean"]["test"]
        }

    return signal


def _blimp(name: str, data: Path) -> Signal:
    """`blimp` or `blimp:NAME` (a set or phenomenon): mean accuracy over its sets."""
    from sctd.scores.blimp import score_set, summarise
    from sctd.scores.blimp_data import load_pairs

    sets = load_pairs(str(data / "blimp"), [name] if name else None, PAIRS)

    def signal(encoder: Encoder) -> dict[str, float]:
        network = encoder.network(MASKED_LM)
        margins = {each.name: score_set(encoder, network, each)[0] for each in sets}
        return {"eval_blimp" + (f"_{name}" if name else ""): summarise(sets, margins)["overall"]}

    return signal


KINDS: dict[str, Callable[[str, Path], Signal]] = {"task": _task, "probe": _probe, "blimp": _blimp}


class Signals:
    """The chosen signals, with their data read.

    Args:
        names: `probe:NAME`, `blimp`, `blimp:NAME`, `task:NAME`.
        data: folder that holds `probing`, `blimp` and `tasks`, as far as they are wanted.
        run: the run, whose origin/ has the tokenizer and config.json.

    Raises:
        UserError: an unknown signal, or data that cannot be used.
    """

    def __init__(self, names: list[str], data: str | None, run: Path) -> None:
        if data is None:
            raise UserError("eval.probes needs eval.probes_data: the folder that holds probing, blimp or tasks.")
        self.run = run
        self.signals: list[Signal] = []
        for name in names:
            kind, _, of = name.partition(":")
            if kind not in KINDS or (not of and kind != "blimp"):
                raise UserError(
                    f"eval.probes: there is no signal {name!r}; give probe:NAME, blimp, blimp:NAME or task:NAME."
                )
            self.signals.append(KINDS[kind](of, Path(data)))

    def __call__(self, model: Bert, device: torch.device, precision: str) -> dict[str, float]:
        """All figures of the model as it stands, through a Hugging Face folder that is thrown away."""
        from sctd.hf.export import write_model
        from sctd.hf.load import read_config
        from sctd.scores.encoder import load_encoder
        from sctd.train.setup import ORIGIN

        origin = self.run / ORIGIN
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder), model, read_config(origin), origin / "tokenizer")
            encoder = load_encoder(folder, str(device), precision)
            return {name: figure for signal in self.signals for name, figure in signal(encoder).items()}
