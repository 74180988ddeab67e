"""Step times side by side: what is asked of the arms, and the figures that are made of their times."""

import json
import statistics

import pytest

from helpers import make_prepared
from sctd.bench.bench import bench
from sctd.bench.figures import figures, ratio
from sctd.bench.rounds import Worker, measure
from sctd.bench.worker import Job
from sctd.errors import UserError
from sctd.method.cost import Shape
from sctd.recipe import build_config

TINY = {
    "model.num_layers": 4,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "batch.size": 4,
    "precision": "fp32",
    "device": "cpu",
}
SMALL = {"vocab_size": 100, "seq_len": 32, "rounds": 2}


def test_every_arm_is_timed_in_turn_and_the_report_says_what_was_measured(tmp_path, capsys):
    out = tmp_path / "here" / "bench.json"
    out.parent.mkdir()
    results = bench(build_config(TINY), against=["hf-eager"], json=str(out), minutes=1, **SMALL)
    assert json.loads(out.read_text()) == results
    assert list(results["arms"]) == ["hf-eager", "dense", "drop", "sctd"]
    for arm, found in results["arms"].items():
        assert found["tokens_per_second"] == pytest.approx(4 * 32 / found["seconds"]["median"])
        assert found["peak_bytes"] > 2**20
        assert found["steps"] == int(60 / found["seconds"]["median"])
        assert 0 < found["share_of_matmul"]["median"] < 1, arm
    assert results["arms"]["hf-eager"]["times_as_fast_as"]["hf-eager"]["median"] == 1
    assert results["about"]["against"] == ["hf-eager"]
    assert {kind for kinds in results["parts"].values() for kind in kinds} == {"dense", "drop", "consistency"}
    for kinds in results["parts"].values():
        assert all(set(parts) == {"data", "forward", "backward", "optimizer"} for parts in kinds.values())
    page = out.with_suffix(".md").read_text()
    median = results["arms"]["drop"]["seconds"]["median"]
    shown = f"{1000 * median:,.{1 if median < 0.1 else 0}f} ("  # milliseconds, with a tenth where they are few
    assert shown in page
    assert shown in capsys.readouterr().out
    assert "4 layers of 32, vocabulary 100, 4 x 32 tokens, fp32" in page
    assert out.with_suffix(".svg").read_text().startswith("<?xml")
    assert sorted(path.name for path in out.parent.iterdir()) == ["bench.json", "bench.md", "bench.svg"]


@pytest.mark.slow
def test_on_a_gpu_a_turn_has_several_steps_and_all_arms_warm_up_at_once(tmp_path, monkeypatch):
    # the processor stands in for it
    data = make_prepared(tmp_path)
    settings = {**TINY, "schedule.steps": 1}
    kinds = {"hf": ("hf",), "dense": ("dense",), "sctd": ("drop", "consistency"), "matmul": ("matmul",)}
    jobs = [Job(arm, str(data), settings, str(tmp_path / arm), each) for arm, each in kinds.items()]
    asked = []
    step = Worker.step

    def listen(self, kind, steps=1, in_parts=False):
        asked.append((self.arm, kind, steps))
        return step(self, kind, steps, in_parts)

    monkeypatch.setattr(Worker, "step", listen)
    times, rest = measure(jobs, 2, lambda note: None, on_gpu=True)
    turns = [("hf", "hf", 20), ("dense", "dense", 20), ("sctd", "drop", 20), ("sctd", "consistency", 20)]
    turns.append(("matmul", "matmul", 20))
    assert [each for each in asked if each[2] > 1] == 2 * turns
    assert {arm: {kind: len(found) for kind, found in kinds.items()} for arm, kinds in times.items()} == {
        "hf": {"hf": 2},
        "dense": {"dense": 2},
        "sctd": {"drop": 2, "consistency": 2},
        "matmul": {"matmul": 2},
    }
    assert set(rest["bytes"]) == {"hf", "dense", "sctd", "matmul"}


