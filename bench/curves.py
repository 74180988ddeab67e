"""Held-out loss of some runs against steps and against training time: a CSV of the numbers and a figure of them.

python bench/curves.py --runs runs/dense runs/drop runs/sctd --out docs/results/curves-6x256
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from sctd.train.metrics import read_metrics

COLUMNS = (
    "step",
    "tokens",
    "seconds",
    "eval_loss",
    "eval_loss_mask",
    "eval_loss_dropped",
    "eval_kl_local",
    "eval_kl_global",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, help="folders that sctd pretrain wrote")
    parser.add_argument("--out", required=True, help="where to write, without .csv and .svg")
    given = parser.parse_args()
    curves = {Path(run).name: [line for line in read_metrics(Path(run)) if "eval_loss" in line] for run in given.runs}
    baselines = json.loads((Path(given.runs[0]) / "baselines.json").read_text(encoding="utf-8"))
    with Path(given.out + ".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("run", *COLUMNS))
        for run, lines in curves.items():
            writer.writerows((run, *(_short(line.get(name, "")) for name in COLUMNS)) for line in lines)
    draw(curves, baselines, given.out + ".svg")


def _short(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def draw(curves: dict[str, list[dict[str, float]]], baselines: dict[str, float], path: str) -> None:
    """Two panels, the full network's loss drawn through, the dropped pass's dashed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "sctd"  # the same numbers, the same file
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for number, (run, lines) in enumerate(curves.items()):
        lines = [line for line in lines if line["step"] > 0]
        for panel, name, unit in zip(panels, ("step", "seconds"), (1, 60), strict=True):
            at = [line[name] / unit for line in lines]
            panel.plot(at, [line["eval_loss"] for line in lines], color=f"C{number}", label=run)
            if "eval_loss_dropped" in lines[0]:
                panel.plot(at, [line["eval_loss_dropped"] for line in lines], "--", color=f"C{number}", linewidth=0.8)
    panels[0].set(xlabel="step", ylabel="held-out loss, nats a predicted token", ylim=(3.4, 5.2))
    panels[1].set(xlabel="minutes of training")
    panels[0].legend(title="full network; dashed: with dropping")
    for panel in panels:
        panel.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
