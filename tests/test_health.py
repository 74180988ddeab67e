"""What a run notices of itself and names."""

import math

import numpy as np
import pytest

from helpers import make_prepared
from sctd.pretrain import pretrain
from sctd.train.health import SPIKE_STAYS, Health
from sctd.train.metrics import read_metrics
from small_runs import config


def spikes(losses):
    health = Health(steps=1000, warmup=10, unigram=6.0)
    return [step for step, loss in enumerate(losses) if health.spike(step, loss, 1e-3)]


def test_a_loss_that_jumps_is_named_once():
    falling = [8 - 0.1 * step for step in range(20)]
    assert spikes([*falling, 9.0, 9.1, 6.0, 5.9]) == [20]


def test_a_loss_that_falls_or_scatters_as_it_did_before_is_not():
    assert spikes([8 - 0.1 * step for step in range(50)]) == []
    assert spikes([4 + math.sin(step) for step in range(50)]) == []
    assert spikes([6.0, 9.0]) == []  # too few lines to know a course


def test_a_loss_that_stays_up_is_the_new_course_and_the_next_jump_is_named_again():
    steady = [3.0] * 12
    up = [5.0] * (SPIKE_STAYS + 10)
    assert spikes([*steady, *up, 8.0]) == [len(steady), len(steady) + len(up)]


def test_a_mean_that_is_no_number_is_left_to_the_steps_that_were_skipped():
    assert spikes([3.0] * 12 + [math.nan, 3.0]) == []


def test_a_scatter_that_ten_lines_hardly_show_is_no_jump():
    noise = np.random.default_rng(1).normal(5.7, 0.19, 3000)
    assert len(spikes(list(noise))) == 0


def test_a_held_out_loss_that_no_model_begins_at_is_named_once_and_is_no_plateau():
    health = Health(steps=60, warmup=1, unigram=6.0)
    assert health.plateau(20, 9.5) is None
    assert "left its course" in health.plateau(40, 1947.6)
    assert health.plateau(60, 1950.0) is None
    assert Health(steps=1000, warmup=1, unigram=6.0).plateau(600, 6.9).count("no better than word frequencies") == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


def test_a_run_whose_kept_tokens_have_no_room_for_all_masks_is_named(tmp_path, data, capfd):
    changes = {"method": "drop", "schedule__steps": 4, "eval__every": 2}
    pretrain(str(data), str(tmp_path / "few"), config(**changes, dropping__keep_ratio=0.1))
    assert capfd.readouterr().err.count("of the [MASK] inputs are dropped") == 1
    assert "keep_ratio 0.1 has no room" in read_metrics(tmp_path / "few")[1]["warning"]
    pretrain(str(data), str(tmp_path / "half"), config(**changes))
    assert "[MASK] inputs are dropped" not in capfd.readouterr().err
