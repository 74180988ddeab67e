"""Drawings of a comparison, as SVG text whose letters and axes have the page's own colour."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sctd.compare.blocks import Figure
from sctd.compare.quality import in_words

COLOURS = ("#4878b0", "#d1803b", "#4f9a60", "#b2504f", "#8268a8", "#85644f", "#c573a5", "#7f7f7f")
Colours = Mapping[str, str]  # arm -> its colour


def _figure(panels: int = 1) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sctd"  # the same numbers give the same bytes
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, panels, figsize=(8 if panels > 1 else 5.5, 3.6), layout="constrained", squeeze=False
    )
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25)
    return figure, axes[0]


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)
    drawn = file.getvalue().replace("#000000", "currentColor")
    return drawn.replace(
        "*{stroke-linejoin", "text{fill: currentColor} *{stroke-linejoin"
    )  # black text names no colour


def _label(text: str) -> str:
    shown = text.replace("$", r"\$")  # no mathematics in a name
    return f"\u200b{shown}" if shown.startswith("_") else shown  # matplotlib's legend leaves such names out


def curves(view: str, runs: dict[str, list[list[dict[str, float]]]], colours: Colours) -> Figure:
    """Held-out loss against steps and against minutes of training; arm -> the curves of its seeds, with their band."""
    figure, panels = _figure(2)
    data: list[list[object]] = [["arm", "seed's place", "step", "seconds", "held-out loss"]]
    for arm, seeds in runs.items():
        for place, lines in enumerate(seeds):
            data += [[arm, place + 1, line["step"], line["seconds"], line["eval_loss"]] for line in lines]
        shown = [[line for line in lines if line["step"] > 0] for lines in seeds]
        length = min(map(len, shown))
        loss = np.array([[line["eval_loss"] for line in lines[:length]] for lines in shown])
        for panel, name, unit in zip(panels, ("step", "seconds"), (1, 60), strict=True):
            at = np.mean([[line[name] / unit for line in lines[:length]] for lines in shown], axis=0)
            panel.plot(at, loss.mean(axis=0), color=colours[arm], label=_label(arm))
            panel.fill_between(at, loss.min(axis=0), loss.max(axis=0), color=colours[arm], alpha=0.2, linewidth=0)
    panels[0].set(xlabel="step", ylabel="held-out loss, nats a predicted token")
    panels[1].set(xlabel="minutes of training, by the clock")
    panels[0].legend(frameon=False)
    words = f"Held-out loss of the full network at equal {view}, against steps and time; band: all seeds"
    return Figure(f"curves-{view}", _svg(figure), words, data)


def drift(arms: Mapping[str, Mapping[str, Sequence[float | None]]], colours: Colours) -> Figure:
    """KL between the [CLS] vectors of the two passes at each layer, at the end of training."""
    figure, [panel] = _figure()
    data: list[list[object]] = [
        ["arm", "measure", *(f"layer {n}" for n in range(max(len(each["kl_cls"]) for each in arms.values())))]
    ]
    for arm, measures in arms.items():
        kl = [math.nan if each is None else each for each in measures["kl_cls"]]
        panel.plot(range(len(kl)), kl, marker="o", color=colours[arm], label=_label(arm))
        data += [[arm, measure, *figures] for measure, figures in measures.items()]
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set(xlabel="layer", ylabel="KL of [CLS], full to dropped pass, nats")
    panel.legend(frameon=False)
    return Figure(
        "drift", _svg(figure), "How far the pass with dropping is from the full pass, layer by layer, at the end", data
    )


def drift_curves(arms: Mapping[str, Sequence[Sequence[Mapping[str, float | None]]]], colours: Colours) -> Figure:
    """KL of the two passes' [CLS] vectors at the last layer, through training; arm -> curves of its seeds."""
    figure, [panel] = _figure()
    data: list[list[object]] = [["arm", "seed's place", "step", "cosine", "KL of [CLS]", "CKA"]]
    for arm, seeds in arms.items():
        for place, lines in enumerate(seeds):
            data += [[arm, place + 1, *(line[name] for name in ("step", "cosine", "kl_cls", "cka"))] for line in lines]
        length = min(map(len, seeds))
        kl = np.array([[np.nan if x["kl_cls"] is None else x["kl_cls"] for x in lines[:length]] for lines in seeds])
        steps = [line["step"] for line in seeds[0][:length]]
        panel.plot(steps, kl.mean(axis=0), color=colours[arm], label=_label(arm))
        panel.fill_between(steps, kl.min(axis=0), kl.max(axis=0), color=colours[arm], alpha=0.2, linewidth=0)
    panel.set(xlabel="step", ylabel="KL of [CLS] at the last layer, nats")
    panel.legend(frameon=False)
    words = "How far the two passes are apart at the last layer, through training; band: all seeds"
    return Figure("drift-curves", _svg(figure), words, data)


def by_layer(title: str, arms: Mapping[str, Sequence[float]], colours: Colours) -> Figure:
    """Mean accuracy of the probes at each layer."""
    figure, [panel] = _figure()
    data: list[list[object]] = [["arm", *(f"layer {n}" for n in range(len(next(iter(arms.values())))))]]
    for arm, figures in arms.items():
        panel.plot(
            range(len(figures)), [100 * each for each in figures], marker="o", color=colours[arm], label=_label(arm)
        )
        data.append([arm, *figures])
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set(xlabel="layer (0: the embeddings)", ylabel="accuracy, %")
    panel.legend(frameon=False)
    name = "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")
    return Figure(name, _svg(figure), f"{title}: mean accuracy by layer", data)


def time_to_quality(shares: dict[str, Any], colours: Colours) -> Figure:
    """Share of the first arm's time that each arm needs for the first arm's loss."""
    figure, [panel] = _figure()
    data: list[list[object]] = [["arm", "mean", "least", "most"]]
    for place, (arm, each) in enumerate(shares.items()):
        if each["mean"] is None:
            panel.text(0.01, place, in_words(each), va="center", color="#888888")
            data.append([arm, in_words(each), "", ""])
            continue
        error = [[each["mean"] - each["low"]], [each["high"] - each["mean"]]]
        panel.barh(place, each["mean"], xerr=error, color=colours[arm], ecolor="#888888", capsize=3)
        data.append([arm, each["mean"], each["low"], each["high"]])
    panel.set_yticks(range(len(shares)), [_label(arm) for arm in shares])
    panel.set_ylim(-0.5, len(shares) - 0.5)
    panel.invert_yaxis()
    panel.set(xlabel="share of the first arm's time, for the loss it ends with")
    return Figure("time-to-quality", _svg(figure), "Time to quality; line: all seeds", data)


def colours_of(arms: Sequence[str]) -> Colours:
    """Each arm's colour, the same in every drawing of a page."""
    return {arm: COLOURS[number % len(COLOURS)] for number, arm in enumerate(arms)}
