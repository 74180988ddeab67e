"""The encoder under test: what a folder must have, how long its sequences are, and that its head is always new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny_encoder, write_tokenizer
from sctd.errors import UserError
from sctd.scores.encoder import load_encoder
from sctd.scores.heads import HEADS
from sctd.scores.tasks.table import TASKS

CHANGES = {
    "decoder by its kind": {"model_type": "gpt2", "architectures": ["GPT2Model"]},
    "encoder and decoder": {"is_encoder_decoder": True},
    "heads that do not divide": {"num_attention_heads": 3},
    "an activation that there is not": {"hidden_act": "foo"},
    "another tokenizer": {"vocab_size": 100},
    "a million layers": {"num_hidden_layers": 10**6},
    "labels beyond any float": {"num_labels": 10**400},
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("no tokenizer", "has no tokenizer"),
        ("decoder", r"is a decoder \(GPT2LMHeadModel\)"),
        ("no layers", "has no num_hidden_layers"),
        ("no model type", "is of no model that transformers knows"),
        ("no weights", "has no weights"),
        ("broken weights", "is no model that transformers'"),
        ("decoder by its kind", r"is a decoder \(GPT2Model\)"),
        ("encoder and decoder", "is an encoder with a decoder"),
        ("heads that do not divide", "describes no model that transformers can build"),
        ("an activation that there is not", "describes no model that transformers can build"),
        ("another tokenizer", "its tokenizer has ids up to 199 and the model embeds 100"),
        ("renamed weights", r"lacks \d+ of the encoder's weights"),
        ("no padding", "its tokenizer has no token for padding"),
        ("a million layers", "says num_hidden_layers 1000000, which no encoder has"),
        ("labels beyond any float", "says num_labels 1000000000\\d*, which no encoder has"),
        ("a number of 5,000 digits", "cannot be read .Exceeds the limit"),
    ],
)
def test_a_folder_that_is_no_encoder_is_named(tmp_path: Path, change: str, sentence: str) -> None:
    folder = tiny_encoder(tmp_path / "model").folder
    config = json.loads((folder / "config.json").read_text())
    if change == "no tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    elif change == "decoder":
        (folder / "config.json").write_text(
            json.dumps(config | {"architectures": ["GPT2LMHeadModel"], "is_decoder": True})
        )
    elif change == "renamed weights":
        tensors = load_file(folder / "model.safetensors")
        renamed = {f"wrapped.{name}": tensor for name, tensor in tensors.items()}
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    elif change == "no padding":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        (folder / "tokenizer_config.json").write_text(
            json.dumps({name: value for name, value in settings.items() if name != "pad_token"})
        )
    elif change == "no model type":
        (folder / "config.json").write_text("{}")
    elif change == "a number of 5,000 digits":
        (folder / "config.json").write_text('{"hidden_size": ' + 5000 * "9" + "}")
    elif change == "no layers":
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 0}))
    elif change in CHANGES:
        (folder / "config.json").write_text(json.dumps(config | CHANGES[change]))
    elif change == "broken weights":
        (folder / "model.safetensors").write_bytes(b"no tensors")
    else:
        (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=sentence):
        load_encoder(folder, device="cpu").network()


def test_a_head_that_the_folder_has_is_not_taken(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    encoder = tiny_encoder(tmp_path / "model", max_length=24)
    for labels in (2, 5):
        trained = AutoModelForSequenceClassification.from_pretrained(encoder.folder, num_labels=labels)
        with torch.no_grad():
            trained.classifier.bias.fill_(7.0)
        trained.save_pretrained(tmp_path / "trained")
        write_tokenizer(tmp_path / "trained", 200)
        loaded = load_encoder(tmp_path / "trained", device="cpu")
        torch.manual_seed(3)
        network = HEADS["text"].network(loaded, TASKS["sst2"])
        assert network.classifier.bias.tolist() == [0.0, 0.0]
        torch.manual_seed(3)
        assert torch.equal(HEADS["text"].network(loaded, TASKS["sst2"]).classifier.weight, network.classifier.weight)
        own = loaded.network().state_dict()
        for name, tensor in network.base_model.state_dict().items():
            assert torch.equal(tensor, own[name]), name


def test_random_encoders_are_float32_whatever_the_folder_says(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path).folder
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    encoder = load_encoder(folder, device="cpu")
    kinds = [encoder.random_network(1), encoder.network(), encoder.with_new_head("AutoModelForQuestionAnswering")]
    assert {tensor.dtype for network in kinds for tensor in network.parameters()} == {torch.float32}


def test_positions_that_begin_after_padding_s_are_counted(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tiny_encoder(tmp_path).folder
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=200, max_position_embeddings=34, pad_token_id=1, **shape)
    RobertaForMaskedLM(config).save_pretrained(folder)
    assert load_encoder(folder, device="cpu").max_length == 32
