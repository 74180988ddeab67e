"""The count of multiply-adds against torch's own counter on real steps, and against the published figures."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import make_prepared
from sctd.batches.loader import TrainingBatches
from sctd.method.cost import Shape
from sctd.method.objectives import Totals
from sctd.method.selection import kept_count
from sctd.recipe import build_config
from sctd.tokens.prepared import load_prepared
from sctd.train.setup import build_objective, read_vocabulary

SEQUENCES = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_prepared(make_prepared(tmp_path_factory.mktemp("prepared")))


@pytest.mark.parametrize("layers", [4, 6])
@pytest.mark.parametrize(
    ("method", "kind", "settings"),
    [
        ("dense", "dense", {}),
        ("drop", "drop", {"dropping.keep_ratio": 0.25}),
        ("sctd", "drop", {}),
        ("sctd", "consistency", {}),
        ("sctd", "consistency", {"consistency.share_prefix": False, "consistency.place": "mean"}),
        ("sctd", "dense", {}),
        ("sctd", "consistency", {"dropping.route": "skip", "dropping.start_layer": 0, "dropping.end_layer": 2}),
        ("drop", "drop", {"dropping.route": "redraw", "dropping.keep_rule": "random", "dropping.start_layer": 1}),
        ("drop", "drop", {"dropping.start_layer": 0}),
    ],
)
def test_the_count_is_what_torch_counts(data, layers, method, kind, settings):
    shape = {"model.num_layers": layers, "model.hidden_size": 32, "model.num_heads": 2, "model.attention": "eager"}
    config = build_config({"method": method, "schedule.steps": 1, **shape, **settings})
    vocabulary = read_vocabulary(data)
    objective = build_objective(config, data, vocabulary, torch.device("cpu")).train()
    batch = TrainingBatches(data.train, vocabulary, config.masking, SEQUENCES, 1).at(1)
    with FlopCounterMode(display=False) as counter:
        objective(batch, Totals(batch.predictions, len(batch)), kind).total.backward()
    kept = kept_count(config.dropping.keep_ratio, 32)
    compared = kept if config.consistency.place == "mean" else 1
    shared = config.consistency.share_prefix
    route = None if method == "dense" else objective.route
    counted = Shape(layers, 32, 128, 200, 32, batch.positions.shape[1], kept, compared, shared, route)
    assert counter.get_total_flops() == 2 * SEQUENCES * counted.training(kind)


def test_the_published_shares_of_a_base_model():
    """12 layers of 768 at 512 tokens: Hou et al. (2022) report 25 % fewer operations."""
    base = Shape(12, 768, 3072, 30522, 512, 76, 256)
    full = base.layer(512, 512) / 512
    assert full == pytest.approx(7.86e6, rel=1e-3)
    assert base.layer(256, 512) / 512 == pytest.approx(4.52e6, rel=1e-3)
    assert base.layer(256, 256) / 512 == pytest.approx(3.74e6, rel=2e-3)
    encoder = 6 * full + base.layer(256, 512) / 512 + 5 * base.layer(256, 256) / 512
    assert encoder / (12 * full) == pytest.approx(0.746, abs=1e-3)
    plain = base.forward("dense") / base.forward("drop")
    assert plain == pytest.approx(1.35, abs=0.01)
    interval = (9 * base.forward("drop") + base.forward("consistency")) / 10
    assert base.forward("dense") / interval == pytest.approx(1.25, abs=0.01)
