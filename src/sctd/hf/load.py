"""Hugging Face folders by what a user calls them: a folder, a run that is finished, or `hf:NAME` on the hub."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from sctd.errors import UserError, first_line
from sctd.files import sha256_file
from sctd.json_text import read_json

HUB = "hf:"
# numbers of what transformers makes one by one
_COUNTED = re.compile("(layer|label|block|expert)s?$|^n(um)?_(layer|label|block|expert)")
MOST_PARTS = 512
MASKED_LM = "AutoModelForMaskedLM"
# key of config.json in which an export says what the model has read: {"seq_len": S, "token_types": 1 or 2}
TRAINED_ON = "sctd_trained_on"
# what a model's folder consists of; other files may lie beside them
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
OF_A_MODEL = (
    *(*WEIGHTS, "*.safetensors.index.json", "config.json", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)


def model_fingerprint(folder: Path) -> str:
    """SHA-256 of a folder's weights, config and tokenizer."""
    files = sorted({file for pattern in OF_A_MODEL for file in folder.glob(pattern)})
    return hashlib.sha256("".join(map(sha256_file, files)).encode()).hexdigest()


def model_folder(model: str | Path) -> Path:
    """The folder with config.json that MODEL means: itself, a run's RUN/model, or a download of `hf:NAME`.

    Raises UserError where there is none.
    """
    if str(model).startswith(HUB):
        return _from_hub(str(model).removeprefix(HUB))
    folder = Path(model)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give a Hugging Face model folder or a run of sctd pretrain.")
    if (folder / "config.json").exists():
        return folder
    if (folder / "model" / "config.json").exists():
        return folder / "model"
    if (folder / "checkpoints").is_dir():
        raise UserError(f"{folder} is a run without a model yet: sctd export {folder} --out FOLDER writes one.")
    raise UserError(f"{folder} has no config.json: give a Hugging Face model folder or a run of sctd pretrain.")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.h5", "*.onnx", "*.msgpack", "*.ot", "*.tflite"]))
    except Exception as error:  # the hub's library raises its own errors, its network library's and OSError
        raise UserError(
            f"hf:{name} cannot be had from the Hugging Face hub ({first_line(error)}): check the name and the "
            "connection, or give a local folder."
        ) from error


def load_network(folder: Path, kind: str, **settings: Any) -> Any:
    """A transformers model in float32, on the CPU, in evaluation mode.

    Args:
        folder: with config.json and weights.
        kind: the class that loads it, such as AutoModelForMaskedLM.
        settings: passed on (num_labels, ...).
    """
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading the weights
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # that a new head has new weights is what fine-tuning means
    try:
        network, loading = getattr(transformers, kind).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **settings,
        )
    except Exception as error:
        raise UserError(
            f"{folder} is no model that transformers' {kind} can load ({first_line(error)}): give the folder of an "
            "encoder, such as BERT."
        ) from error
    finally:
        logging.set_verbosity(level)
    base, prefix = network.base_model, f"{network.base_model_prefix}."
    own = {name if base is network else prefix + name for name in base.state_dict()}
    lost = [name for name in loading["missing_keys"] if name in own and "pooler" not in name]
    if lost:
        raise UserError(
            f"{folder} lacks {len(lost)} of the encoder's weights ({min(lost)}, ...): its file is of another model, or "
            "names them otherwise."
        )
    if kind == MASKED_LM and loading["missing_keys"]:
        raise UserError(
            f"{folder} has no output head ({min(loading['missing_keys'])} is missing): it is an encoder alone, and no "
            "masked language model."
        )
    return network.eval()


def load_config(folder: Path) -> Any:
    """The configuration as transformers reads it; UserError where it cannot."""
    from transformers import AutoConfig

    stated = read_config(folder)  # says what is wrong with the file itself
    for name, number in stated.items():
        if _COUNTED.search(name) and isinstance(number, int | float) and number > MOST_PARTS:
            raise UserError(
                f"{folder / 'config.json'} says {name} {number!r:.20}, which no encoder has; mend the file."
            )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its parsers raise
        raise UserError(
            f"{folder / 'config.json'} is of no model that transformers knows ({first_line(error)}): give the "
            "folder of an encoder, such as BERT."
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands; UserError where it is not readable."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = read_json(path, dict)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); give a whole Hugging Face folder.") from error
    return config
