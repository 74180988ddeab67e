"""Several processes train as one does: the same losses, the same importance, any number of them after a stop."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.train.checkpoint import load_tensors, newest_checkpoint
from sctd.train.metrics import read_metrics
from sctd.train.processes import Processes
from small_runs import SMALL, config, weights

STEPS = {"schedule__steps": 50, "log__every": 1, "eval__every": 25, "checkpoint__every": 25, "checkpoint__keep": 3}
SHAPE = {"batch__micro": 2, "consistency__interval": 5}  # with gradients added up over micro-batches
CASES = {
    "dense": {"method": "dense"},
    "drop": {"method": "drop"},
    "sctd": {"method": "sctd"},
    "dense fsdp": {"method": "dense", "parallel": "fsdp"},
    "sctd fsdp": {"method": "sctd", "parallel": "fsdp"},
}
TOLERANCE = 5e-6  # nats; float32, sums in another order over 50 steps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), sequences=200)


def start(processes, jobs):
    """Run the jobs in so many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("in_processes.py")), json.dumps(jobs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def job(data, out, **changes):
    return {"data": str(data), "out": str(out), "changes": {**STEPS, **SHAPE, **changes}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("alone")
    for name, changes in CASES.items():
        if "parallel" not in changes:
            pretrain(str(data), str(place / name), config(**STEPS, **SHAPE, **changes))
    return place


@pytest.fixture(scope="module")
def two(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("two")
    start(2, [job(data, place / name, **changes) for name, changes in CASES.items()])
    return place


def curve(run):
    return [line["loss_total"] for line in read_metrics(run) if "loss_total" in line]


def largest_difference(run, other):
    mine, theirs = curve(run), curve(other)
    assert len(mine) == len(theirs) == 50
    return max(abs(a - b) for a, b in zip(mine, theirs, strict=True))


def importance(run):
    return load_tensors(newest_checkpoint(run)[0], "method.safetensors").get("importance.values", torch.zeros(1))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_and_the_importance_of_one(alone, two, name):
    one = alone / name.removesuffix(" fsdp")
    difference = largest_difference(one, two / name)
    print(f"{name}: the largest difference over 50 steps is {difference:.1e} nats")
    assert difference < TOLERANCE
    assert torch.allclose(importance(one), importance(two / name), atol=TOLERANCE)
    last = [[line["eval_loss"] for line in read_metrics(run) if "eval_loss" in line][-1] for run in (one, two / name)]
    assert abs(last[0] - last[1]) < TOLERANCE
    assert (two / name / "model" / "config.json").exists()


@pytest.mark.slow
def test_muon_whose_update_needs_whole_matrices_does_too(tmp_path, data):
    ways = {"ddp": {}, "fsdp": {"parallel": "fsdp"}}
    muon = {"method": "drop", "optimizer__name": "muon"}
    pretrain(str(data), str(tmp_path / "one"), config(**STEPS, **SHAPE, **muon))
    start(2, [job(data, tmp_path / name, **muon, **changes) for name, changes in ways.items()])
    for name in ways:
        difference = largest_difference(tmp_path / "one", tmp_path / name)
        print(f"{name}: {difference:.1e}")
        assert difference < TOLERANCE


@pytest.mark.slow
def test_four_processes_do_too(tmp_path, data, alone):
    start(4, [job(data, tmp_path / name, **changes) for name, changes in CASES.items()])
    for name in CASES:
        one = alone / name.removesuffix(" fsdp")
        difference = largest_difference(one, tmp_path / name)
        print(f"{name}: {difference:.1e}")
        assert difference < TOLERANCE
        assert torch.allclose(importance(one), importance(tmp_path / name), atol=TOLERANCE)


def half_of(run, place):
    """A copy of a run that was stopped at step 25."""
    shutil.copytree(run, place)
    shutil.rmtree(place / "checkpoints/step-50")
    shutil.rmtree(place / "model")
    return place


def test_a_run_goes_on_in_another_number_of_processes(tmp_path, data, alone, two):
    half_of(two / "sctd", tmp_path / "two to one")
    pretrain(str(data), str(tmp_path / "two to one"), resume="auto")
    half_of(alone / "sctd", tmp_path / "one to two")
    half_of(two / "sctd fsdp", tmp_path / "fsdp to one")
    pretrain(str(data), str(tmp_path / "fsdp to one"), resume="auto")
    half_of(two / "sctd", tmp_path / "two to two")
    start(
        2, [{"data": str(data), "out": str(tmp_path / name), "resume": "auto"} for name in ("one to two", "two to two")]
    )
    for name in ("two to one", "one to two", "fsdp to one"):
        assert largest_difference(alone / "sctd", tmp_path / name) < TOLERANCE, name
    assert weights(tmp_path / "two to two") == weights(two / "sctd")  # the same bytes, resumed as it was begun


def test_a_run_goes_on_spread_in_another_way(tmp_path, data, alone):
    half_of(alone / "sctd", tmp_path / "to fsdp")
    state = json.loads((tmp_path / "to fsdp/checkpoints/step-25/state.json").read_text())
    assert state["config"]["parallel"] == "ddp"
    again = {"data": str(data), "out": str(tmp_path / "to fsdp"), "resume": "auto"}
    start(2, [again | {"changes": {**STEPS, **SHAPE, "method": "sctd", "parallel": "fsdp"}}])
    assert largest_difference(alone / "sctd", tmp_path / "to fsdp") < TOLERANCE


def command(data, out, *more, **changes):
    words = [sys.executable, "-m", "sctd", "pretrain", "--data", str(data), "--out", str(out), *more]
    for key, value in {**SMALL, **changes}.items():
        words += [f"--{key}", str(value).lower()]
    return words


def test_sigterm_to_one_command_saves_all_and_resume_ends_with_the_same_bytes(tmp_path, data):
    settings = {"schedule.steps": 400, "log.every": 1, "eval.every": 400, "checkpoint.every": 400}
    whole = command(data, tmp_path / "whole", "--nproc", "2", **settings)
    subprocess.run(whole, check=True, capture_output=True)
    process = subprocess.Popen(
        command(data, tmp_path / "stopped", "--nproc", "2", **settings), stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while len(read_metrics(tmp_path / "stopped")) < 5 and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume --nproc 2" in said
    assert 0 < newest_checkpoint(tmp_path / "stopped")[1].global_step < 400
    subprocess.run(
        command(data, tmp_path / "stopped", "--nproc", "2", "--resume", **settings), check=True, capture_output=True
    )
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_what_no_process_can_do_is_said_once_with_exit_code_2(tmp_path, data):
    done = subprocess.run(
        command(data, tmp_path / "run", "--nproc", "2", **{"batch.size": 7}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("batch.size 7 is not a multiple of the number of processes, 2") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_importance_that_differs_between_processes_is_not_saved(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda ends, op=None: ends.add_(1))
    with pytest.raises(RuntimeError, match="The importance table differs from process to process; nothing was saved"):
        Processes(0, 2, 0).check_same("The importance table", [torch.ones(3)])


def test_torchruns_variables_must_be_numbers(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "two", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="WORLD_SIZE=two"):
        Processes.from_environment()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "MASTER_ADDR is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "here"}, "counts from 0"),
    ],
)
def test_torchruns_variables_must_be_all_there_and_fit(monkeypatch, variables, said):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        Processes.from_environment()


def test_a_process_that_loses_another_says_so_in_a_sentence(tmp_path):
    from sctd.pretrain import _others_gone

    with pytest.raises(UserError, match="Process 0 lost another process of the run"), _others_gone(Processes(0, 2, 0)):
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer [::1]:2")
    with pytest.raises(RuntimeError, match="shapes"), _others_gone(Processes(0, 2, 0)):
        raise RuntimeError("shapes cannot be multiplied")


def test_a_process_among_many_leaves_before_threads_of_gloo_can_abort_it():
    script = """
import atexit, torch
from sctd.launch import leave
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
atexit.register(print, "all that was registered ran")
class Kept:
    def __del__(self):
        print("the interpreter was taken down")
kept = Kept()
leave(7)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "all that was registered ran\n")
