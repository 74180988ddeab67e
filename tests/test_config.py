"""Settings that cannot work end in a sentence that names the setting and the way out, before anything is made."""

import pytest

from sctd.check import check
from sctd.config import PRESETS, ModelConfig, resolve_shape
from sctd.errors import UserError
from sctd.recipe import build_config

BAD = [
    ({"dropping.keep_ratio": 0.0}, r"dropping\.keep_ratio is 0\.0; it must be in \(0, 1\]"),
    ({"dropping.keep_ratio": 1.5}, r"dropping\.keep_ratio is 1\.5; it must be in \(0, 1\]"),
    ({"model.num_layers": 5}, r"needs an even number of layers, 4 at least, and the model has 5.*--method dense"),
    ({"model.num_layers": 2, "method": "drop"}, r"needs an even number of layers, 4 at least, and the model has 2"),
    ({"model.preset": "huge"}, r"model\.preset: there is no 'huge'; choose one of tiny"),
    ({"model.num_heads": 7}, r"model\.hidden_size 256 is not a multiple of model\.num_heads 7"),
    ({"model.hidden_size": 0}, r"model\.hidden_size is 0; it must be 1 or more"),
    ({"masking.mlm_probability": 0.0}, r"masking\.mlm_probability is 0\.0"),
    ({"masking.mask_share": 0.95, "masking.random_share": 0.1}, r"masking\.random_share is 0\.1"),
    ({"consistency.interval": 0}, r"consistency\.interval is 0; it must be 1 or more"),
    ({"consistency.weight": -1.0}, r"consistency\.weight is -1\.0; it must be 0 or more"),
    ({"optimizer.lr": 0.0}, r"optimizer\.lr is 0\.0; it must be above 0"),
    ({"optimizer.betas": [0.9, 1.0]}, r"optimizer\.betas\[1\] is 1\.0"),
    ({"batch.size": 0}, r"batch\.size is 0; it must be 1 or more"),
    ({"schedule.steps": None}, r"no length: set schedule\.steps or schedule\.minutes"),
    ({"schedule.steps": 0}, r"schedule\.steps is 0; it must be 1 or more"),
    ({"schedule.minutes": -1.0}, r"schedule\.minutes is -1\.0; it must be above 0"),
    ({"model.dropout": 1.0}, r"model\.dropout is 1\.0"),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD, ids=[" ".join(map(str, case[0].items())) for case in BAD])
def test_a_setting_that_cannot_work_is_named(changes, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        check(build_config({"schedule.steps": 10, **changes}))
    assert "\n" not in str(error.value)


def test_an_odd_number_of_layers_is_fine_without_dropping():
    check(build_config({"schedule.steps": 1, "method": "dense", "model.num_layers": 3}))


def test_steps_and_minutes_may_both_be_given():
    check(build_config({"schedule.steps": 10, "schedule.minutes": 1.0}))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_published_shapes(preset):
    layers, hidden, heads, intermediate = resolve_shape(ModelConfig(preset=preset))
    assert hidden // heads == 64
    assert intermediate == 4 * hidden
    assert layers == {"tiny": 2, "mini": 4, "small": 4, "medium": 8, "base": 12, "large": 24}[preset]


def test_any_other_shape_can_be_had():
    assert resolve_shape(ModelConfig(preset="mini", num_layers=6, intermediate_size=300)) == (6, 256, 4, 300)
