"""The verb `export`: a run to a Hugging Face folder that needs nothing of ours, checked against our own logits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.console import say
from sctd.errors import UserError
from sctd.files import disk_errors, whole_folder, write_json, write_text
from sctd.json_text import MAYBE_NUMBER, read_json

if TYPE_CHECKING:
    from sctd.model.bert import Bert

FINE_TUNING_DROPOUT = 0.1  # Devlin et al. (2019)
TOLERANCE = 1e-5  # of Hugging Face's logits from ours, in float32, relative to the largest logit where that is above 1


def export(run: str, out: str) -> None:
    """Write a run's newest whole checkpoint as a Hugging Face folder: weights, tokenizer and model card.

    The folder is then loaded with Hugging Face, and appears only if its logits are those of the run's model.

    Args:
        run: folder that `sctd pretrain` wrote; the run may still be under way.
        out: folder to write; it must not exist.

    Raises:
        UserError: there is no whole checkpoint in RUN, or OUT exists.
    """
    source, target = Path(run), Path(out)
    if target.exists():
        raise UserError(f"{target} exists already: give another --out, or remove it first.")
    if not source.is_dir():
        raise UserError(f"{source} is not a folder: give the folder of a run that sctd pretrain wrote.")

    from sctd.hf.card import model_card
    from sctd.hf.origin import read_origin
    from sctd.model.hf import build_bert, from_hf_config
    from sctd.train.checkpoint import fitting, list_checkpoints, load_tensors, newest_checkpoint

    if not list_checkpoints(source):
        raise UserError(f"{source} has no checkpoint: give the folder of a run that sctd pretrain wrote.")
    checkpoint, state, damaged = newest_checkpoint(source)
    for sentence in damaged:
        say(f"Passed over: {sentence}")
    origin = read_origin(source, state.data)
    origin = replace(origin, config=_for_fine_tuning(origin.config))
    model = build_bert(from_hf_config(origin.config, attention="eager"))
    with fitting(checkpoint):
        model.load_state_dict(load_tensors(checkpoint, "model.safetensors"))
    with whole_folder(target) as folder:
        mask_token = write_model(folder, model, origin.config, origin.tokenizer)
        write_text(folder / "README.md", model_card(source, state, origin, mask_token))
        difference = compare(model, folder)
    say(
        f"Written to {target}: step {state.global_step:,} of {state.choices['steps']:,}. Loaded with Hugging Face, "
        f"its logits differ from ours by {difference:.1e} at most (float32, with padding too)."
    )


def write_model(folder: Path, model: Bert, config: dict[str, Any], tokenizer: Path) -> str:
    """Write config.json, model.safetensors and the tokenizer into a folder that is there.

    Args:
        folder: where to.
        model: the weights.
        config: what config.json states.
        tokenizer: folder of the tokenizer.

    Returns:
        The tokenizer's mask token.
    """
    from safetensors.torch import save_file

    from sctd.model.hf import to_hf_state

    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    mask_token = _fit_tokenizer(folder, config["max_position_embeddings"])
    write_json(folder / "config.json", config)
    with disk_errors(folder):
        # "format" is what transformers asks a file for before it loads it
        save_file(
            {name: tensor.contiguous() for name, tensor in to_hf_state(model).items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        # safetensors lets nobody but the owner read its files
        shutil.copymode(folder / "config.json", folder / "model.safetensors")
    return mask_token


def _for_fine_tuning(config: dict[str, Any]) -> dict[str, Any]:
    """config.json with BERT's published dropout where pretraining had none: its readers fine-tune, or drop nothing."""
    dropouts = {name: config[name] or FINE_TUNING_DROPOUT for name in config if name.endswith("_dropout_prob")}
    return config | dropouts


def _fit_tokenizer(folder: Path, longest: int) -> str:
    """Make the tokenizer cut texts where the model ends, and loadable by transformers 4 too; its mask token."""
    from transformers import AutoTokenizer

    path = folder / "tokenizer_config.json"
    try:
        config: dict[str, Any] = read_json(path, {"model_max_length?": MAYBE_NUMBER})
    except (OSError, ValueError) as error:
        raise UserError(
            f"The {path.name} of the run's tokenizer cannot be read ({error}): bring back the run's folder origin."
        ) from error
    config["model_max_length"] = min(config.get("model_max_length") or longest, longest)
    if config.get("tokenizer_class") == "TokenizersBackend":  # a new name of transformers 5, which knows both
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, config)
    mask_token: str = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).mask_token
    return mask_token


def compare(model: Bert, folder: Path) -> float:
    """The largest difference between Hugging Face's logits and ours, on random tokens, full rows and padded ones.

    Both in float32 on the CPU with explicit attention. Raises RuntimeError where it is above the tolerance: then
    one of the two is not the model that was trained.
    """
    import torch
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading the weights
    config = model.config
    theirs = AutoModelForMaskedLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
    ).eval()
    length = min(config.max_position_embeddings, 128)
    random = torch.Generator().manual_seed(0)
    input_ids = torch.randint(config.vocab_size, (4, length), generator=random)
    real = torch.tensor([length, length, length // 2, 3])
    attention_mask = (torch.arange(length) < real[:, None]).long()
    with torch.no_grad():
        ours = model.eval()(input_ids, attention_mask)
        found = theirs(input_ids=input_ids, attention_mask=attention_mask).logits
    difference = float((found - ours)[attention_mask == 1].abs().max())
    if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):
        raise RuntimeError(f"Hugging Face's logits differ from ours by {difference:.1e}; the export was not written.")
    return difference
