"""The parts of a comparison's page that stand below the scores: drift, probes by layer, words, costs, settings."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from sctd.compare.blocks import Block, Heading, Paragraph, Table
from sctd.compare.statistics import shown_from

if TYPE_CHECKING:
    from sctd.compare.figures import Colours

DRIFT = {"cosine": "cosine", "kl_cls": "KL of [CLS]", "cka": "CKA"}
SELDOM = 0.05  # a token that is kept less often is not shown as one that is kept most


def power(seeds: int, comparisons: int) -> str:
    """How large a difference must be so that this comparison can show it."""
    least = shown_from(seeds, comparisons)
    if least is None:
        return "One seed shows nothing of another one, so nothing is tested: give several --seeds."
    if comparisons == 1:
        return (
            f"With {seeds} seeds a difference is shown from about {least:.1f} times its standard deviation over the "
            "seeds on; more seeds show smaller ones."
        )
    return (
        f"With {seeds} seeds and {comparisons} comparisons a difference is shown from about {least:.1f} times its "
        f"standard deviation over the seeds on; where the others are shown too, from {shown_from(seeds, 1):.1f} times "
        "on; more seeds show smaller ones."
    )


def levels(results: dict[str, Any]) -> dict[str, str]:
    """What models without context reach on this text, where the runs counted it."""
    about = [one["about"] for one in results["runs"].values()]
    names = {"unigram": "word frequencies alone, at [MASK]", "bigram": "the word before alone, at [MASK]"}
    return {
        title: f"{statistics.fmean(each[name] for each in about):.3f} nats"
        for name, title in names.items()
        if all(name in each for each in about)
    }


def drift(results: dict[str, Any], last: dict[str, Any], colours: Colours) -> list[Block]:
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
    view = "time" if "time" in results["views"] else "steps"
    layers = max(len(measures["kl_cls"]) for measures in drifts.values())
    rows = [[*row, *[""] * (2 + layers - len(row))] for row in rows]
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
        Paragraph(
            f"How far the pass with dropping is from the full one, by layer, at the end of the runs at equal {view}; "
            "mean over the seeds."
        ),
        Table(["arm", "measure", *map(str, range(layers))], rows),
        figures.drift(drifts, colours),
        figures.drift_curves(curves, colours),
    ]


def words(results: dict[str, Any]) -> list[Block]:
    """Which frequent tokens are dropped and kept most, of arms that choose by what a token is."""
    blocks: list[Block] = []
    for arm, sides in results["words"].items():
        kept = [each for each in sides.get("kept", []) if each["share"] >= SELDOM]
        lists = [sides.get("dropped", []), kept]
        shown = [[f"{each['token']} ({each['share']:.0%})" for each in tokens] for tokens in lists]
        if any(shown):
            rows = [["dropped most", ", ".join(shown[0])], ["kept most", ", ".join(shown[1]) or "none of them"]]
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
    said = "The count is of matrix products in training, the mean over a run's steps. " if count else ""
    if seconds:
        said += (
            "Times were measured before the runs with all arms taking turns: the first arm's median, and the median "
            "of each round's ratios. Where the runs' own clock disagrees, the machine was busy with something else, or "
            "with several runs at once (--jobs)."
        )
    return [Heading("What a step costs"), Table(head, rows), Paragraph(said.strip())]


def settings(results: dict[str, Any]) -> str:
    """All that the arms have in common, as a recipe; without what each arm or run has of its own."""
    import yaml

    common = {name: value for name, value in results["asked"]["config"].items() if name not in ("method", "seed")}
    common["schedule"] = {name: value for name, value in common["schedule"].items() if name not in ("steps", "minutes")}
    return yaml.safe_dump(common, sort_keys=False).strip()


def layers(results: dict[str, Any], last: dict[str, Any], colours: Colours) -> list[Block]:
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
        blocks.append(figures.by_layer(name, arms, colours))
    return [Heading("Probes by layer"), *blocks] if blocks else []


def made(results: dict[str, Any]) -> str:
    """Command, machine and versions."""
    environment = results["environment"]
    lines = [environment["command"], ""]
    shown = ("started", "ended", "device", "cpu", "cores", "threads", "sctd")
    lines += [f"{name}: {environment[name]}" for name in shown if name in environment]  # older ones have no end
    lines += [f"{name}: {version}" for name, version in environment["packages"].items()]
    lines.append(f"precision: {results['plan']['precision']}")
    lines.append(f"data: manifest {results['asked']['data']}")
    lines.append(f"seeds: {', '.join(map(str, results['plan']['seeds']))}")
    return "\n".join(lines)


def glossary(results: dict[str, Any]) -> list[Block]:
    """What the page's words mean, of those that it uses."""
    names = {name for found in results["views"].values() for each in found["arms"].values() for name in each["scores"]}
    drops = any(each["drift"] for found in results["views"].values() for each in found["arms"].values())
    rows = [
        [
            "held-out loss",
            "Mean negative log-likelihood, in nats a predicted token, on text that no run was trained on; "
            "lower is better. Of the full network: no token is dropped, which is how a model is used later.",
        ],
        ["at [MASK]", "The same over those predicted tokens alone whose place shows [MASK]."],
        ["effect size d", "A mean difference over its standard deviation over the seeds."],
    ]
    if "BLiMP" in names:
        rows.append(
            [
                "BLiMP",
                "Share, in %, of pairs of sentences of which the model finds the grammatical one the more "
                "likely; guessing has 50, and two that its tokenizer reads alike count as wrong.",
            ]
        )
    if any(name.startswith("probe") for name in names):
        rows.append(
            [
                "probes",
                "Accuracy, in %, of a linear classifier on the frozen encoder's vectors, at the layer that "
                "does best on a part of its own: the mean over a sentence's tokens (mean), or the first one's ([CLS]).",
            ]
        )
    if drops:
        rows.append(
            [
                "drift",
                "How far the vectors of the pass with dropping are from the full one's: cosine and CKA "
                "(centred kernel alignment) are 1 where they agree, the KL divergence of [CLS] is 0.",
            ]
        )
    if results["time_to_quality"]:
        rows.append(
            [
                "time to quality",
                "The time at which runs of growing length, each with its own schedule decayed to "
                "its end, reach the first arm's final loss; between two lengths the loss is taken as linear in the "
                "logarithm of time. In brackets the range over the seeds.",
            ]
        )
    return [Heading("What the words mean"), Table(["word", ""], rows, words=True)]
