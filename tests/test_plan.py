"""What a run would need on other devices: the count of its memory beside the real step's, the rest by hand."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sctd.train.step_memory as step_memory
from helpers import make_prepared
from sctd.cli import main
from sctd.method.objectives import Totals
from sctd.plan.communication import Sizes, rate, traffic
from sctd.plan.devices import DEVICES, parse_gpus
from sctd.plan.plan import plan
from sctd.recipe import build_config
from sctd.tokens.manifest import read_manifest

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


def test_traffic_by_hand():
    sizes = Sizes(parameters=1_000_000, layer=200_000, layers=4, runs=4, vocab_size=0)
    assert traffic(sizes, 1).ddp == traffic(sizes, 1).fsdp == 0
    assert traffic(sizes, 4).ddp == 2 * 3 / 4 * 4e6  # all-reduce of float32 gradients
    # layers gathered for forward and backward, the rest once, all gradients scattered
    assert traffic(sizes, 4).fsdp == 3 / 4 * (2 * 3.2e6 + 0.8e6 + 4e6)
    assert traffic(sizes, 4, micro_batches=5).fsdp == 3 / 4 * (5 * (2 * 3.2e6 + 0.8e6) + 4e6)
    importance = replace(sizes, vocab_size=1000)
    assert traffic(importance, 2).ddp - traffic(sizes, 2).ddp == 2 * 1 / 2 * 2 * 4 * 1000  # sums and counts
    assert rate(8, 450e9, 50e9) == 450e9
    assert rate(16, 450e9, 50e9) == 50e9


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("kind", ["dense", "drop", "consistency"])
def test_two_processes_send_what_is_counted(tmp_path, parallel, kind):
    method = "dense" if kind == "dense" else "sctd"
    interval = 1 if kind == "consistency" else None  # so that the mean over a run's steps is this kind's
    settings = SHAPE | {"method": method, "parallel": parallel, "batch.size": 8, "batch.micro": 2, "precision": "fp32"}
    settings |= {"consistency.interval": interval}
    data = make_prepared(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    job = json.dumps({"data": str(data), "settings": settings, "kind": kind})
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("exchanges.py")), job],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout.strip().splitlines()[-1])
    vocab_size = read_manifest(data).vocab_size
    found = step_memory.step_memory(build_config(settings), kind, vocab_size, S, "cpu", "fp32")
    sizes = Sizes.of(build_config(settings), found.parameters, vocab_size)
    if parallel == "ddp":  # a ring of two sends each number once
        assert 0 <= sent["reduced"] - traffic(sizes, 2).ddp / 4 < 50  # beside them a step's counts and losses
    else:
        importance = 2 * sizes.vocab_size
        assert (sent["gathered"] + sent["scattered"]) / 2 == traffic(sizes, 2, micro_batches=2).fsdp / 4 - importance


def test_time_is_operations_over_the_rate_and_dropping_is_as_much_faster_as_the_count_says(capsys):
    found = plan(config(batch__size=64), "4xA100", vocab_size=V, seq_len=S, utilization=0.5)
    dense, drop = found["methods"]["dense"], found["methods"]["drop"]
    operations = dense["operations_a_token"] * 64 * S
    assert dense["seconds_a_step"] == pytest.approx(operations / (0.5 * 312e12 * 4))
    assert dense["seconds"] == pytest.approx(1000 * dense["seconds_a_step"])
    ratio = drop["operations_a_token"] / dense["operations_a_token"]
    assert drop["seconds_a_step"] / dense["seconds_a_step"] == pytest.approx(ratio)
    assert [line["gpus"] for line in found["scaling"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert found["scaling"][7]["sequences"] is None  # 128 devices and 64 sequences
    assert "too few" in capsys.readouterr().out


def test_with_fsdp_every_device_holds_its_part_of_the_states():
    whole = plan(config(), "8xH100", vocab_size=V, seq_len=S)
    parts = plan(config(parallel="fsdp"), "8xH100", vocab_size=V, seq_len=S)
    assert parts["methods"]["sctd"]["states"] == whole["methods"]["sctd"]["states"] / 8
    assert parts["scaling"] == whole["scaling"]  # which has both ways in any case


def test_a_model_that_cannot_drop_is_planned_dense_alone(capfd):
    found = plan(config(method="dense", model__num_layers=3), "T4", vocab_size=V, seq_len=S)
    assert list(found["methods"]) == ["dense"]
    assert found["about"]["precision"] == "fp16"
    assert "drop is left out" in capfd.readouterr().err


def test_a_model_that_does_not_fit_says_so(capsys):
    settings = build_config(
        {"model.preset": "large", "model.num_layers": 4, "model.hidden_size": 8192, "schedule.steps": 1}
    )
    found = plan(replace(settings, method="dense"), "T4", vocab_size=30522, seq_len=512)
    assert found["methods"]["dense"]["peak"] is None
    assert "does not fit" in capsys.readouterr().out


def test_devices_are_named_whatever_their_case():
    assert parse_gpus("8xh100") == (8, "H100", DEVICES["H100"])
    assert parse_gpus("A100-40gb")[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "8xH999"], 'there is no device "H999"'),
        (["--gpus", "0xH100"], "0 devices; give 1 or more"),
        (["--gpus", ""], "there is no device"),
        (["--gpus", "3xH100"], "not a multiple of the number of devices, 3"),
        (["--utilization", "2"], "must be above 0, at most 1"),
        (["--network", "0"], "must be above 0"),
        (["--vocab-size", "1"], "out of range"),
        (["--data", "nowhere"], "prepare the data first"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_sentence(capsys, words, said):
    assert main(["plan", "--config", "mini", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_everything_is_written_for_a_program_to_read(tmp_path):
    assert main(["plan", "--config", "mini", "--gpus", "2xL4", "--json", str(tmp_path / "plan.json")]) == 0
    assert json.loads((tmp_path / "plan.json").read_text())["about"]["device"] == "L4"
