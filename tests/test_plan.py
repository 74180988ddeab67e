"""What `sctd plan` counts: by hand, and against what torch really holds, saves and sends."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import make_prepared
from sctd.batches.loader import TrainingBatches
from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.method.cost import Shape
from sctd.method.objectives import Totals
from sctd.method.step_plan import StepPlan
from sctd.plan.communication import ddp_bytes, fsdp_bytes, link_speed
from sctd.plan.devices import CPU, DEVICES, GB, MEASURED_TOKENS, ON_GPU, parse_gpus
from sctd.plan.forecast import OPTIMIZER_TRAFFIC, Place, forecast
from sctd.plan.memory import Parameters, Setting, largest_micro, run_memory, settings_that_fit, step_memory
from sctd.plan.plan import plan
from sctd.recipe import build_config, load_recipe
from sctd.tokens.prepared import load_prepared
from sctd.train.device import autocast
from sctd.train.setup import build_objective, read_vocabulary

MIB = 2**20
SMALL = {"model.num_layers": 6, "model.hidden_size": 96, "model.num_heads": 3, "batch.size": 8}
VOCABULARY, LENGTH = 500, 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    return load_prepared(make_prepared(place, vocab_size=VOCABULARY, seq_len=LENGTH))


def base(**settings):
    return build_config(load_recipe("base") | settings)


def h200(config, length=512):
    return Place(DEVICES["H200"], "cuda", "bf16", ON_GPU, 30522, length)


@pytest.mark.parametrize(
    "settings",
    [
        {"model.preset": "tiny"},
        {"model.preset": "mini", "model.max_position_embeddings": 200},
        {"model.num_layers": 5, "model.hidden_size": 48, "model.num_heads": 4, "model.intermediate_size": 100},
    ],
)
def test_parameters_are_as_many_as_the_models(data, settings):
    config = build_config({"method": "dense", **settings})
    objective = build_objective(config, data, read_vocabulary(data), torch.device("cpu"))
    assert Parameters.of(config, VOCABULARY, LENGTH).total == sum(p.numel() for p in objective.parameters())
    matrices = [p for p in objective.model.layers[0].parameters() if p.ndim == 2]
    assert Parameters.of(config, VOCABULARY, LENGTH).layer_matrix == sum(p.numel() for p in matrices)


def test_bert_base_has_its_published_number_of_parameters():
    count = Parameters.of(base(), 30522, 512)
    pooler = 768 * 768 + 768
    assert count.embeddings + 12 * count.layer + pooler == 109_482_240  # BertModel's, "110M"
    assert count.total == 109_514_298  # BertForMaskedLM's


def test_adamw_holds_two_numbers_a_parameter_and_muon_one_of_a_matrix():
    count = Parameters.of(base(), 30522, 512)
    assert 4 * count.optimizer_numbers("adamw") == 8 * 109_514_298
    matrices = 12 * 12 * 768**2 + 768**2
    assert count.optimizer_numbers("muon") == 2 * 109_514_298 - matrices


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("method", "kind", "settings"),
    [
        ("dense", "dense", {}),
        ("dense", "dense", {"model.attention": "sdpa"}),
        ("dense", "dense", {"model.dropout": 0.1, "model.attention_dropout": 0.1}),
        ("drop", "drop", {}),
        ("drop", "drop", {"dropping.route": "skip", "dropping.keep_ratio": 0.25}),
        ("sctd", "consistency", {}),
        ("sctd", "consistency", {"consistency.share_prefix": False, "consistency.place": "mean"}),
    ],
)
def test_activations_are_what_autograd_saves_within_three_percent(data, precision, method, kind, settings):
    config = build_config({"method": method, **SMALL, **settings})
    vocabulary = read_vocabulary(data)
    objective = build_objective(config, data, vocabulary, torch.device("cpu")).train()
    batch = TrainingBatches(data.train, vocabulary, config.masking, config.batch.size, 1).at(1)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*objective.parameters(), *objective.buffers()]}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with autocast(precision, torch.device("cpu")):
            losses = objective(batch, Totals(batch.predictions, len(batch)), kind)
        assert losses.total.requires_grad  # and nothing that was saved is gone
    shape = Shape.of(config, VOCABULARY, LENGTH)
    memory = step_memory(config, shape, kind, 8, False, Setting(VOCABULARY, LENGTH, precision, "cpu"))
    at_backward = 8 * 4 * VOCABULARY * 2 * shape.predictions  # gradients of the logits, which are not saved
    planned = memory.copies + memory.activations + memory.loss - at_backward
    assert planned == pytest.approx(sum(saved.values()), rel=0.03)


@pytest.mark.parametrize(("method", "mib"), [("dense", 6673), ("drop", 5432), ("sctd", 8463)])
def test_memory_on_the_h200_is_as_measured_within_two_percent(method, mib):
    # docs/bench/gpu-base-512.md: 32 x 512 tokens, compiled, AdamW
    config = base(**{"method": method, "batch.size": 32, "compile": True})
    assert run_memory(config, 32, 32, Setting(30522, 512)).peak == pytest.approx(mib * MIB, rel=0.02)


@pytest.mark.parametrize(("method", "speed"), [("dense", 612_121), ("drop", 726_100), ("sctd", 676_416)])
def test_the_shares_of_a_gpus_peak_are_those_of_the_measured_run(method, speed):
    config = base(**{"method": method, "batch.size": 32})
    operations = MEASURED_TOKENS / 512 * Shape.of(config, 30522, 512).mean_training(StepPlan.of(config))
    optimizer = OPTIMIZER_TRAFFIC * 109_514_298 / 4.8e12
    reached = 2 * operations / (MEASURED_TOKENS / speed - optimizer) / 989.4e12
    assert ON_GPU[method] == pytest.approx(reached, abs=0.0005)
    assert forecast(config, h200(config), 1)["tokens_per_second"] == pytest.approx(speed, rel=0.005)


def test_a_gpus_step_is_not_shorter_than_its_processor_starts_it():
    config = build_config(load_recipe("small") | {"batch.size": 256})
    found = forecast(config, h200(config, 128), 1)
    assert found["waits_for_processor"]
    # docs/bench/gpu-small-128.md
    assert found["tokens_per_second"] == pytest.approx(2_177_158, rel=0.1)


def test_gradient_checkpointing_keeps_a_layers_input_and_one_layers_activations():
    config = base(**{"method": "dense", "batch.size": 4})
    checkpointed = replace(config, model=replace(config.model, gradient_checkpointing=True))
    setting = Setting(30522, 512)
    plain, less = (run_memory(each, 4, 4, setting).activations for each in (config, checkpointed))
    assert 12 * 4 * 512 * 768 * 4 < less < 0.3 * plain
    times = [forecast(each, h200(each), 1)["compute_seconds"] for each in (config, checkpointed)]
    assert times[1] == pytest.approx(4 / 3 * times[0])


def test_fsdp_shards_weights_gradients_and_optimizer_but_not_what_is_computed():
    config = base(**{"method": "dense", "batch.size": 64, "parallel": "fsdp"})
    alone, spread = (run_memory(config, 8, 8, Setting(30522, 512, processes=n)) for n in (1, 8))
    count = Parameters.of(config, 30522, 512)
    assert spread.optimizer == alone.optimizer / 8
    assert spread.parameters == pytest.approx(alone.parameters / 8 + 4 * (count.outside + 2 * count.layer), abs=1)
    assert (spread.activations, spread.copies, spread.buckets) == (alone.activations, alone.copies, 0)
    assert (
        run_memory(replace(config, parallel="ddp"), 8, 8, Setting(30522, 512, processes=8)).buckets == 4 * count.total
    )


def test_rings_send_what_a_hand_computes():
    count = Parameters(embeddings=100, layer=10, layer_matrix=8, head=20, head_matrix=9, num_layers=4)
    assert ddp_bytes(count, 4) == 2 * 3 / 4 * 4 * 160
    assert ddp_bytes(count, 1) == fsdp_bytes(count, 1, runs=4, micros=1) == 0
    # the layers gathered twice and all scattered once: three times (n - 1) / n, but for what stays gathered
    assert fsdp_bytes(count, 4, runs=4, micros=1) == 3 / 4 * 4 * (3 * 40 + 2 * 120)
    assert fsdp_bytes(count, 4, runs=4, micros=3) == 3 / 4 * 4 * (3 * (120 + 2 * 40) + 160)


def test_a_ring_over_machines_is_as_fast_as_its_slowest_part():
    assert [link_speed(DEVICES["H100"], n) / GB for n in (2, 8, 16)] == [450, 450, 400]
    assert [link_speed(DEVICES["L4"], n) / GB for n in (8, 16)] == [32, 12.5]


@pytest.mark.slow  # two processes, five times
@pytest.mark.parametrize(
    ("parallel", "method", "kind", "micros"),
    [
        ("ddp", "drop", "drop", 2),
        ("fsdp", "dense", "dense", 1),
        ("fsdp", "dense", "dense", 2),
        ("fsdp", "sctd", "consistency", 1),
        ("fsdp", "sctd", "consistency", 2),
    ],
)
def test_what_is_sent_is_what_torch_sends(data, parallel, method, kind, micros):
    settings = {**SMALL, "batch.micro": 4 // micros, "parallel": parallel, "method": method}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    job = json.dumps({"data": str(data.path), "settings": settings, "kind": kind})
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("exchanges.py")), job],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout.strip().splitlines()[-1])
    config = build_config(settings)
    count = Parameters.of(config, VOCABULARY, LENGTH)
    if parallel == "ddp":
        assert 0 <= sent["reduced"] - count.total - 2 * VOCABULARY < 50  # beside them a step's counts and losses
    else:
        runs = len(Shape.of(config, VOCABULARY, LENGTH).runs(kind))
        assert fsdp_bytes(count, 2, runs, micros) == 4 / 2 * (sent["gathered"] + sent["scattered"])


def test_the_largest_micro_batch_fits_and_one_more_does_not():
    config, setting = base(**{"batch.size": 4096}), Setting(30522, 512)
    most = largest_micro(config, 4096, 40e9, setting)
    assert run_memory(config, most, 4096, setting).peak <= 40e9 < run_memory(config, most + 1, 4096, setting).peak


@pytest.mark.parametrize(
    ("settings", "room", "more", "told"),
    [
        ({}, 12e9, {}, "batch.micro 32 or model.gradient_checkpointing true with batch.micro 64"),
        ({}, 12e9, {"failed": 32}, "batch.micro 16 or model.gradient_checkpointing true with batch.micro 64"),
        ({"batch.micro": 1}, 2.4e9, {"failed": 1}, "model.gradient_checkpointing true"),
        ({}, 1.9e9, {"processes": 8}, "parallel fsdp with batch.micro 2"),
        ({"model.gradient_checkpointing": True}, 2.1e9, {}, "data prepared with --seq-len 256 and batch.micro 1"),
        ({}, 1e9, {}, "a smaller model"),
    ],
)
def test_settings_that_fit_are_named(settings, room, more, told):
    assert settings_that_fit(base(**settings), 30522, 512, room, **more) == told


def test_the_count_of_memory_is_imported_without_torch():
    code = "import sys, sctd.plan.memory, sctd.plan.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "meant"),
    [("8xH100", (8, "H100")), ("l4", (1, "L4")), ("16 x a100-80gb", (16, "A100-80GB")), ("CPU", (1, CPU))],
)
def test_gpus_are_read_as_people_write_them(text, meant):
    assert parse_gpus(text) == meant


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"gpus": "8xH10"}, 'did you mean "8xH100"'),
        ({"gpus": "8xH999"}, 'did you mean "8xH'),
        ({"gpus": "many H100"}, "such as 8xH100"),
        ({"gpus": "0xH100"}, "1 to 1,024"),
        ({"gpus": "2xcpu"}, "leave the number out"),
        ({"gpus": "7xH100"}, "not a multiple of the number of GPUs, 7"),
        ({"gpus": "H100", "utilization": 1.5}, "(0, 1]"),
        ({"gpus": "H100", "network": 0}, "above 0"),
        ({"gpus": "H100", "vocab_size": 3}, "100 or more"),
        ({"gpus": "H100", "json": "nowhere/plan.json"}, "not a folder"),
        ({"gpus": "T4", "config": PretrainConfig(precision="bf16")}, "T4 does not multiply bf16"),
        ({"gpus": "H100", "config": PretrainConfig(init_from="x")}, "leave it out"),
        ({"gpus": "H100", "config": PretrainConfig(optimizer=replace(PretrainConfig().optimizer, name="sgd"))}, "sgd"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_sentence(given, told):
    with pytest.raises(UserError) as error:
        plan(**given)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_holds_the_methods_side_by_side_and_all_numbers_of_gpus(tmp_path, capsys):
    results = plan(base(), "8xH100", json=str(tmp_path / "plan.json"))
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8")) == results
    assert [*results["methods"]] == ["dense", "drop", "sctd"]
    sctd = results["methods"]["sctd"]
    assert sctd["days"] == pytest.approx(200_000 * sctd["seconds"] / 86_400)
    assert [row["gpus"] for row in results["scaling"]] == [2**power for power in range(11)]
    assert results["scaling"][0]["ddp"]["sent"] == 0
    assert results["scaling"][-1]["ddp"]["tokens_per_second"] is None  # 256 sequences for 1,024 GPUs
    shown = capsys.readouterr()
    assert "hours for 200,000 steps" in shown.out
    assert "Nobody measured H100" in " ".join(shown.err.split())


def test_without_a_number_of_steps_there_are_no_days(capsys):
    config = replace(base(), schedule=PretrainConfig().schedule)
    assert plan(config, "H100")["methods"]["dense"]["days"] is None
    assert "no schedule.steps" in capsys.readouterr().err


def test_a_model_that_cannot_drop_is_planned_dense_alone():
    assert [*plan(PretrainConfig(method="dense", model=replace(base().model, preset="tiny")), "L4")["methods"]] == [
        "dense"
    ]


def test_what_does_not_fit_is_said_with_what_would(capsys):
    found = plan(base(**{"model.preset": "large", "batch.micro": 64}), "T4")["methods"]["sctd"]
    assert not found["fits"]
    assert found["advice"].startswith("batch.micro 8 or model.gradient_checkpointing true")
    assert "sctd does not fit" in capsys.readouterr().err


def test_vocabulary_and_length_come_from_the_data(data):
    about = plan(base(), "H100", data=str(data.path))["about"]
    assert (about["vocab_size"], about["seq_len"]) == (VOCABULARY, LENGTH)


def test_this_processor_is_measured(data):
    results = plan(build_config({**SMALL, "precision": "fp32"}), data=str(data.path))
    assert results["about"]["peak_tflops"] > 0
    assert results["methods"]["drop"]["operations_a_token"] < results["methods"]["dense"]["operations_a_token"]
    assert results["scaling"] == []
