"""The demonstration, shortened: every step of it, on this machine's own prose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sctd.demo import _begun, demo
from sctd.errors import UserError
from sctd.text import machine_prose
from sctd.text.machine_prose import ProseStats

SAID = ("unigram model", "bigram model", "the full network", "before", "after", "sctd prepare --input")


def test_the_demonstration_ends_with_a_model_and_says_what_it_learned(tmp_path, monkeypatch, capfd):
    """On the prose of a part of the standard library: the rest of it takes a minute to read."""
    library = Path(os.__file__).parent
    monkeypatch.setattr(machine_prose, "installed_folders", lambda: [library / "email", library / "logging"])
    out = tmp_path / "demo"
    demo(str(out), minutes=0.02)
    said = capfd.readouterr().err
    assert [words for words in SAID if words not in said] == []
    assert json.loads((out / "model" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    demo(str(out), minutes=0.02)
    assert "is there already" in capfd.readouterr().err


@pytest.mark.slow
def test_the_command_of_readme_ends_with_a_model_too(tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "sctd", "demo", "--out", str(out), "--minutes", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [words for words in SAID if words not in done.stderr] == []


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    (tmp_path / "prose.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files: give a new or empty folder"):
        demo(str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "prose.txt", "run"]


def test_interrupted_it_names_its_own_command_and_goes_on_with_the_run_as_it_was_begun(tmp_path, monkeypatch):
    asked = []

    def stopped(data, out, config=None, resume=None):
        asked.append((config and config.schedule.minutes, resume))
        (tmp_path / "d e" / "run" / "checkpoints" / "step-3").mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt("Go on with: sctd pretrain --resume")

    monkeypatch.setattr("sctd.text.machine_prose.gather_machine_prose", lambda text: ProseStats())
    monkeypatch.setattr("sctd.tokens.prepare.prepare", lambda *_, **__: None)
    monkeypatch.setattr("sctd.pretrain.pretrain", stopped)
    (tmp_path / "d e").mkdir()
    for minutes in (2, 5):
        with pytest.raises(KeyboardInterrupt, match=f"^Go on with: sctd demo --out '.*/d e' --minutes {minutes}$"):
            demo(str(tmp_path / "d e"), minutes=minutes)
    assert asked == [(2, None), (None, "auto")]


def test_only_a_run_without_checkpoints_is_begun_anew(tmp_path):
    for name, kept in (("with", True), ("without", False)):
        (tmp_path / name / "checkpoints" / ("step-1" if kept else ".partial-step-1")).mkdir(parents=True)
        assert _begun(tmp_path / name) is kept
        assert (tmp_path / name).exists() is kept
