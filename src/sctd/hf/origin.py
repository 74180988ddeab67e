"""What a run keeps of where its model comes from: it can be exported when its data and start model are gone.

RUN/origin/ holds config.json (Hugging Face's, of the model), manifest.json (of the data) and tokenizer/.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError
from sctd.files import sha256_file, whole_folder, write_json
from sctd.hf.load import TRAINED_ON
from sctd.json_text import NUMBER, differs
from sctd.train.setup import ORIGIN

if TYPE_CHECKING:
    from sctd.model.bert import BertConfig
    from sctd.tokens.manifest import Manifest
    from sctd.tokens.prepared import PreparedData


@dataclass(frozen=True)
class Origin:
    """Where a run's model comes from.

    Args:
        config: the model's config.json.
        manifest: what the data was.
        tokenizer: the tokenizer's folder.
    """

    config: dict[str, Any]
    manifest: Manifest
    tokenizer: Path


def write_origin(run: Path, data: PreparedData, config: BertConfig, start: Path | None) -> None:
    """Write RUN/origin, whole or not at all; start is the folder that the model was continued from."""
    from sctd.model.hf import read_hf_config, to_hf_config

    # sequences are packed and never paired, so token type 0 is all that is trained
    trained_on = {"seq_len": data.manifest.seq_len, "token_types": 1}
    if start is not None:
        able = {"seq_len": config.max_position_embeddings, "token_types": config.type_vocab_size}
        said = read_hf_config(start).get(TRAINED_ON)
        before = able | said if isinstance(said, dict) else able
        trained_on = {name: max(number, before[name]) for name, number in trained_on.items()}
    with whole_folder(run / ORIGIN) as folder:
        write_json(folder / "config.json", to_hf_config(config) | {TRAINED_ON: trained_on})
        shutil.copyfile(data.path / "manifest.json", folder / "manifest.json")
        shutil.copytree(data.tokenizer_dir, folder / "tokenizer")


def read_origin(run: Path, fingerprint: str) -> Origin:
    """Read RUN/origin.

    Args:
        run: the run's folder.
        fingerprint: SHA-256 of the manifest, as a checkpoint states it.

    Raises:
        UserError: it is missing, or it is not what the run wrote.
    """
    from sctd.model.hf import read_hf_config
    from sctd.tokens.manifest import folder_sha256, read_manifest

    folder = run / ORIGIN
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: give the folder of a run that this version of sctd pretrain wrote.")
    origin = Origin(read_hf_config(folder), read_manifest(folder), folder / "tokenizer")
    dropouts = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), NUMBER)
    if (
        differs(origin.config, dropouts) is not None
        or sha256_file(folder / "manifest.json") != fingerprint
        or folder_sha256(origin.tokenizer) != origin.manifest.tokenizer.sha256
    ):
        raise UserError(f"{folder} is not what the run wrote: bring back its manifest.json and tokenizer folder.")
    return origin
