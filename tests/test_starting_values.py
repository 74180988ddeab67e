"""Starting values: what they set, and that they change nothing else."""

import pytest
import torch

from sctd.model.bert import Bert, BertConfig
from sctd.model.starting_values import NEIGHBOURS, set_starting_values, sinusoids

CONFIG = BertConfig(
    vocab_size=300, num_layers=4, hidden_size=128, num_heads=4, intermediate_size=256, max_position_embeddings=64
)


def started(setting):
    torch.manual_seed(1)
    model = Bert(CONFIG)
    counts = torch.arange(300)
    set_starting_values(model, setting, counts)
    return model, counts


def test_normal_changes_nothing():
    torch.manual_seed(1)
    plain = Bert(CONFIG).state_dict()
    assert all(torch.equal(plain[name], value) for name, value in started("normal")[0].state_dict().items())


def test_sinusoids_have_the_rms_of_normal_positions():
    table = sinusoids(64, 128)
    assert table.square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)
    model, _ = started("sinusoidal")
    assert torch.equal(model.position_embeddings.weight, table)
    assert sinusoids(10, 7).shape == (10, 7)


def test_local_heads_look_at_their_neighbours():
    model, _ = started("local")
    torch.manual_seed(2)
    hidden = model.embed(torch.randint(5, 300, (32, 64)))
    layer = model.layers[0]
    size = CONFIG.hidden_size // CONFIG.num_heads
    query, key = layer.query(hidden), layer.key(hidden)
    for head, offset in enumerate(NEIGHBOURS):
        part = slice(head * size, (head + 1) * size)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / size**0.5).softmax(-1)
        mean = torch.stack([weights.diagonal(d, 1, 2)[:, 8:48].mean() for d in range(-8, 9)])
        assert mean.argmax().item() - 8 == offset
        assert mean.max() > 0.15  # a uniform look would give 1/64


def test_local_starts_with_the_frequencies_of_the_ids():
    model, counts = started("local")
    share = (counts + 1.0) / (counts + 1.0).sum()
    assert torch.allclose(model.head_bias.softmax(0), share, atol=1e-6)


def test_local_starting_values_work_for_odd_head_sizes():
    model = Bert(BertConfig(50, 4, 15, 3, 30, 16))
    set_starting_values(model, "local", torch.ones(50))
    assert model(torch.randint(0, 50, (2, 16))).isfinite().all()
