"""The method inside real training steps: the table, the pins, dropout's draws, clipping, evaluation."""

import json
from collections import defaultdict
from functools import cache

import pytest
import torch

import helpers
from helpers import make_prepared
from naive import kept_places, one_pass, token_loss
from sctd.batches.batch import Batch
from sctd.batches.loader import TrainingBatches, evaluation_batches
from sctd.config import ConsistencyConfig, DroppingConfig
from sctd.method.dropping import Rows, finish_dropped, run_prefix
from sctd.method.objectives import Objective, Totals
from sctd.method.selection import CLS_TIER, ORDINARY_TIER, PAD_TIER, PINNED_TIER, token_tiers
from sctd.model.bert import Bert, BertConfig
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.tokens.manifest import SpecialIds
from sctd.tokens.prepared import load_prepared
from sctd.tokens.tokenizer import load_tokenizer
from sctd.train.checkpoint import load_tensors, newest_checkpoint
from sctd.train.evaluate import evaluate
from sctd.train.metrics import read_metrics
from sctd.train.optimizer import build_optimizers
from sctd.train.setup import build_objective, read_vocabulary
from sctd.train.step import Stepper

CPU = torch.device("cpu")
SMALL = {
    "method": "sctd",
    "model.num_layers": 4,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "model.dropout": 0.0,
    "model.attention_dropout": 0.0,
    "schedule.steps": 1,
    "batch.size": 4,
    "eval.sequences": 8,
    "eval.baselines": False,
    "log.tensorboard": False,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_prepared(make_prepared(tmp_path_factory.mktemp("prepared")))


def config(**changes):
    return build_config({**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})


@cache
def vocabulary_of(path):
    return read_vocabulary(load_prepared(path))


def built(data, **changes):
    """(objective in training mode, stepper with micro-batches of 2, first training batch)."""
    settings = config(**changes)
    vocabulary = vocabulary_of(data.path)
    objective = build_objective(settings, data, vocabulary, CPU).train()
    optimizers = build_optimizers(objective.model, settings.optimizer, 1e-3, "fp32")
    stepper = Stepper(objective, optimizers, "fp32", CPU, 2, settings.optimizer.grad_clip, settings.seed)
    batches = TrainingBatches(data.train, vocabulary, settings.masking, settings.batch.size, settings.seed)
    return objective, stepper, batches.at(1)


@torch.no_grad()
def losses_by_label(objective, batch):
    """The dropped pass's losses of a batch, listed under the id that was predicted."""
    prefix = run_prefix(objective.model, batch.input_ids, batch.attention_mask, objective.route)
    kept = objective.select(batch)
    rows = Rows(batch.positions)
    output = finish_dropped(objective.model, prefix, batch.attention_mask, kept, rows, objective.route)
    losses, found = objective.token_losses(output, batch), defaultdict(list)
    for label, loss, weight in zip(
        batch.labels.flatten().tolist(), losses.flatten().tolist(), batch.weights.flatten().tolist(), strict=True
    ):
        if weight:
            found[label].append(loss)
    return found


@pytest.mark.parametrize("kind", ["drop", "consistency"])
def test_a_step_moves_the_table_at_the_predicted_ids_alone(data, kind):
    objective, stepper, batch = built(data, dropping__beta=0.9)
    found = losses_by_label(objective, batch)
    assert any(len(losses) > 1 for losses in found.values())
    stepper.run(batch, 1, 1e-3, kind)
    importance = objective.keep_rule.importance
    for number, value in enumerate(importance.values.tolist()):
        if number in found:
            mean = sum(found[number]) / len(found[number])
            assert value == pytest.approx(0.9 * 10 + 0.1 * mean, abs=1e-4)
        else:
            assert value == 10
    assert importance.loss_count.sum() == 0  # the next step begins anew


def test_a_consistency_step_learns_importance_from_the_dropped_pass():
    vocab, length = 30, 10
    pad, unk, cls, sep, mask = range(5)
    torch.manual_seed(3)
    model = Bert(BertConfig(vocab, 4, 16, 2, 32, length, attention="eager")).double()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    tiers = token_tiers(vocab, cls_id=cls, pad_id=pad, pinned_ids=(unk, sep, mask))
    counts = torch.ones(vocab, dtype=torch.int64)
    objective = Objective(model, "sctd", DroppingConfig(keep_ratio=0.4), ConsistencyConfig(), tiers, counts).train()
    ids = torch.randint(5, vocab, (2, length))
    ids[:, 0], ids[:, -1] = cls, sep
    positions = torch.tensor([[2, 5, 7], [1, 4, 0]])
    labels = ids.gather(1, positions)
    labels[1, 0] = labels[0, 0]  # one id predicted twice
    ids[0, 2] = ids[1, 1] = mask
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    batch = Batch(ids, positions, labels, weights, torch.randint(0, 2**29, (2, length)), None, 5)

    sums, full_sums = torch.zeros(vocab), torch.zeros(vocab)
    importance = objective.keep_rule.importance
    with torch.no_grad():
        for row in range(2):
            tokens, ties = ids[row].tolist(), batch.tie_break[row].tolist()
            kept = kept_places(tokens, importance.values, ties, 4, cls, {unk, sep, mask}, pad)
            dropped, full = one_pass(model, tokens, kept)[1], one_pass(model, tokens, None)[1]
            for slot in range(3 if row == 0 else 2):
                place, label = int(positions[row, slot]), int(labels[row, slot])
                sums[label] += token_loss(model, dropped[place], label)
                full_sums[label] += token_loss(model, full[place], label)
    assert (sums - full_sums).abs().max() > 0.01  # the two passes can be told apart
    objective(batch, Totals(5, 2), kind="consistency")
    assert importance.loss_sum.tolist() == pytest.approx(sums.tolist(), abs=1e-4)
    assert importance.loss_count.sum() == 5


# id by id; the first is the order of the other tests
ORDERS = (
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    ("[MASK]", "[SEP]", "[PAD]", "[CLS]", "[UNK]"),
)


@pytest.mark.parametrize("names", ORDERS, ids=["BERT's order", "another order"])
def test_the_tiers_are_of_the_tokenizers_own_ids(tmp_path, monkeypatch, names):
    place = {name[1:-1].lower(): number for number, name in enumerate(names)}
    write_tokenizer = helpers.write_tokenizer

    def write_with_roles(folder, vocab_size):
        write_tokenizer(folder, vocab_size)
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        roles = {f"{role}_token": f"[{role.upper()}]" for role in place}
        path.write_text(json.dumps(settings | roles), encoding="utf-8")

    monkeypatch.setattr(helpers, "NAMES", list(names))
    monkeypatch.setattr(helpers, "SPECIAL", SpecialIds(**place))
    monkeypatch.setattr(helpers, "write_tokenizer", write_with_roles)
    data = load_prepared(make_prepared(tmp_path, sequences=4, validation_sequences=2))
    tokenizer = load_tokenizer(data.tokenizer_dir)
    assert tokenizer.convert_tokens_to_ids(list(names)) == [0, 1, 2, 3, 4]
    wanted = torch.full((200,), ORDINARY_TIER)
    wanted[[tokenizer.sep_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id]] = PINNED_TIER
    wanted[tokenizer.cls_token_id], wanted[tokenizer.pad_token_id] = CLS_TIER, PAD_TIER
    objective = build_objective(config(), data, read_vocabulary(data), CPU)
    assert objective.tiers.tolist() == wanted.tolist()


def test_a_continued_models_table_starts_at_its_held_out_loss(tmp_path, data):
    pretrain(str(data.path), str(tmp_path / "first"), config())
    run = tmp_path / "second"
    # the one batch is far too small to hold all ids: those that it lacks keep their starting value
    changes = {"model__num_layers": None, "model__hidden_size": None, "model__num_heads": None, "dropping__beta": 0.5}
    pretrain(str(data.path), str(run), config(init_from=str(tmp_path / "first" / "model"), **changes))
    start = read_metrics(run)[0]["eval_loss"]
    assert abs(start - 10) > 1
    table = load_tensors(newest_checkpoint(run)[0], "method.safetensors")["importance.values"]
    assert table.median().item() == pytest.approx(start, abs=1e-5)
    assert not (table == 10).any()
    assert table.unique().numel() > 1  # and the step moved others


@pytest.mark.parametrize("method", ["dense", "sctd"])
def test_evaluation_is_without_dropout(data, method):
    objective, _, _ = built(data, method=method, model__dropout=0.5, model__attention_dropout=0.5)
    vocabulary = vocabulary_of(data.path)
    batches = [batch for _, batch in evaluation_batches(data.validation, vocabulary, 8, 8)]
    figures = [evaluate(objective, batches, vocabulary.mask_id, "fp32", CPU) for _ in range(2)]
    assert figures[0] == figures[1]
    assert objective.training  # as it was before
    plain, _, _ = built(data, method=method)
    assert evaluate(plain, batches, vocabulary.mask_id, "fp32", CPU) == pytest.approx(figures[0], abs=1e-5)


@pytest.mark.parametrize(("optimizer", "clip"), [("adamw", 1e-3), ("muon", 1e-3), ("adamw", None)])
def test_the_optimizers_see_clipped_gradients(data, monkeypatch, optimizer, clip):
    objective, stepper, batch = built(data, optimizer__name=optimizer, optimizer__grad_clip=clip)
    seen = []

    def record():
        gradients = [p.grad for p in objective.model.parameters() if p.grad is not None]
        seen.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))

    for each in stepper.optimizers:
        monkeypatch.setattr(each, "step", record)
    before = float(stepper.run(batch, 1, 1e-3, True)["grad_norm"])
    assert before > 0.1
    assert len(seen) == len(stepper.optimizers)
    assert seen == pytest.approx([before if clip is None else clip] * len(seen), rel=1e-2)


def test_dropout_is_drawn_by_seed_step_and_micro_batch(data):
    def losses_of(seed, step, dropout):
        """The losses of a step's two micro-batches, which are equal in content."""
        _, _, batch = built(data)
        for name in ("input_ids", "positions", "labels", "weights", "tie_break"):
            getattr(batch, name)[2:] = getattr(batch, name)[:2]
        if batch.attention_mask is not None:
            batch.attention_mask[2:] = batch.attention_mask[:2]
        objective, stepper, _ = built(data, model__dropout=dropout)
        stepper.seed = seed
        losses = []
        objective.register_forward_hook(lambda module, given, made: losses.append(float(made.loss)))
        stepper.run(batch, step, 1e-3, False)
        assert len(losses) == 2
        return losses

    assert len(set(losses_of(1, 1, 0.0))) == 1  # equal indeed
    first = losses_of(1, 1, 0.5)
    assert first[0] != first[1]
    assert losses_of(1, 1, 0.5) == first
    assert losses_of(1, 2, 0.5)[0] != first[0]
    assert losses_of(2, 1, 0.5)[0] != first[0]
