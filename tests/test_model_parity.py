"""Our BERT is Hugging Face's: same parameters, same numbers, same gradients."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from transformers import BertConfig as HfConfig
from transformers import BertForMaskedLM, BertModel

from sctd.errors import UserError
from sctd.model.bert import Bert, BertConfig
from sctd.model.hf import (
    from_hf_config,
    hf_name,
    load_hf_state,
    read_hf_config,
    read_hf_weights,
    to_hf_config,
    to_hf_state,
)

CONFIG = BertConfig(
    vocab_size=300, num_layers=4, hidden_size=64, num_heads=4, intermediate_size=128, max_position_embeddings=40
)


def pair(attention, **changes):
    """(ours, Hugging Face's) with the same random weights, LayerNorms and biases too."""
    torch.manual_seed(3)
    config = BertConfig(**{**vars(CONFIG), "attention": attention, **changes})
    ours = Bert(config)
    for parameter in ours.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    theirs = BertForMaskedLM(HfConfig(**to_hf_config(config), attn_implementation=attention))
    missing, unexpected = theirs.load_state_dict(to_hf_state(ours), strict=False)
    assert unexpected == []
    assert set(missing) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    theirs.tie_weights()
    return ours.eval(), theirs.eval()


def batch():
    torch.manual_seed(4)
    ids = torch.randint(5, 300, (3, 32))
    mask = torch.ones(3, 32, dtype=torch.int64)
    mask[1, 20:] = 0
    mask[2, 5:] = 0
    types = (torch.arange(32) > 10).long().expand(3, 32)
    return ids, mask, types


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_logits_equal_hugging_faces(attention, padded):
    ours, theirs = pair(attention)
    ids, mask, types = batch()
    mask = mask if padded else None
    got = ours(ids, mask, types)
    wanted = theirs(ids, attention_mask=mask, token_type_ids=types).logits
    assert (got - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_gradient_of_every_parameter_equals_hugging_faces(attention):
    ours, theirs = pair(attention)
    ids, mask, types = batch()
    labels = torch.where(torch.rand(3, 32) < 0.2, ids, -100).masked_fill(mask == 0, -100)
    theirs(ids, attention_mask=mask, token_type_ids=types, labels=labels).loss.backward()
    logits = ours(ids, mask, types)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        other = wanted[hf_name(name)].grad
        assert torch.allclose(parameter.grad, other, atol=1e-6, rtol=1e-4), name


def test_weights_made_by_hugging_face_give_the_same_logits_in_ours():
    torch.manual_seed(5)
    theirs = BertForMaskedLM(HfConfig(**to_hf_config(CONFIG), attn_implementation="eager")).eval()
    ours = Bert(from_hf_config(theirs.config.to_dict(), attention="eager")).eval()
    load_hf_state(ours, dict(theirs.state_dict()), "here")
    ids, mask, _ = batch()
    assert (ours(ids, mask) - theirs(ids, attention_mask=mask).logits).abs().max() < 1e-5


def test_a_plain_encoder_without_a_head_can_be_continued_from():
    theirs = BertModel(HfConfig(**to_hf_config(CONFIG), attn_implementation="eager"), add_pooling_layer=True).eval()
    ours = Bert(from_hf_config(theirs.config.to_dict(), attention="eager")).eval()
    load_hf_state(ours, dict(theirs.state_dict()), "here")
    ids, mask, _ = batch()
    wanted = theirs(ids, attention_mask=mask).last_hidden_state
    assert (ours.encode(ids, mask) - wanted).abs().max() < 1e-5


def test_missing_and_misshapen_weights_are_named():
    state = to_hf_state(Bert(CONFIG))
    without = {name: tensor for name, tensor in state.items() if "layer.2.output.dense.bias" not in name}
    with pytest.raises(UserError, match=r"layer\.2\.output\.dense\.bias"):
        load_hf_state(Bert(CONFIG), without, "here")
    state["bert.embeddings.word_embeddings.weight"] = torch.zeros(7, 64)
    with pytest.raises(UserError, match="word_embeddings"):
        load_hf_state(Bert(CONFIG), state, "here")


def test_logits_at_chosen_rows_are_the_rows_of_all_logits():
    ours, _ = pair("eager")
    ids, mask, _ = batch()
    rows = torch.tensor([[0, 3, 3], [1, 19, 4], [2, 0, 1]])
    everywhere = ours(ids, mask)
    wanted = torch.stack([everywhere[b, rows[b]] for b in range(3)])
    assert torch.allclose(ours(ids, mask, rows=rows), wanted, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_recomputing_layers_in_the_backward_pass_changes_no_gradient(attention):
    gradients = []
    for recompute in (False, True):
        ours, _ = pair(attention, gradient_checkpointing=recompute, dropout=0.1, attention_dropout=0.1)
        ours.train()
        torch.manual_seed(9)
        ours(batch()[0]).square().mean().backward()
        gradients.append([p.grad for p in ours.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dropout_acts_in_training_only():
    ours, _ = pair("eager", dropout=0.5, attention_dropout=0.5)
    ids = batch()[0]
    assert torch.equal(ours(ids), ours(ids))
    ours.train()
    assert not torch.equal(ours(ids), ours(ids))


def read(folder):
    """A model with the weights of a folder, as --init-from has it."""
    model = Bert(from_hf_config(read_hf_config(folder)))
    load_hf_state(model, read_hf_weights(folder), str(folder))
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], r"config\.json holds no JSON object"),
        ({"vocab_size": None}, r"config\.json says vocab_size null"),
        ({"num_hidden_layers": "4"}, r"config\.json says num_hidden_layers '4'"),
        ({"intermediate_size": 0}, r"config\.json says intermediate_size 0"),
        ({"num_attention_heads": 5}, r"config\.json: hidden_size is not a multiple"),
        ({"num_hidden_layers": 10**6}, r"config\.json says num_hidden_layers 1000000"),
        ({"type_vocab_size": 2**63}, r"config\.json says type_vocab_size 9223372036854775808, which no BERT has"),
        ({"pad_token_id": -1}, r"config\.json says pad_token_id -1, which no BERT has"),
        ({"layer_norm_eps": "small"}, r"config\.json says layer_norm_eps small, which no BERT has"),
    ],
)
def test_a_config_that_cannot_be_used_is_named(tmp_path, change, message):
    config = {**to_hf_config(CONFIG), **change} if isinstance(change, dict) else change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"\x80", b"no pickle", pickle.dumps([]), pickle.dumps(Path.cwd)])
def test_a_bin_that_cannot_be_used_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(to_hf_config(CONFIG)))
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"pytorch_model\.bin: its weights cannot be read"):
        read(tmp_path)


def test_safetensors_that_cannot_be_used_are_named_and_a_sound_bin_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(to_hf_config(CONFIG)))
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        read(tmp_path)
    model = Bert(CONFIG)
    wanted = model.state_dict()
    torch.save(to_hf_state(model), tmp_path / "pytorch_model.bin")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in read(tmp_path).state_dict().items())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model\.safetensors: its weights cannot be read"):
        read(tmp_path)
