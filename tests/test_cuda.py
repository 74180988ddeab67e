"""What must hold on an NVIDIA GPU; skipped where there is none. The processor is the slow twin."""

import pytest
import torch

from helpers import make_prepared
from sctd.method.selection import select_kept
from sctd.pretrain import pretrain
from sctd.tokens.prepared import load_prepared
from sctd.train.checkpoint import newest_checkpoint
from sctd.train.metrics import read_metrics
from sctd.train.trainer import Trainer
from small_runs import config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

KINDS = [("dense", "dense"), ("drop", "drop"), ("sctd", "drop"), ("sctd", "consistency"), ("sctd", "dense")]
NAMES = ["dense", "drop", "sctd, a dropped step", "sctd, a consistency step", "sctd, a full step"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), sequences=200)


def trainer(tmp_path, data, **changes):
    return Trainer(tmp_path, load_prepared(data), config(device="cuda", **changes))


def whole_batch(trainer):
    """The first batch without padding, so that its shapes are the usual ones."""
    return next(batch for batch in map(trainer.batches.at, range(1, 50)) if batch.attention_mask is None)


@pytest.mark.parametrize(("method", "kind"), KINDS, ids=NAMES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_and_gradients_are_those_of_the_processor(tmp_path, data, method, kind, attention):
    found = []
    for device in ("cpu", "cuda"):
        here = Trainer(tmp_path, load_prepared(data), config(device=device, method=method, model__attention=attention))
        grads = {}
        for name, parameter in here.objective.model.named_parameters():
            keep = lambda p, name=name, grads=grads: grads.update({name: p.grad.cpu().clone()})  # noqa: E731
            parameter.register_post_accumulate_grad_hook(keep)
        result = here.stepper.run(here.batches.at(1), 1, 1e-3, kind)
        rule = here.objective.keep_rule
        importance = None if rule is None else rule.importance.values.cpu()
        found.append(({name: value.cpu() for name, value in result.items() if value is not None}, grads, importance))
    (their_losses, their_grads, their_importance), (losses, grads, importance) = found
    assert losses.keys() == their_losses.keys()
    for name, value in losses.items():
        assert float(value) == pytest.approx(float(their_losses[name]), rel=1e-4, abs=1e-6), name
    assert grads.keys() == their_grads.keys()
    for name, grad in grads.items():
        assert torch.allclose(grad, their_grads[name], rtol=1e-3, atol=1e-5), name
    if importance is not None:
        torch.testing.assert_close(importance, their_importance, rtol=1e-5, atol=1e-5)


def test_the_same_tokens_are_kept_as_on_the_processor_ties_among_them():
    torch.manual_seed(0)
    scores = torch.randint(-3, 4, (64, 96)).float() / 4  # many ties
    tiers = torch.randint(0, 4, (64, 96))
    tie_break = torch.randint(0, 2**29, (64, 96))
    there = select_kept(scores.cuda(), tiers.cuda(), tie_break.cuda(), 40).cpu()
    assert torch.equal(there, select_kept(scores, tiers, tie_break, 40))


@pytest.mark.parametrize(("method", "kind"), KINDS, ids=NAMES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_never_waits_for_the_gpu(tmp_path, data, method, kind, optimizer):
    here = trainer(tmp_path, data, method=method, precision="bf16", optimizer__name=optimizer, model__dropout=0.1)
    batch = whole_batch(here)
    here.stepper.run(batch, 1, 1e-3, kind)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        here.stepper.run(batch, 2, 1e-3, kind)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("method", "kind"), KINDS, ids=NAMES)
def test_forward_and_backward_can_be_captured_in_a_cuda_graph(tmp_path, data, method, kind):
    from sctd.method.objectives import Totals

    here = trainer(tmp_path, data, method=method)
    objective, batch = here.objective.train(), whole_batch(here).to(here.device)
    totals = Totals(batch.predictions, len(batch))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            objective.zero_grad()
            objective(batch, totals, kind).total.backward()
    torch.cuda.current_stream().wait_stream(side)
    plain = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    if objective.keep_rule is not None:
        objective.keep_rule.forget()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        objective(batch, totals, kind).total.backward()
    graph.replay()
    for name, parameter in objective.named_parameters():
        if name in plain:
            torch.testing.assert_close(parameter.grad, plain[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["dense", "drop", "sctd"])
def test_a_run_learns_in_half_precision(tmp_path, data, method, precision):
    settings = {"schedule__steps": 120, "optimizer__name": "muon", "optimizer__lr": 0.01}
    pretrain(str(data), str(tmp_path / "run"), config(device="cuda", method=method, precision=precision, **settings))
    lines = read_metrics(tmp_path / "run")
    assert lines[-1]["eval_loss"] < lines[0]["eval_loss"] - 0.3


def test_a_run_that_is_stopped_and_resumed_ends_where_the_whole_one_does(tmp_path, data, monkeypatch):
    # to a tolerance: atomic additions on a GPU come in no fixed order
    from sctd.train.step import Stepper

    settings = config(device="cuda", method="sctd", precision="bf16", model__dropout=0.1)
    pretrain(str(data), str(tmp_path / "whole"), settings)
    run = Stepper.run

    def until_37(self, batch, number, lr, kind):
        if number == 38:
            raise RuntimeError("killed")
        return run(self, batch, number, lr, kind)

    monkeypatch.setattr(Stepper, "run", until_37)
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(str(data), str(tmp_path / "killed"), settings)
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path / "killed")[1].global_step == 36
    pretrain(str(data), str(tmp_path / "killed"), resume="auto")
    whole, killed = (read_metrics(tmp_path / name)[-1] for name in ("whole", "killed"))
    assert killed["step"] == whole["step"]
    assert killed["eval_loss"] == pytest.approx(whole["eval_loss"], abs=0.02)


def test_a_batch_that_does_not_fit_is_halved(tmp_path, capsys):
    wide = make_prepared(tmp_path, sequences=200, seq_len=128, vocab_size=2000)
    here = trainer(tmp_path, wide, batch__size=128, model__hidden_size=256, optimizer__name="adamw")
    batch = whole_batch(here)
    here.stepper.run(batch, 1, 0.0, kind="dense")
    whole_peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.7 * whole_peak / total)
    try:
        result = here.stepper.run(batch, 2, 0.0, kind="dense")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert here.stepper.halved
    assert here.stepper.micro < 128
    assert torch.isfinite(result["loss_total"])
    assert "Memory ran out with 128 sequences at a time" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kind"), KINDS, ids=NAMES)
