"""The demonstration, shortened: every step of it, on this machine's own prose."""

import json
import subprocess
import sys


def test_the_demonstration_ends_with_a_model_and_says_what_it_learned(tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "sctd", "demo", "--out", str(out), "--minutes", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("unigram model", "bigram model", "the full network", "before", "after", "sctd prepare --input"):
        assert words in done.stderr
    assert json.loads((out / "model" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "is there already" in again.stderr
