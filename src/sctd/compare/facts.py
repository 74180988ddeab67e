"""What a report says beside the scores: what was trained on what, what a step costs, which words are dropped."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sctd.compare.plan import Plan, Run
from sctd.compare.scoring import Precision
from sctd.config import PretrainConfig, resolve_shape
from sctd.json_text import NUMBER
from sctd.method.cost import Shape
from sctd.method.step_plan import StepPlan
from sctd.recipe import build_config
from sctd.scores.kept import read_object
from sctd.tokens.prepared import PreparedData

DRIFT_SEQUENCES = 128


def facts(config: PretrainConfig, prepared: PreparedData) -> dict[str, str]:
    """What all arms have in common, but for what an arm's own settings change."""
    manifest, train = prepared.manifest, prepared.manifest.splits["train"]
    layers, hidden, heads, _ = resolve_shape(config.model)
    held_out = manifest.splits["validation"].sequences
    rate = "its default" if config.optimizer.lr is None else f"{config.optimizer.lr:g}"
    return {
        "model": f"from {config.init_from}" if config.init_from else f"{layers} layers of {hidden}, {heads} heads",
        "training text": f"{train.tokens:,} tokens of {train.documents:,} documents",
        "held-out text": f"{min(config.eval.sequences, held_out):,} of {held_out:,} sequences",
        "tokenizer": f"{manifest.tokenizer.kind} of {manifest.vocab_size:,}",
        "a step": f"{config.batch.size} sequences of {manifest.seq_len} tokens",
        "optimizer": f"{config.optimizer.name}, peak rate {rate}, {config.schedule.name} schedule",
        "texts": ", ".join(Path(each["path"]).name for each in manifest.provenance.get("inputs", [])[:20]),
    }


def began_and_ended(folder: Path, runs: Sequence[Run]) -> dict[str, str]:
    """When the first of the runs began, and when the report was written; ISO 8601, UTC."""
    written = (read_object(folder / run.folder / "environment.json").get("started") for run in runs)
    began = [each for each in written if isinstance(each, str)]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"started": min(began, default=now), "ended": now}


def costs(runs: Sequence[Run], prepared: PreparedData) -> dict[str, float]:
    """Arm -> multiply-adds a token in training, the mean over a run's steps, by count.

    Empty where a model's shape is that of a folder (init_from).
    """
    found: dict[str, float] = {}
    for run in runs:
        config = build_config(dict(run.settings))
        if config.init_from is not None:
            return {}
        shape = Shape.of(config, prepared.manifest.vocab_size, prepared.manifest.seq_len)
        found[run.arm] = shape.mean_training(StepPlan.of(config)) / shape.length
    return found


def dropped_words(folder: Path, plan: Plan, runs: Sequence[Run], data: Path) -> dict[str, dict[str, Any]]:
    """Arm -> {dropped, kept: frequent tokens, see `sctd drift`}, of the longest run with the first seed.

    Of arms that choose by what a token is; what was found is kept in OUT/scores.
    """
    from sctd.scores.drift import drift

    found = {}
    precision = cast("Precision", plan.precision)
    for arm in plan.arms:
        run = max((run for run in runs if run.arm == arm and run.seed == plan.seeds[0]), key=lambda run: run.steps)
        if run.settings["method"] == "dense" or run.settings["dropping.keep_rule"] == "random":
            continue
        out = folder / "scores" / Path(run.folder).relative_to("runs") / "drift"
        kept = out / "drift.json"
        if not kept.exists() and not (folder / run.folder / "model" / "config.json").exists():
            continue  # the weights were deleted to save room
        if not kept.exists():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                drift(str(folder / run.folder), str(data), str(out), DRIFT_SEQUENCES, precision=precision)
        found[arm] = read_object(kept, {"words?": {"*": [{"token": str, "share": NUMBER}]}}).get("words", {})
    return found
