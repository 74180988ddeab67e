"""What a step holds in memory, counted on tensors without data, beside what a real step keeps."""

import gc

import pytest
import torch

import sctd.train.step_memory as step_memory
from sctd.method.objectives import Totals
from sctd.recipe import build_config

SHAPE = {"model.num_layers": 4, "model.hidden_size": 64, "model.num_heads": 4, "schedule.steps": 1000}
V, S = 500, 32


def config(**changes):
    return build_config(SHAPE | {key.replace("__", "."): value for key, value in changes.items()})


def counted(settings, kind):
    return step_memory.step_memory(settings, kind, V, S, "cpu", "fp32")


def test_bert_base_has_its_known_number_of_parameters_and_adamw_keeps_four_numbers_for_each():
    base = build_config({"model.preset": "base", "schedule.steps": 1})
    found = step_memory.step_memory(base, "dense", 30522, 512, "cuda", "bf16")
    encoder = 109_482_240 - 768 * 768 - 768  # Hugging Face's BertModel, without its pooler
    assert found.parameters == encoder + (768 * 768 + 768) + 2 * 768 + 30522
    assert found.states == pytest.approx(16 * found.parameters, rel=2e-4)  # float32: weight, gradient, two moments


@pytest.mark.parametrize("kind", ["dense", "drop", "consistency"])
def test_what_each_sequence_adds_is_what_autograd_saves_of_a_real_step(kind):
    settings = config()

    def saved(micro):
        objective = step_memory._objective(settings, kind, V, S, "cpu")
        own = {p.untyped_storage().data_ptr() for p in objective.model.parameters()}
        held = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = step_memory._batch(settings, micro, S)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = objective(batch, Totals(batch.predictions, micro), kind)
        total = sum(held.values())
        del losses
        gc.collect()
        return total

    by_autograd = (saved(16) - saved(8)) / 8
    # the peak comes when the backward pass has begun: less by what it let go, more by what it needs in passing
    assert 0.95 * by_autograd < counted(settings, kind).a_sequence < 1.25 * by_autograd


def test_the_peak_grows_by_the_same_for_each_sequence():
    found = counted(config(), "consistency")
    _, _, peak, _ = step_memory._run(config(), "consistency", V, S, "cpu", "fp32", 24)
    assert found.peak(24) == pytest.approx(peak, rel=0.03)
    assert found.largest_micro(found.peak(24) + 1) == 24
    assert found.largest_micro(found.states) == 0


def test_recomputing_layers_and_other_optimizers_are_in_the_count():
    plain = counted(config(), "dense")
    assert counted(config(model__gradient_checkpointing=True), "dense").a_sequence < plain.a_sequence
    assert counted(config(optimizer__name="muon"), "dense").states < plain.states  # one moment for a matrix


def test_the_count_leaves_no_tensor_behind_and_touches_no_generator():
    before = torch.random.get_rng_state()
    counted(config(), "drop")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_fits_is_said_in_settings():
    found = counted(config(), "consistency")
    asked = ("consistency", V, S, "cpu", "fp32")
    room = found.peak(5) / step_memory.USABLE
    assert step_memory.settings_that_fit(config(), *asked, room) == "batch.micro 5"
    less = found.peak(1) * 0.97 / step_memory.USABLE
    assert "gradient_checkpointing true and batch.micro" in step_memory.settings_that_fit(config(), *asked, less)
    assert "a smaller model" in step_memory.settings_that_fit(config(), *asked, found.states / 2)
