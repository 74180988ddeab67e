"""The pass with dropping and the consistency losses, against a naive reference written from the papers."""

import pytest
import torch

from naive import kept_places, one_pass, token_loss
from sctd.batches.batch import Batch
from sctd.config import ConsistencyConfig, DroppingConfig
from sctd.method.objectives import Objective, Totals
from sctd.method.selection import kept_count, token_tiers
from sctd.model.bert import Bert, BertConfig

VOCAB, LENGTH, WIDTH = 40, 12, 16
PAD, UNK, CLS, SEP, MASK = range(5)


def objective(layers, method="sctd", keep_ratio=0.5, attention="eager", **consistency):
    torch.manual_seed(layers)
    config = BertConfig(VOCAB, layers, WIDTH, 2, 32, LENGTH, attention=attention)
    model = Bert(config).double()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    tiers = token_tiers(VOCAB, cls_id=CLS, pad_id=PAD, pinned_ids=(UNK, SEP, MASK))
    made = Objective(
        model,
        method,
        DroppingConfig(keep_ratio=keep_ratio),
        ConsistencyConfig(**consistency),
        tiers,
        torch.ones(VOCAB, dtype=torch.int64),
    )
    if made.keep_rule is not None:
        made.keep_rule.importance.values.copy_(torch.rand(VOCAB).mul(10).round())  # with ties
    return made


def batch(padded):
    torch.manual_seed(11)
    ids = torch.randint(5, VOCAB, (3, LENGTH))
    ids[:, 0], ids[:, -1] = CLS, SEP
    labels = ids.clone()
    ids[0, [3, 7]], ids[1, [2, 4]], ids[2, [1, 2]] = MASK, MASK, MASK
    real = torch.full((3,), LENGTH)
    if padded:
        real = torch.tensor([LENGTH, 9, 5])
        for row, count in enumerate(real):
            ids[row, count:], ids[row, count - 1] = PAD, SEP
    positions = torch.tensor([[3, 5, 7], [2, 4, 6], [1, 2, 0]])
    weights = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 1, 0]])
    mask = (torch.arange(LENGTH)[None] < real[:, None]).long()
    tie_break = torch.randint(0, 2**29, (3, LENGTH))
    return Batch(
        ids, positions, labels.gather(1, positions), weights, tie_break, mask if padded else None, int(weights.sum())
    )


def naive_losses(made, batch, keep, variant="paper", distance=None, terms="both", place="cls", reduction=None):
    """(total, dropped, full) of a consistency step, or of a plain one where distance is null."""
    model, table = made.model, made.keep_rule.importance.values
    dropped = full = apart = torch.zeros((), dtype=torch.float64)
    for row in range(len(batch)):
        length = LENGTH if batch.attention_mask is None else int(batch.attention_mask[row].sum())
        ids = batch.input_ids[row].tolist()
        kept = kept_places(ids, table, batch.tie_break[row].tolist(), keep, CLS, {UNK, SEP, MASK}, PAD)
        kept = [at for at in kept if at < length]  # a padded place reaches no loss
        local_d, last_d = one_pass(model, ids[:length], kept)
        local_f, last_f = one_pass(model, ids[:length], None)
        for slot, at in enumerate(batch.positions[row].tolist()):
            if batch.weights[row, slot]:
                label = int(batch.labels[row, slot])
                dropped = dropped + token_loss(model, last_d[at], label)
                full = full + token_loss(model, last_f[at], label)
        if distance is not None:
            at = [0] if place == "cls" else kept
            for kind, f, d in (("local", local_f, local_d), ("global", last_f, last_d)):
                if terms in ("both", kind):
                    f_vector = torch.stack([f[i] for i in at]).mean(0)
                    d_vector = torch.stack([d[i] for i in at]).mean(0)
                    apart = apart + distance(f_vector.detach() if variant == "teacher" else f_vector, d_vector)
    dropped, full = dropped / batch.predictions, full / batch.predictions
    if distance is None:
        return dropped, dropped, full
    apart = apart / (len(batch) if reduction == "per_sequence" else batch.predictions)
    mlm = dropped if variant == "released-code" else (dropped + full) / 2
    return mlm + made.consistency.weight * apart, dropped, full


def naive_kl(full, dropped):
    p, q = full.exp() / full.exp().sum(), dropped.exp() / dropped.exp().sum()
    return (p * (p / q).log()).sum()


def naive_mse(full, dropped):
    return ((full - dropped) ** 2).sum() / len(full)


def naive_cosine(full, dropped):
    return 1 - (full @ dropped) / (full.norm() * dropped.norm())


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def assert_same_gradients(model, got, wanted):
    got, wanted = gradients(model, got), gradients(model, wanted)
    # float32 where the package sums losses in float32 whatever the model's type
    for name, gradient in got.items():
        if name == "word_embeddings.weight":  # [PAD]'s row: padding_idx keeps its input side fixed
            gradient, wanted[name] = gradient[1:], wanted[name][1:]
        assert torch.allclose(gradient, wanted[name], atol=2e-6, rtol=2e-4), name


@pytest.mark.parametrize("layers", [4, 6, 12])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_token_dropping_equals_the_naive_reference(layers, padded, attention):
    made, data = objective(layers, "drop", attention=attention), batch(padded)
    got = made(data, Totals(data.predictions, len(data)))
    wanted, _, _ = naive_losses(made, data, keep=6)
    assert torch.allclose(got.total.double(), wanted, atol=1e-6)
    assert_same_gradients(made.model, got.total, wanted)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_with_keep_ratio_1_dropping_equals_the_dense_model(padded):
    data = batch(padded)
    dropping, dense = objective(6, "drop", keep_ratio=1.0), objective(6, "dense")
    dense.model.load_state_dict(dropping.model.state_dict())
    totals = Totals(data.predictions, len(data))
    got, wanted = dropping(data, totals), dense(data, totals)
    assert torch.allclose(got.total, wanted.total, atol=1e-12)
    got_gradients, wanted_gradients = gradients(dropping.model, got.total), gradients(dense.model, wanted.total)
    for name, gradient in got_gradients.items():
        assert torch.allclose(gradient, wanted_gradients[name], atol=1e-12), name


VARIANTS = [
    ("paper", "kl", naive_kl, "both", "cls", "per_masked_token"),
    ("released-code", "kl", naive_kl, "both", "cls", "per_masked_token"),
    ("teacher", "kl", naive_kl, "both", "cls", "per_masked_token"),
    ("paper", "kl", naive_kl, "both", "cls", "per_sequence"),
    ("paper", "kl", naive_kl, "local", "cls", "per_masked_token"),
    ("paper", "kl", naive_kl, "global", "cls", "per_masked_token"),
    ("paper", "kl", naive_kl, "both", "mean", "per_masked_token"),
    ("paper", "mse", naive_mse, "both", "cls", "per_sequence"),
    ("teacher", "cosine", naive_cosine, "both", "mean", "per_sequence"),
]


@pytest.mark.parametrize(
    ("variant", "distance", "naive", "terms", "place", "reduction"),
    VARIANTS,
    ids=["-".join(part for part in case if isinstance(part, str)) for case in VARIANTS],
)
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_a_consistency_step_equals_the_naive_reference(variant, distance, naive, terms, place, reduction, padded):
    made = objective(6, variant=variant, distance=distance, terms=terms, place=place, reduction=reduction, weight=3.0)
    data = batch(padded)
    got = made(data, Totals(data.predictions, len(data)), kind="consistency")
    total, dropped, full = naive_losses(made, data, 6, variant, naive, terms, place, reduction)
    assert torch.allclose(got.total.double(), total, atol=1e-5)
    assert torch.allclose(got.loss.double(), dropped, atol=1e-5)
    assert torch.allclose(got.loss_full.double(), full, atol=1e-5)
    assert_same_gradients(made.model, got.total, total)


def test_sharing_the_prefix_changes_neither_loss_nor_gradient():
    data = batch(padded=True)
    results = []
    for share in (True, False):
        made = objective(6, share_prefix=share)
        losses = made(data, Totals(data.predictions, len(data)), kind="consistency")
        results.append((losses.total, gradients(made.model, losses.total)))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-10)
    for name, gradient in results[0][1].items():
        assert torch.allclose(gradient, results[1][1][name], atol=1e-10), name


def test_the_full_pass_has_no_gradient_of_its_own_loss_in_the_released_code():
    made, data = objective(4, variant="released-code", weight=0.0), batch(False)
    totals = Totals(data.predictions, len(data))
    consistent, plain = made(data, totals, kind="consistency"), made(data, totals)
    assert torch.allclose(consistent.total, plain.total)
    got, wanted = gradients(made.model, consistent.total), gradients(made.model, plain.total)
    assert all(torch.allclose(got[name], wanted[name], atol=1e-12) for name in got)


def test_micro_batches_add_up_to_the_whole_batch():
    made, data = objective(6), batch(padded=True)
    totals = Totals(data.predictions, len(data))
    whole = made(data, totals, kind="consistency")
    parts = [made(part, totals, kind="consistency") for part in data.split(2)]
    for name in ("total", "loss", "loss_full", "kl_local", "kl_global"):
        assert torch.allclose(sum(getattr(part, name) for part in parts), getattr(whole, name), atol=1e-6), name


def test_kl_is_logged_per_sequence_whatever_distance_is_minimised():
    data = batch(False)
    logged = []
    for distance in ("kl", "mse"):
        made = objective(6, distance=distance)
        logged.append(made(data, Totals(data.predictions, len(data)), kind="consistency").kl_global)
    assert torch.equal(*logged)


@pytest.mark.parametrize(
    ("ratio", "length", "keep"), [(0.5, 128, 64), (0.25, 10, 3), (0.01, 10, 1), (1.0, 7, 7), (0.5, 7, 4)]
)
def test_k_is_the_keep_ratio_times_the_length(ratio, length, keep):
    assert kept_count(ratio, length) == keep
