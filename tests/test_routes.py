"""Other ways through the middle layers than the published one, and steps that drop nothing, against the naive twin."""

import json

import pytest
import torch

from helpers import make_prepared
from naive import kept_places, one_pass, routed_pass, token_loss
from sctd.check import check
from sctd.config import ConsistencyConfig, DroppingConfig, resolve_middle
from sctd.errors import UserError
from sctd.method.drift import layer_states
from sctd.method.objectives import Objective, Totals
from sctd.method.selection import drawn_again, token_tiers
from sctd.method.step_plan import StepPlan
from sctd.model.bert import Bert, BertConfig
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.scores.drift import drift
from sctd.train.metrics import read_metrics
from small_runs import config, weights
from test_dropping import CLS, LENGTH, MASK, PAD, SEP, UNK, VOCAB, WIDTH, assert_same_gradients, batch, naive_kl

ROUTES = [
    ("hybrid", "importance", None, None),
    ("hybrid", "importance", 0, 3),
    ("hybrid", "importance", 1, 2),
    ("skip", "importance", None, None),
    ("skip", "random", 1, 5),
    ("skip", "random", 0, 4),
    ("redraw", "random", None, None),
    ("redraw", "random", 0, 5),
]
NAMES = [f"{route}-{rule}-{start}-{end}" for route, rule, start, end in ROUTES]


def objective(route, rule, start, end, layers=6, **consistency):
    torch.manual_seed(layers)
    model = Bert(BertConfig(VOCAB, layers, WIDTH, 2, 32, LENGTH, attention="eager")).double()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    tiers = token_tiers(VOCAB, cls_id=CLS, pad_id=PAD, pinned_ids=(UNK, SEP, MASK))
    dropping = DroppingConfig(keep_rule=rule, route=route, start_layer=start, end_layer=end)
    counts = torch.ones(VOCAB, dtype=torch.int64)
    made = Objective(model, "sctd", dropping, ConsistencyConfig(**consistency), tiers, counts)
    if rule == "importance":
        made.keep_rule.importance.values.copy_(torch.rand(VOCAB).mul(10).round())
    return made


