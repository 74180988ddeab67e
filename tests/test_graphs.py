"""CUDA graphs without a GPU: what a replay would write over is kept; where they cannot be is said."""

import pytest
import torch
from torch import nn

from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.tokens.prepared import load_prepared
from sctd.train import graphs, step
from sctd.train.trainer import Trainer
from small_runs import config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


class Replayed(nn.Module):
    """Like a recorded module: a forward call writes over the losses and new gradients of the one before."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.lost = []
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(self.given)
        self.known = {}

    def given(self, parameter):
        if parameter.grad is not self.known.get(parameter):
            self.known[parameter] = parameter.grad
            self.lost.append(parameter.grad)

    def forward(self, batch, totals, kind):
        assert isinstance(totals.predictions, torch.Tensor)
        self.known = {p: p.grad for p in self.module.parameters() if p.grad is not None}
        for each in self.lost:  # whether or not somebody still takes it for a parameter's gradient
            each.fill_(float("nan"))
        losses = self.module(batch, totals, kind)
        self.lost = [each for each in vars(losses).values() if each is not None and not each.requires_grad]
        return losses


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_a_replay_writes_over_is_kept(tmp_path, data, monkeypatch, optimizer):
    found = []
    for replayed in (False, True):
        if replayed:
            monkeypatch.setattr(graphs, "check_graphs", lambda device, processes: None)
            monkeypatch.setattr("sctd.train.trainer.check_graphs", lambda device, processes: None)
            monkeypatch.setattr(step, "recorded", Replayed)
        else:
            monkeypatch.setattr(torch, "compile", lambda module: module)
        settings = config(method="sctd", compile=True, cuda_graphs=replayed, batch__micro=3, optimizer__name=optimizer)
        trainer = Trainer(tmp_path, load_prepared(data), settings)
        kinds = ["drop", "consistency", "dense", "drop", "consistency"]
        results = [
            trainer.stepper.run(trainer.batches.at(number), number, 1e-3, kind)
            for number, kind in enumerate(kinds, start=1)
        ]
        lines = [{name: float(each) for name, each in line.items() if each is not None} for line in results]
        found.append((lines, trainer.objective.state_dict()))
    (plain, weights), (kept, same) = found
    assert kept == plain
    assert all(torch.equal(same[name], value) for name, value in weights.items())


def test_where_cuda_graphs_cannot_be_is_said(tmp_path, data):
    with pytest.raises(UserError, match="set compile true too"):
        pretrain(str(data), str(tmp_path / "run"), config(cuda_graphs=True))
    with pytest.raises(UserError, match="cuda_graphs: the device is cpu"):
        pretrain(str(data), str(tmp_path / "run"), config(cuda_graphs=True, compile=True, device="cpu"))
    assert not (tmp_path / "run").exists()