def test_a_compiled_step_is_the_plain_one(tmp_path, data, method, kind):
    losses = []
    for compiled in (False, True):
        here = trainer(tmp_path, data, method=method, compile=compiled)
        batch = whole_batch(here)
        losses.append([float(here.stepper.run(batch, step, 1e-3, kind)["loss_total"]) for step in range(1, 6)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def trained(tmp_path, data, kinds, **changes):
    """(losses of every step, parameters, importance) after so many steps."""
    here = trainer(tmp_path, data, compile=True, batch__micro=4, **changes)
    losses = []
    for step, kind in enumerate(kinds, start=1):
        result = here.stepper.run(here.batches.at(step), step, 1e-3, kind)
        losses.append({name: each for name, each in result.items() if each is not None})
        if step % 4 == 0:
            here.evaluate()  # other work in between
    losses = [{name: float(each) for name, each in line.items()} for line in losses]  # after all replays
    rule = here.objective.keep_rule
    state = {name: value.detach().cpu() for name, value in here.objective.model.state_dict().items()}
    return losses, state, None if rule is None else rule.importance.values.cpu()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "drop", "sctd"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_steps_replayed_as_cuda_graphs_are_the_plain_ones(tmp_path, data, method, optimizer):
    from torch._dynamo.utils import counters

    kinds = {"dense": ["dense"] * 12, "drop": ["drop"] * 12}.get(method, ["drop", "drop", "consistency", "dense"] * 3)
    changes = {"method": method, "optimizer__name": optimizer, "precision": "fp32"}
    plain = trained(tmp_path, data, kinds, **changes)
    counters.clear()
    torch._dynamo.reset()
    replayed = trained(tmp_path, data, kinds, cuda_graphs=True, **changes)
    assert counters["inductor"]["cudagraph_skips"] == 0
    for ours, theirs in zip(replayed[0], plain[0], strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-5)
    for name, value in replayed[1].items():
        torch.testing.assert_close(value, plain[1][name], rtol=1e-3, atol=2e-4)
    if plain[2] is not None:
        torch.testing.assert_close(replayed[2], plain[2], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_with_cuda_graphs_ends_where_one_without_does(tmp_path, data, precision):
    settings = {"schedule__steps": 60, "optimizer__name": "muon", "optimizer__lr": 0.01, "precision": precision}
    settings |= {"device": "cuda", "method": "sctd", "compile": True}
    ends = []
    for graphs in (False, True):
        run = tmp_path / str(graphs)
        pretrain(str(data), str(run), config(cuda_graphs=graphs, **settings))
        ends.append(read_metrics(run)[-1]["eval_loss"])
    assert ends[1] == pytest.approx(ends[0], abs=0.05)
