"""The verb `demo`: from the machine's own prose to a Hugging Face BERT in about three minutes, by the real steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from sctd.errors import UserError

SENTENCES = (
    "Return a new [MASK] with the given values.",
    "If the file does not [MASK], an error is raised.",
    "The [MASK] of the array must be the same.",
    "This function is used to [MASK] the data.",
)
VOCAB_SIZE, SEQ_LEN = 4096, 64
MARKER = ".sctd-demo"  # a folder with this file is a demonstration's own


def demo(out: str = "runs/demo", minutes: float | None = None) -> None:
    """Pretrain a small BERT with ScTD on the English prose that this machine already has.

    Gathers documentation topics and docstrings of the standard library and of the installed packages, prepares
    them, pretrains by the recipe `demo`, and shows what was learned. Interrupted, the same command goes on.

    Args:
        out: folder for the text, the data, the run and the model; it must be new, empty, or a demonstration's.
        minutes: training time; null: as the recipe says. A run that was begun keeps its own.

    Raises:
        UserError: OUT holds other things.
    """
    folder = Path(out)
    _claim(folder)
    try:
        _demonstrate(folder, minutes)
    except KeyboardInterrupt:
        length = "" if minutes is None else f" --minutes {minutes:g}"
        raise KeyboardInterrupt(f"Go on with: sctd demo --out {shlex.quote(out)}{length}") from None


def _claim(folder: Path) -> None:
    """Mark the folder as a demonstration's own; refuse one that holds anything else."""
    from sctd.files import disk_errors

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give another --out.")
    if (folder / MARKER).exists():
        return
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: give a new or empty folder as --out.")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).touch()


def _demonstrate(folder: Path, minutes: float | None) -> None:
    """Every step, in a folder that is the demonstration's own."""
    from sctd.console import say
    from sctd.pretrain import pretrain
    from sctd.recipe import build_config, load_recipe
    from sctd.tokens.prepare import prepare

    run, data, model = folder / "run", folder / "data", folder / "model"
    if model.exists():
        say(f"{model} is there already. Remove {folder} to see the demonstration again.")
        return
    text = _gather(folder)
    say("2. Tokenizer and sequences (sctd prepare)")
    prepare([str(text)], str(data), vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN)
    recipe = load_recipe("demo") | ({} if minutes is None else {"schedule.minutes": minutes})
    say("3. Pretraining with token dropping and semantic-consistent learning (sctd pretrain)")
    if _begun(run):
        figures = pretrain(str(data), str(run), resume="auto")
    else:
        figures = pretrain(str(data), str(run), build_config(recipe))
    _publish(run, model)
    _show(folder, data, run, model, figures)


def _begun(run: Path) -> bool:
    """True where a checkpoint can be gone on from; a run without one is begun anew."""
    import shutil

    from sctd.train.checkpoint import list_checkpoints

    if list_checkpoints(run):
        return True
    shutil.rmtree(run, ignore_errors=True)
    return False


def _gather(folder: Path) -> Path:
    """OUT/prose.txt."""
    from sctd.console import say
    from sctd.text.machine_prose import gather_machine_prose

    text = folder / "prose.txt"
    say("1. English prose on this machine: documentation topics and docstrings")
    if not text.exists():
        found = gather_machine_prose(text)
        say(f"{found.bytes / 1e6:.1f} MB in {found.documents:,} documents.")
    return text


def _publish(run: Path, model: Path) -> None:
    """The run's Hugging Face folder, at the top of the demonstration's folder."""
    import shutil

    from sctd.files import whole_folder

    with whole_folder(model) as aside:
        shutil.copytree(run / "model", aside, dirs_exist_ok=True)


def _show(folder: Path, data: Path, run: Path, model: Path, figures: dict[str, float]) -> None:
    """Losses beside their baselines, masked sentences before and after, and what to type next."""
    import json

    from rich.table import Table

    from sctd.console import console, say

    baselines = json.loads((run / "baselines.json").read_text(encoding="utf-8"))
    losses = Table("held-out loss at [MASK] inputs", "nats a token", title="What it learned")
    for name, loss in (
        ("unigram model (word frequencies)", baselines["unigram"]),
        ("bigram model (the word before)", baselines["bigram"]),
        ("this BERT, the full network", figures["eval_loss_mask"]),
    ):
        losses.add_row(name, f"{loss:.3f}")
    fillings = Table("sentence", "before", "after", title="Fillings")
    before, after = _untrained(run, data), _trained(model)
    for sentence in SENTENCES:
        fillings.add_row(sentence.replace("[", r"\["), *(" · ".join(fill(sentence)) for fill in (before, after)))
    console().print(losses)
    console().print(fillings)
    say(
        f"\nThe model: {model}, for AutoModelForMaskedLM.from_pretrained. Try it:\n"
        f'  sctd fill {model} "{SENTENCES[0]}"\n'
        "With your own text, and hours instead of minutes:\n"
        "  sctd prepare --input FOLDER_OR_FILES --out data/mine\n"
        "  sctd pretrain --config small --data data/mine --out runs/mine"
    )


def _trained(model: Path) -> Any:
    from sctd.hf.fill import load_masked_lm

    return _filler(*load_masked_lm(model))


def _untrained(run: Path, data: Path) -> Any:
    """The same model with the starting weights of its seed."""
    import torch

    from sctd.hf.fill import load_masked_lm
    from sctd.model.hf import to_hf_state
    from sctd.recipe import build_config
    from sctd.tokens.prepared import load_prepared
    from sctd.train.checkpoint import newest_checkpoint
    from sctd.train.setup import build_objective, read_vocabulary

    prepared = load_prepared(data, verify=False)
    config = build_config(newest_checkpoint(run)[1].config)
    objective = build_objective(config, prepared, read_vocabulary(prepared), torch.device("cpu"))
    tokenizer, network = load_masked_lm(run / "model")
    network.load_state_dict(to_hf_state(objective.model), strict=False)
    network.tie_weights()
    return _filler(tokenizer, network)


def _filler(tokenizer: Any, network: Any) -> Any:
    from sctd.hf.fill import fillings

    def fill(sentence: str) -> list[str]:
        return [word for word, _ in fillings(tokenizer, network, sentence, top_k=3)[0]]

    return fill
