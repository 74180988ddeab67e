"""The parts of a comparison's page that stand below the scores: drift, probes by layer, words, costs, settings."""

from __future__ import annotations

import statistics
from typing import Any

from sctd.compare.blocks import Block, Heading, Paragraph, Table

DRIFT = {"cosine": "cosine", "kl_cls": "KL of [CLS]", "cka": "CKA"}
SIDES = ("dropped", "kept")


def drift(results: dict[str, Any], last: dict[str, Any]) -> list[Block]:
    """How far the passes are apart, of arms that drop tokens."""
    from sctd.compare import figures

    drifts = {arm: each["drift"] for arm, each in last.items() if each["drift"] is not None}
    if not drifts:
        return []
    rows = [
        [arm, DRIFT[measure], *("" if each is None else f"{each:.3g}" for each in layers)]
        for arm, measures in drifts.items()
        for measure, layers in measures.items()
    ]
    layers = len(next(iter(drifts.values()))["kl_cls"])
    curves = {
        arm: [
            one["about"]["drift_curve"]
            for one in results["runs"].values()
            if one["arm"] == arm and one["steps"] == last[arm]["steps"]
        ]
        for arm in drifts
    }
    return [
        Heading("Drift"),
        Paragraph("How far the pass with dropping is from the full one, by layer, at the end; mean over the seeds."),
        Table(["arm", "measure", *map(str, range(layers))], rows),
        figures.drift(drifts),
        figures.drift_curves(curves),
    ]


def words(results: dict[str, Any]) -> list[Block]:
    """Which frequent tokens are dropped and kept most, of arms that choose by what a token is."""
    blocks: list[Block] = []
    for arm, sides in results["words"].items():
        shown = [[f"{each['token']} ({each['share']:.0%})" for each in sides.get(side, [])] for side in SIDES]
        if any(shown):
            rows = [["dropped most", ", ".join(shown[0])], ["kept most", ", ".join(shown[1])]]
            blocks.append(Table([arm, "frequent tokens, and how often each is kept"], rows, words=True))
    return [Heading("The words that are dropped"), *blocks] if blocks else []


def costs(results: dict[str, Any]) -> list[Block]:
    """A row an arm: its step by count and, where it was measured, by the clock."""
    plan, count = results["plan"], results["costs"]
    base, seconds = plan["arms"][0], plan["seconds"]
    if not count and not seconds:
        return []
    head = ["arm"]
    if count:
        head += ["million multiply-adds a token", f"of {base}'s"]
    if seconds:
        head += ["ms a step", f"times as fast as {base}"]
    rows = []
    for arm in plan["arms"]:
        row = [arm]
        if count:
            row += [f"{count[arm] / 1e6:,.3g}", f"{count[arm] / count[base]:.1%}"]
        if seconds:
            row += [f"{1000 * seconds[arm]:,.1f}", f"{seconds[base] / seconds[arm]:.2f}"]
        rows.append(row)
    said = "The count is of matrix products in training, the mean over a run's steps."
    if seconds:
        said += (
            " Times were measured before the runs with all arms taking turns: the first arm's median, and the median "
            "of each round's ratios. Where the runs' own clock disagrees, the machine was busy with something else."
        )
    return [Heading("What a step costs"), Table(head, rows), Paragraph(said)]


def settings(results: dict[str, Any]) -> str:
    """All that the arms have in common, as a recipe."""
    import yaml

    return yaml.safe_dump(results["asked"]["config"], sort_keys=False).strip()


def layers(results: dict[str, Any], last: dict[str, Any]) -> list[Block]:
    """Accuracy of the probes, layer by layer."""
    from sctd.compare import figures

    blocks: list[Block] = []
    names = {name for one in results["runs"].values() for name, score in one["scores"].items() if "layers" in score}
    for name in sorted(names):
        arms = {}
        for arm, each in last.items():
            found = [
                one["scores"][name]["layers"]
                for one in results["runs"].values()
                if one["arm"] == arm and one["steps"] == each["steps"]
            ]
            arms[arm] = [statistics.fmean(layer) for layer in zip(*found, strict=True)]
        blocks.append(figures.by_layer(name, arms))
    return [Heading("Probes by layer"), *blocks] if blocks else []


def made(results: dict[str, Any]) -> str:
    """Command, machine and versions."""
    environment = results["environment"]
    lines = [environment["command"], ""]
    lines += [f"{name}: {environment[name]}" for name in ("started", "device", "cpu", "cores", "threads", "sctd")]
    lines += [f"{name}: {version}" for name, version in environment["packages"].items()]
    lines.append(f"precision: {results['plan']['precision']}")
    lines.append(f"data: manifest {results['asked']['data']}")
    lines.append(f"seeds: {', '.join(map(str, results['plan']['seeds']))}")
    return "\n".join(lines)