def naive_kept(made, data, row, length):
    """The kept places of every middle layer."""
    importance = made.keep_rule.importance.values if made.dropping.keep_rule == "importance" else torch.zeros(VOCAB)
    ids, kept = data.input_ids[row].tolist(), []
    for number in range(made.route.end - made.route.start):
        ties = drawn_again(data.tie_break, number if made.route.name == "redraw" else 0)[row].tolist()
        places = kept_places(ids, importance, ties, LENGTH // 2, CLS, {UNK, SEP, MASK}, PAD)
        kept.append([place for place in places if place < length])
    return kept


@pytest.mark.parametrize(("route", "rule", "start", "end"), ROUTES, ids=NAMES)
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("place", ["cls", "mean"])
def test_every_route_equals_the_naive_one_in_losses_and_gradients(route, rule, start, end, padded, place):
    made, data = objective(route, rule, start, end, place=place, weight=3.0), batch(padded)
    totals = Totals(data.predictions, len(data))
    dropped = full = apart = torch.zeros((), dtype=torch.float64)
    for row in range(len(data)):
        length = LENGTH if data.attention_mask is None else int(data.attention_mask[row].sum())
        ids, kept = data.input_ids[row].tolist()[:length], naive_kept(made, data, row, length)
        local_d, last_d = routed_pass(made.model, ids, kept, route, made.route.start, made.route.end)
        local_f, last_f = one_pass(made.model, ids, None)
        for slot, at in enumerate(data.positions[row].tolist()):
            if data.weights[row, slot]:
                dropped = dropped + token_loss(made.model, last_d[at], int(data.labels[row, slot]))
                full = full + token_loss(made.model, last_f[at], int(data.labels[row, slot]))
        compared = [0] if place == "cls" else kept[-1]
        for f, d in ((local_f, local_d), (last_f, last_d)):
            vectors = (torch.stack([each[i] for i in compared]).mean(0) for each in (f, d))
            apart = apart + naive_kl(*vectors)
    plain = made(data, totals)
    assert torch.allclose(plain.total.double(), dropped / data.predictions, atol=1e-6)
    assert_same_gradients(made.model, plain.total, dropped / data.predictions)
    both = made(data, totals, kind="consistency")
    wanted = (dropped + full) / data.predictions / 2 + 3.0 * apart / data.predictions
    assert torch.allclose(both.total.double(), wanted, atol=1e-5)


def test_the_naive_route_of_the_papers_layers_is_the_papers_pass():
    made = objective("hybrid", "importance", None, None)
    ids, kept = batch(False).input_ids[0].tolist(), [0, 3, 5, 6, 7, 11]
    for found, wanted in zip(
        routed_pass(made.model, ids, [kept] * 3, "hybrid", 2, 5), one_pass(made.model, ids, kept), strict=True
    ):
        torch.testing.assert_close(torch.stack(found), torch.stack(wanted))


@pytest.mark.parametrize(("route", "rule", "start", "end"), ROUTES, ids=NAMES)
def test_drift_reads_the_rows_that_each_layer_processed(route, rule, start, end):
    made, data = objective(route, rule, start, end).eval(), batch(False)
    kept = made.select(data)
    states = layer_states(made.model, data.input_ids, None, kept, made.route)
    assert len(states) == 6
    differs = [not torch.allclose(state.full, state.dropped) for state in states]
    first = made.route.first_difference
    assert differs == [number >= first for number in range(6)]
    for row in range(len(data)):
        ids, places = data.input_ids[row].tolist(), naive_kept(made, data, row, LENGTH)
        local, last = routed_pass(made.model, ids, places, route, made.route.start, made.route.end)
        torch.testing.assert_close(states[-1].dropped[row], torch.stack(last))
        if made.route.end == 5:
            wanted = torch.stack([local[place] for place in places[-1]])
            torch.testing.assert_close(states[-2].dropped[row], wanted)


def test_redraw_draws_other_tokens_in_every_layer_and_all_of_them_sooner_or_later():
    made, data = objective("redraw", "random", 0, 5), batch(False)
    kept = made.select(data)
    assert len(kept) == 5
    assert len({tuple(rows.flatten().tolist()) for rows in kept}) == 5
    ties = torch.randint(0, 2**29, (2000, LENGTH))
    again = drawn_again(ties, 1)
    assert again.min() >= 0
    assert again.max() < 2**29
    ranks = [each.argsort(1).argsort(1).double() for each in (ties, again)]
    shares = [(rank < 6).double().mean(0) for rank in ranks]
    assert all(torch.allclose(share, torch.full((LENGTH,), 0.5).double(), atol=0.06) for share in shares)
    both = torch.corrcoef(torch.stack([(rank < 6).double().flatten() for rank in ranks]))[0, 1]
    assert abs(both) < 0.03  # of 24,000 draws, were they independent: 0.0065


def test_a_step_that_drops_nothing_is_the_dense_one_and_teaches_the_importance():
    made, data = objective("hybrid", "importance", None, None).train(), batch(True)
    dense = Objective(made.model, "dense", made.dropping, made.consistency, made.tiers, torch.ones(VOCAB))
    totals = Totals(data.predictions, len(data))
    assert torch.equal(made(data, totals, kind="dense").total, dense(data, totals).total)
    assert made.keep_rule.importance.loss_count.sum() == data.predictions


def test_the_kinds_of_a_runs_steps():
    plan = StepPlan("sctd", 4, full_start=0.25, full_tail=0.15)
    kinds = [plan.kind(step, 20) for step in range(1, 21)]
    assert kinds[:5] == ["dense"] * 5
    assert kinds[17:] == ["dense"] * 3
    assert [number + 1 for number, kind in enumerate(kinds) if kind == "consistency"] == [8, 12, 16]
    assert set(kinds[5:17]) == {"drop", "consistency"}
    assert plan.shares() == pytest.approx({"dense": 0.4, "drop": 0.45, "consistency": 0.15})
    assert {StepPlan("dense", 4, 0.5).kind(step, 10) for step in range(1, 11)} == {"dense"}
    assert StepPlan("drop", None).shares() == {"drop": 1.0}
    assert StepPlan("sctd", 1).shares() == {"consistency": 1.0}


def test_a_run_with_a_full_tail_stops_dropping_and_resumes_to_the_same_weights(tmp_path, monkeypatch):
    from sctd.train.step import Stepper

    data, seen, run_step = make_prepared(tmp_path, sequences=200), [], Stepper.run

    def listen(self, batch, number, lr, kind):
        seen.append(kind)
        return run_step(self, batch, number, lr, kind)

    monkeypatch.setattr(Stepper, "run", listen)
    settings = {"schedule__steps": 20, "checkpoint__every": 15, "eval__every": 10, "consistency__interval": 5}
    tail = {"dropping__full_tail": 0.3, "dropping__route": "skip", "dropping__start_layer": 1}
    pretrain(str(data), str(tmp_path / "run"), config(**settings, **tail))
    assert seen == ["drop", "drop", "drop", "drop", "consistency"] * 2 + ["drop"] * 4 + ["dense"] * 6
    whole = weights(tmp_path / "run")
    import shutil

    shutil.rmtree(tmp_path / "run/checkpoints/step-20")
    pretrain(str(data), str(tmp_path / "run"), resume="auto")
    assert weights(tmp_path / "run") == whole
    card = (tmp_path / "run/model/README.md").read_text(encoding="utf-8")
    assert "layers 1 to 2" in card
    assert "last 30%" in card


@pytest.mark.parametrize("layers", [3, 4])
def test_random_tokens_in_every_layer_train_and_have_their_drift_measured(tmp_path, layers):
    data = make_prepared(tmp_path, sequences=200)
    settings = {"dropping__keep_rule": "random", "dropping__route": "redraw", "dropping__start_layer": 0}
    settings |= {"dropping__end_layer": layers - 1, "model__num_layers": layers, "method": "drop"}
    pretrain(str(data), str(tmp_path / "run"), config(schedule__steps=20, **settings))
    losses = [line["eval_loss"] for line in read_metrics(tmp_path / "run") if "eval_loss" in line]
    assert losses[-1] < losses[0]
    found = drift(str(tmp_path / "run"), str(data), sequences=8, device="cpu", precision="fp32")
    assert found["settings"]["first_layer_that_differs"] == 0
    assert json.loads((tmp_path / "run/drift.json").read_text())["checkpoints"][-1]["cosine"][0] < 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dropping.start_layer": 3, "dropping.end_layer": 3}, "start_layer 3 and dropping.end_layer 3 do not fit"),
        ({"dropping.end_layer": 4}, "end at most 3"),
        ({"dropping.start_layer": -5}, "start must be 0 or more"),
        ({"dropping.start_layer": -1}, "start_layer 3 and dropping.end_layer 3"),
        ({"model.num_layers": 5}, "needs an even number of layers, 4 at least, and the model has 5"),
        ({"dropping.route": "redraw"}, "'importance' would choose the same ones: set dropping.keep_rule random"),
        ({"dropping.full_start": 0.6, "dropping.full_tail": 0.4}, "leave no step with dropping"),
        ({"dropping.full_tail": 1.5}, r"dropping.full_tail is 1.5; it must be in \[0, 1\]"),
    ],
)
def test_what_cannot_be_dropped_so_is_said(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        check(build_config({"schedule.steps": 1, **settings}))


def test_a_route_that_there_is_not_is_named(tmp_path):
    data = make_prepared(tmp_path)
    with pytest.raises(UserError, match="there is no 'detour'; choose one of hybrid, skip, redraw"):
        pretrain(str(data), str(tmp_path / "run"), config(dropping__route="detour"))


def test_layers_may_be_counted_from_the_end():
    settings = {"schedule.steps": 1, "dropping.start_layer": -3, "dropping.end_layer": -2}
    assert resolve_middle(build_config(settings).dropping, 12) == (9, 10)


def test_odd_layers_train_where_both_ends_are_given():
    check(
        build_config({"schedule.steps": 1, "model.num_layers": 5, "dropping.start_layer": 1, "dropping.end_layer": 4})
    )
