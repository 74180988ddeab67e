"""Distances and the interval, by hand."""

import math

import pytest
import torch

from sctd.method.consistency import DISTANCES, kl, summarise
from sctd.method.step_plan import StepPlan


def test_kl_is_the_full_pass_against_the_dropped_one_summed_over_hidden_units():
    full = torch.tensor([[math.log(3.0), 0.0]])  # softmax 3/4, 1/4
    dropped = torch.tensor([[0.0, 0.0]])  # 1/2, 1/2
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl(full, dropped).tolist() == pytest.approx([wanted])
    assert kl(dropped, full).tolist() != pytest.approx([wanted])


def test_mse_is_averaged_over_hidden_units():
    assert DISTANCES["mse"](torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).tolist() == [2.5]


def test_cosine_is_zero_for_the_same_direction_and_one_for_a_right_angle():
    full = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    dropped = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    assert DISTANCES["cosine"](full, dropped).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_of_a_thing_to_itself_is_zero(name):
    x = torch.randn(3, 8)
    assert torch.allclose(DISTANCES[name](x, x), torch.zeros(3), atol=1e-6)


def test_the_mean_over_rows_leaves_out_padding():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert summarise(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[2.0]]
    assert summarise(hidden[:, :1]).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("interval", "wanted"),
    [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6]), (10, []), (None, [])],
    ids=["every step", "every third", "larger than the run", "never"],
)
def test_steps_that_are_multiples_of_fi_make_the_passes_agree(interval, wanted):
    assert [step for step in range(1, 8) if StepPlan("sctd", interval).kind(step, 7) == "consistency"] == wanted
