"""Hugging Face's names for our parameters, both ways, and its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sctd.errors import UserError, first_line
from sctd.json_text import NUMBER, differs, read_json
from sctd.model.bert import INITIALIZER_RANGE, Bert, BertConfig
from sctd.yaml_text import as_written

_OUTSIDE_LAYERS = {
    "word_embeddings.weight": "bert.embeddings.word_embeddings.weight",
    "position_embeddings.weight": "bert.embeddings.position_embeddings.weight",
    "token_type_embeddings.weight": "bert.embeddings.token_type_embeddings.weight",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "head_dense": "cls.predictions.transform.dense",
    "head_norm": "cls.predictions.transform.LayerNorm",
    "head_bias": "cls.predictions.bias",
}
_SIZES = (
    "vocab_size",
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
# of a BERT that could be built at all: larger sizes are a damaged file
LARGEST = {"num_hidden_layers": 512, "hidden_size": 2**16}
_OTHERS = {
    "type_vocab_size?": int,
    "pad_token_id?": (int, type(None)),
    **dict.fromkeys(("layer_norm_eps?", "hidden_dropout_prob?", "attention_probs_dropout_prob?"), NUMBER),
}
_IN_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}


def hf_name(name: str) -> str:
    """Our parameter's name as `BertForMaskedLM` calls it: layers.3.query.weight to bert.encoder.layer.3. ...."""
    if name in _OUTSIDE_LAYERS:
        return _OUTSIDE_LAYERS[name]
    module, _, kind = name.rpartition(".")
    if module in _OUTSIDE_LAYERS:
        return f"{_OUTSIDE_LAYERS[module]}.{kind}"
    _, number, part = module.split(".")
    return f"bert.encoder.layer.{number}.{_IN_LAYER[part]}.{kind}"


def to_hf_state(model: Bert) -> dict[str, Tensor]:
    """The weights under Hugging Face's names; the tied output matrix is not repeated."""
    return {hf_name(name): tensor.detach() for name, tensor in model.state_dict().items()}


def load_hf_state(model: Bert, state: dict[str, Tensor], place: str) -> None:
    """Copy weights under Hugging Face's names into `model`; a plain encoder's folder (without `bert.` or head) too.

    Head weights that the folder lacks keep their starting values. Raises UserError, naming `place`, for weights that
    are missing or of another shape.
    """
    if not any(name.startswith("bert.") for name in state):
        state = {name if name.startswith("cls.") else f"bert.{name}": tensor for name, tensor in state.items()}
    # checkpoints converted from TensorFlow call LayerNorm's parameters gamma and beta, and repeat the output bias
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in state.items()
    }
    own = model.state_dict()
    loaded = {}
    for name, tensor in own.items():
        theirs = hf_name(name)
        if theirs not in renamed:
            if theirs.startswith("cls."):
                loaded[name] = tensor
                continue
            raise UserError(f"{place} has no weights {theirs!r}: it is not a BERT encoder; choose another folder.")
        if renamed[theirs].shape != tensor.shape:
            raise UserError(
                f"{place}: {theirs} has shape {tuple(renamed[theirs].shape)} where its config.json means "
                f"{tuple(tensor.shape)}; the folder is damaged or not a BERT."
            )
        loaded[name] = renamed[theirs]
    model.load_state_dict(loaded)


def to_hf_config(config: BertConfig) -> dict[str, Any]:
    """config.json of the same model for `BertForMaskedLM`."""
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "initializer_range": INITIALIZER_RANGE,
        "layer_norm_eps": config.layer_norm_eps,
        "pad_token_id": config.pad_token_id,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


def read_hf_config(folder: Path) -> dict[str, Any]:
    """The config.json of a Hugging Face BERT, or a UserError that says why the folder is none that we can load."""
    path = folder / "config.json"
    try:
        theirs: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not a Hugging Face model folder ({path.name}: {error}); give one that has it."
        ) from error
    if not isinstance(theirs, dict):
        raise UserError(f"{path} holds no JSON object; give the folder of a Hugging Face BERT.")
    if theirs.get("model_type") != "bert":
        raise UserError(f"{path} says model_type {theirs.get('model_type')!r}; only 'bert' can be continued from.")
    if theirs.get("hidden_act", "gelu") != "gelu" or theirs.get("is_decoder", False):
        raise UserError(f"{path} is not a plain BERT encoder with exact GELU; only that can be continued from.")
    if theirs.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(f"{path} has relative positions; only absolute ones can be continued from.")
    for name in _SIZES:
        if type(theirs.get(name)) is not int or not 1 <= theirs[name] <= LARGEST.get(name, 2**20):
            raise UserError(
                f"{path} says {name} {as_written(theirs.get(name))}, where a whole number must stand that a BERT can "
                "have; mend the file."
            )
    place = differs(theirs, _OTHERS)
    if place is None and not 1 <= theirs.get("type_vocab_size", 2) <= 2**20:
        place = "type_vocab_size"
    if place is None and not 0 <= (theirs.get("pad_token_id") or 0) < theirs["vocab_size"]:
        place = "pad_token_id"
    if place is not None:
        raise UserError(f"{path} says {place} {as_written(theirs.get(place))}, which no BERT has; mend the file.")
    if theirs["hidden_size"] % theirs["num_attention_heads"]:
        raise UserError(f"{path}: hidden_size is not a multiple of num_attention_heads; mend the file.")
    return theirs


def from_hf_config(theirs: dict[str, Any], **ours: Any) -> BertConfig:
    """Our config from Hugging Face's; `ours` sets what is a matter of training (attention, dropout, ...)."""
    return BertConfig(
        vocab_size=theirs["vocab_size"],
        num_layers=theirs["num_hidden_layers"],
        hidden_size=theirs["hidden_size"],
        num_heads=theirs["num_attention_heads"],
        intermediate_size=theirs["intermediate_size"],
        max_position_embeddings=theirs["max_position_embeddings"],
        type_vocab_size=theirs.get("type_vocab_size", 2),
        layer_norm_eps=theirs.get("layer_norm_eps", 1e-12),
        pad_token_id=theirs.get("pad_token_id") or 0,
        **ours,
    )


def build_bert(config: BertConfig) -> Bert:
    """A Bert with new weights; UserError where it does not fit into memory."""
    try:
        return Bert(config)
    except (RuntimeError, MemoryError) as error:
        raise UserError(
            f"A model of {config.num_layers} layers of {config.hidden_size} with {config.vocab_size:,} token "
            f"embeddings cannot be made ({first_line(error)}): give a smaller one, or a machine with more memory."
        ) from error


def read_hf_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a Hugging Face folder: safetensors (whole or sharded), or a .bin read with weights_only."""
    import torch
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model.bin"))
    if not files:
        raise UserError(f"{folder} has no model.safetensors; give a folder with weights.")
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            if file.suffix == ".bin":
                loaded = torch.load(file, map_location="cpu", weights_only=True)
                state.update({name: tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)})
            else:
                state.update(load_file(file))
        except Exception as error:  # a damaged pickle raises whatever its bytes lead to
            raise UserError(
                f"{file}: its weights cannot be read ({first_line(error)}); it is damaged, or holds more than weights."
            ) from error
    return state
