"""Tokenizer folders: any Hugging Face one taken in, checked, and asked for its special ids."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.console import say
from sctd.errors import UserError, first_line
from sctd.tokens.manifest import MOST_IDS, SpecialIds, TokenizerInfo, folder_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
NEEDED = ("mask", "cls", "sep", "pad")
_WAY_OUT = "give another one with --tokenizer, or leave the flag out to train one"


def copy_tokenizer(given: str, folder: Path, seq_len: int) -> None:
    """Write the tokenizer `given` (a folder, one with only a vocab.txt too, or a name on the hub) into `folder`.

    Raises:
        UserError: it does not load, has no fast form, or lacks one of the cls, sep, mask and pad tokens.
    """
    loaded = _load(given)
    if getattr(loaded, "backend_tokenizer", None) is None:
        raise UserError(f"The tokenizer {given} has no fast form (tokenizer.json): {_WAY_OUT}.")
    for name in NEEDED:
        if getattr(loaded, f"{name}_token_id") is None:
            raise UserError(
                f"The tokenizer {given} has no {name} token, which masked language modelling needs: {_WAY_OUT}."
            )
    if loaded.model_max_length > 10**9:  # transformers' way of saying that nobody knows
        loaded.model_max_length = seq_len
    for key in ("local_files_only", "is_local"):  # where it was loaded from is no property of the tokenizer
        loaded.init_kwargs.pop(key, None)
    try:
        loaded.save_pretrained(folder)
    except (ValueError, TypeError) as error:  # half of a character in it, for one
        raise UserError(f"The tokenizer {given} cannot be written ({first_line(error)}): {_WAY_OUT}.") from error


def try_out(tokenizer: Any) -> None:
    """Have it do what will be asked of it; raises what it raises, here and not in the middle of a corpus."""
    if isinstance(tokenizer.model_max_length, bool) or not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError("model_max_length is no number")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        highest = max(backend.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= MOST_IDS:  # whoever writes it would write a line for each id in between
            raise ValueError(f"it has an id of {highest:,}")
        backend.encode_batch_fast(["It is \U00010348."], add_special_tokens=False)  # a letter that is hardly known


def _load(given: str) -> Any:
    from transformers import AutoTokenizer

    place = Path(given).expanduser()
    if place.is_file():
        raise UserError(f"{given} is a file: --tokenizer takes the folder that holds it.")
    try:
        kind = {}
        if place.is_dir():
            names = {file.name for file in place.iterdir()}
            if "vocab.txt" in names and not names & {"tokenizer.json", "tokenizer_config.json", "config.json"}:
                kind = {"tokenizer_type": "bert"}
        elif not _HUB_NAME.fullmatch(given):  # asking the hub for a mistyped path takes its time
            raise FileNotFoundError("there is no such folder")
        else:
            say(f"There is no folder {given}; the Hugging Face hub is asked for a tokenizer of that name.")
        loaded = AutoTokenizer.from_pretrained(str(place) if place.is_dir() else given, **kind, trust_remote_code=False)
        try_out(loaded)
        return loaded
    except Exception as error:  # transformers raises whatever its parsers raise
        raise UserError(
            f"{given} is no tokenizer that transformers can load ({first_line(error)}): give the folder of a "
            "Hugging Face tokenizer, or leave --tokenizer out to train one."
        ) from error


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, without asking the hub; UserError where transformers finds none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        try_out(tokenizer)
    except Exception as error:  # transformers raises whatever its parsers raise
        raise UserError(
            f"{folder} has no tokenizer that transformers can load ({first_line(error)}): put the model's own "
            "tokenizer files into it."
        ) from error
    if not len(tokenizer) > len(tokenizer.all_special_ids):
        # without vocabulary files, transformers makes one that knows the special tokens alone
        raise UserError(f"{folder} has no tokenizer files: put the model's own tokenizer files into it.")
    return tokenizer


def describe_tokenizer(folder: Path) -> TokenizerInfo:
    """Kind, size and special ids of a tokenizer folder written by `copy_tokenizer` or `train_tokenizer`."""
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        try_out(loaded)
        for name in NEEDED:
            if getattr(loaded, f"{name}_token_id") is None:
                raise ValueError(f"it has no {name} token")
    except Exception as error:  # transformers raises whatever its parsers raise
        raise UserError(f"{folder} is damaged ({first_line(error)}): delete {folder.parent} and begin anew.") from error
    backend = loaded.backend_tokenizer
    return TokenizerInfo(
        sha256=folder_sha256(folder),
        kind=type(backend.model).__name__,
        vocab_size=max(backend.get_vocab(with_added_tokens=True).values()) + 1,
        special=SpecialIds(
            cls=loaded.cls_token_id,
            sep=loaded.sep_token_id,
            mask=loaded.mask_token_id,
            pad=loaded.pad_token_id,
            unk=loaded.unk_token_id,
        ),
    )


def open_encoder(folder: Path) -> Tokenizer:
    """The tokenizer for plain text: no truncation, no padding, and `[MASK]` in a text is three common tokens.

    Each call encodes in the calling thread alone, so that the caller decides how many run.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers has no kind of its own for it
        raise UserError(f"{path} is damaged ({first_line(error)}): delete {folder.parent} and begin anew.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer
