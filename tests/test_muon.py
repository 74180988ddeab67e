"""Muon, matrices of one shape together, beside one matrix after the other and beside torch's own."""

import pytest
import torch

import sctd.train.muon as muon
from sctd.train.muon import COEFFICIENTS, EPSILON, ITERATIONS, Muon, orthogonalise

SHAPES = [(8, 8), (8, 8), (24, 8), (8, 24), (8, 8), (24, 8)]


def matrices(seed=0):
    draws = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=draws)) for shape in SHAPES]


def naive(matrix):
    """One matrix, by the iteration as it is printed."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / max(float(x.norm()), EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("shape", [(6, 6), (12, 4), (4, 12)])
def test_a_stack_is_orthogonalised_as_each_matrix_alone(shape):
    stack = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalise(stack, torch.float32)
    for one, expected in zip(found, map(naive, stack), strict=True):
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-5)
        assert torch.linalg.svdvals(one).sub(1).abs().max() < 0.4


@pytest.mark.parametrize("at_once", [2**24, 64])
def test_twenty_steps_are_torchs(monkeypatch, at_once):
    monkeypatch.setattr(muon, "AT_ONCE", at_once)
    ours, theirs = matrices(), matrices()
    mine = Muon(ours, lr=0.01, weight_decay=0.1, dtype=torch.bfloat16)
    torchs = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    start = [each.detach().clone() for each in theirs]
    for step in range(20):
        for own, other, gradient in zip(ours, theirs, matrices(seed=step + 1), strict=True):
            own.grad, other.grad = gradient.detach().clone(), gradient.detach().clone()
        mine.step()
        torchs.step()
    for own, other, before in zip(ours, theirs, start, strict=True):
        assert (own - other).abs().max() < 0.005 * (other - before).abs().max()  # of bf16 products
        same = mine.state[own]["momentum_buffer"], torchs.state[other]["momentum_buffer"]
        torch.testing.assert_close(*same, atol=1e-6, rtol=1e-6)


def test_in_float32_no_product_is_in_another_type():
    found = []

    class Types(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            found.extend(a.dtype for a in args if isinstance(a, torch.Tensor))
            return function(*args, **(kwargs or {}))

    given = matrices()
    optimizer = Muon(given, lr=0.01, weight_decay=0.1, dtype=torch.float32)
    for each in given:
        each.grad = torch.ones_like(each)
    with Types():
        optimizer.step()
    assert set(found) == {torch.float32}


def test_a_step_that_found_a_number_that_is_none_changes_nothing_and_the_next_one_does():
    given = matrices()
    optimizer = Muon(given, lr=0.01, weight_decay=0.1, dtype=torch.float32)
    for bad in (0.0, 1.0, 0.0):
        before = [each.detach().clone() for each in given]
        state = [optimizer.state[each].get("momentum_buffer", torch.zeros_like(each)).clone() for each in given]
        for each in given:
            each.grad = torch.full_like(each, torch.nan) if bad else torch.randn_like(each)
        optimizer.found_inf = torch.tensor(bad)
        optimizer.step()
        for each, was, held in zip(given, before, state, strict=True):
            assert torch.equal(each, was) == bool(bad)
            assert torch.equal(optimizer.state[each]["momentum_buffer"], held) == bool(bad)


def test_a_matrix_without_a_gradient_is_left_as_it_is():
    given = matrices()
    optimizer = Muon(given, lr=0.01, weight_decay=0.1, dtype=torch.float32)
    before = given[1].detach().clone()
    given[0].grad = torch.ones_like(given[0])
    optimizer.step()
    assert torch.equal(given[1], before)