SHAPE = Shape(4, 32, 128, 100, 32, predictions=4, kept=16)
TIMES = {
    "hf": {"hf": [4.0, 8.0, 4.0]},
    "dense": {"dense": [2.0, 4.0, 2.0]},
    "drop": {"drop": [1.5, 2.5, 1.5]},
    "sctd": {"drop": [1.5, 2.5, 1.5], "consistency": [3.5, 4.5, 3.5]},
    "matmul": {"matmul": [1e-6, 2e-6, 1e-6]},
}


def test_figures_by_hand():
    parts = {"dense": {"dense": {"data": 0.1, "forward": 0.6, "backward": 1.0, "optimizer": 0.3}}}
    memory = dict.fromkeys(TIMES, 7)
    shares = {arm: {arm: 1.0} for arm in ("hf", "dense", "drop")} | {"sctd": {"drop": 0.9, "consistency": 0.1}}
    found = figures(TIMES, parts, memory, SHAPE, sequences=8, shares=shares, against=["hf"])
    assert found["sctd"]["seconds"]["median"] == pytest.approx(0.9 * 1.5 + 0.1 * 3.5)
    assert found["drop"]["times_as_fast_as"]["hf"] == {
        "median": pytest.approx(8 / 3),
        "min": pytest.approx(8 / 3),
        "max": 3.2,
    }
    assert found["dense"]["times_as_fast_as"]["dense"]["median"] == 1
    # of a dense step of 2 s, 0.4 are its batch and optimizer; the rest shrinks with the operations
    fewer = SHAPE.forward("drop") / SHAPE.forward("dense")
    assert found["drop"]["allowed_times_dense"] == pytest.approx(2 / (0.4 + 1.6 * fewer))
    assert found["drop"]["share_of_allowed"] == pytest.approx((2 / 1.5) / (2 / (0.4 + 1.6 * fewer)))
    # paired: each round's step over that round's own product
    work = 8 * 3 * SHAPE.forward("dense")
    assert found["dense"]["share_of_matmul"]["median"] == pytest.approx(work * 1e-6 / 2)
    assert found["hf"]["operations"] == 8 * 3 * (4 * SHAPE.layer(32, 32) + SHAPE.head(32))


def test_a_busy_moment_that_meets_all_arms_moves_no_ratio():
    calm, busy = [2.0, 2.0, 2.0], [2.0, 20.0, 2.0]
    assert ratio(busy, [each / 2 for each in busy]) == ratio(calm, [each / 2 for each in calm])
    assert statistics.median(busy) / 1.0 == ratio(busy, [1.0, 10.0, 1.0])["median"]


def test_what_cannot_be_measured_is_refused_before_anything_starts(tmp_path):
    for arguments, said in (
        ({"arms": ["drob"]}, '--arms: there is no "drob"; did you mean "drop"'),
        ({"against": ["hf-eage"]}, 'did you mean "hf-eager"'),
        ({"rounds": 1}, "--rounds is 1"),
        ({"arms": ["x"]}, "there are dense, drop, sctd"),
        ({"vocab_size": 5}, "--vocab-size is 5; it must be 100 or more"),
        ({"json": str(tmp_path / "none" / "x.json")}, "is not a folder"),
        ({"json": str(tmp_path / "x.md")}, "must end with .json"),
        ({"minutes": 0.0}, "--minutes is 0.0"),
    ):
        with pytest.raises(UserError, match=said):
            bench(build_config(TINY), **arguments)
    with pytest.raises(UserError, match="needs an even number of layers"):
        bench(build_config({**TINY, "model.num_layers": 5}))


def test_an_arm_that_fails_is_named(monkeypatch, tmp_path):
    """A peer whose process dies, here because its data is gone."""
    worker = Worker(Job("hf", str(tmp_path / "gone"), {}, str(tmp_path / "scratch"), ("hf",)))
    with pytest.raises(UserError, match=r"hf cannot be measured here \(.*gone.*\): leave it out"):
        worker.step("hf")
    worker.close()


def test_what_is_not_installed_is_said_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr("sctd.extras.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"accelerate is not installed: pip install 'sctd\[bench\]'"):
        bench(build_config(TINY), **SMALL)
    with pytest.raises(UserError, match=r"matplotlib is not installed"):
        bench(build_config(TINY), against=["none"], json=str(tmp_path / "bench.json"), **SMALL)
