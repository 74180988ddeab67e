"""The encoder under test: any Hugging Face folder, its tokenizer, and what it was trained to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError, first_line
from sctd.hf.load import TRAINED_ON, WEIGHTS, load_config, load_network, model_fingerprint, model_folder
from sctd.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Encoder:
    """A folder's encoder, with all that scoring must know of it. Networks are loaded anew by `network`.

    Args:
        folder: the Hugging Face folder.
        tokenizer: its tokenizer.
        config: its configuration, as transformers reads it.
        max_length: tokens that a sequence may have: what it was trained on where that is known, else what it can read.
        token_types: token types that were trained, 1 or 2; with 1, pairs use type 0 throughout.
        device: where networks go.
        precision: fp32, bf16 or fp16, of the autocast.
    """

    folder: Path
    tokenizer: Any
    config: Any
    max_length: int
    token_types: int
    device: torch.device
    precision: str

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return int(self.config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.config.hidden_size)

    def fingerprint(self) -> str:
        """SHA-256 of weights, config and tokenizer: what results belong to."""
        return model_fingerprint(self.folder)

    def network(self, kind: str = "AutoModel", **settings: Any) -> Any:
        """A fresh copy of the weights under a transformers class, on the device, in evaluation mode."""
        return load_network(self.folder, kind, **settings).to(self.device)

    def with_new_head(self, kind: str, **settings: Any) -> Any:
        """The encoder's weights under a head whose weights are drawn anew, whatever head the folder has.

        Draws from torch's generator.
        """
        network = self._of_config(kind, **settings)
        encoder = load_network(self.folder, "AutoModel")
        # what the head's class leaves out (a pooler, for spans) is not needed, what it has beside is the head's own
        network.base_model.load_state_dict(encoder.state_dict(), strict=False)
        return network.to(self.device).eval()

    def random_network(self, seed: int, kind: str = "AutoModel", **settings: Any) -> Any:
        """The same shape with random weights, a function of the seed: the baseline of an encoder that read nothing."""
        import torch

        torch.manual_seed(seed)
        return self._of_config(kind, **settings).to(self.device).eval()

    def _of_config(self, kind: str, **settings: Any) -> Any:
        """A transformers class of this shape with new weights, in float32 whatever config.json says."""
        import torch
        import transformers

        config = transformers.AutoConfig.from_pretrained(self.folder, trust_remote_code=False, **settings)
        try:
            return getattr(transformers, kind).from_config(config, dtype=torch.float32, trust_remote_code=False)
        except Exception as error:  # transformers raises whatever its classes raise
            raise _not_built(self.folder, error) from error

    def count_cut(self, sentences: list[str], encoded: Any) -> int:
        """How many of the sentences have less tokens in what `encode` made of them than in whole."""
        whole = self.tokenizer(sentences, truncation=False, verbose=False)["input_ids"]
        return sum(len(a) < len(b) for a, b in zip(encoded["input_ids"], whole, strict=True))

    def encode(self, first: list[str], second: list[str] | None = None, **settings: Any) -> Any:
        """Tokenise texts or pairs, cut to max_length (of pairs, the longer side is cut); lists of ids, not padded."""
        given: dict[str, Any] = {"truncation": True, "max_length": self.max_length, **settings}
        encoded = self.tokenizer(first, second, **given) if second is not None else self.tokenizer(first, **given)
        if self.token_types < 2 and "token_type_ids" in encoded:
            encoded["token_type_ids"] = [[0] * len(ids) for ids in encoded["token_type_ids"]]
        return encoded


def load_encoder(model: str | Path, device: str = "auto", precision: str = "auto") -> Encoder:
    """Read a folder, a finished run or `hf:NAME`.

    Raises:
        UserError: no such model, no tokenizer, or not an encoder.
    """
    folder = model_folder(model)
    config = load_config(folder)
    for name in ("num_hidden_layers", "hidden_size", "vocab_size"):
        if not _whole(getattr(config, name, None)):
            raise UserError(f"{folder / 'config.json'} has no {name}: give the folder of an encoder, such as BERT.")
    named = getattr(config, "architectures", None)
    heads = list(map(str, named)) if isinstance(named, list) else []
    decodes = getattr(config, "is_decoder", False) or any("CausalLM" in n or "LMHeadModel" in n for n in heads)
    if decodes or _of_decoders_alone(config):
        raise UserError(f"{folder} is a decoder ({', '.join(heads)}): give the folder of an encoder.")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{folder} is an encoder with a decoder ({', '.join(heads)}): give the folder of an encoder.")
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        raise UserError(f"{folder} has no weights ({' or '.join(WEIGHTS)}): give a whole Hugging Face folder.")
    tokenizer = load_tokenizer(folder)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lacks = "token for padding" if tokenizer.is_fast else "fast form (tokenizer.json)"
        raise UserError(
            f"{folder}: its tokenizer has no {lacks}; give the folder of an encoder with its own tokenizer."
        )

    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise UserError(
            f"{folder}: its tokenizer has ids up to {highest} and the model embeds {config.vocab_size}: they do not "
            "belong together; put the model's own tokenizer files into the folder."
        )

    from sctd.train.device import choose_device, choose_precision

    chosen = choose_device(device)
    trained_on = getattr(config, TRAINED_ON, None)
    trained_on = trained_on if isinstance(trained_on, dict) else {}
    trained_on = {name: number for name, number in trained_on.items() if _whole(number)}
    able = (getattr(config, "max_position_embeddings", None) or 512) - _first_position(folder, config)
    longest = min(trained_on.get("seq_len") or able, able, tokenizer.model_max_length)
    return Encoder(
        folder=folder,
        tokenizer=tokenizer,
        config=config,
        max_length=int(longest),
        token_types=int(trained_on.get("token_types") or getattr(config, "type_vocab_size", None) or 1),
        device=chosen,
        precision=choose_precision(precision, chosen)[0],
    )


def _of_decoders_alone(config: Any) -> bool:
    """transformers knows this kind of model as a decoder, and has no masked language model of it."""
    from transformers.models.auto import modeling_auto

    kind = type(config)
    decoders, encoders = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING
    return kind in decoders and kind not in encoders


def _not_built(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"{folder / 'config.json'} describes no model that transformers can build ({first_line(error)}): give a whole "
        "Hugging Face folder."
    )


def _first_position(folder: Path, config: Any) -> int:
    """How many position embeddings come before the first token's: RoBERTa's kind counts from after padding's."""
    import torch
    import transformers

    try:
        with torch.device("meta"):
            network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its classes raise
        raise _not_built(folder, error) from error
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
