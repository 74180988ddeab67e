"""The figures as a table on the screen, a Markdown page and a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sctd.bench.arms import PEERS
from sctd.files import write_text

FEW_SECONDS = 0.1
NOTES = """\
Times as fast: medians of the rounds' paired ratios, with their range. Allowed: what the count of multiply-adds and the
measured cost of a step's batch and optimizer leave possible. Share of matmul: the step's counted multiply-adds a second
over those of the bare matrix product in the same round (for hf, of a model that computes every row). Memory: the peak
of the arm's own process."""


def headline(results: dict[str, Any]) -> str:
    """What was measured, in a sentence."""
    about = results["about"]
    compiled = (", compiled" if about["compile"] else "") + (", CUDA graphs" if about["cuda_graphs"] else "")
    return (
        f"{about['layers']} layers of {about['hidden_size']}, vocabulary {about['vocab_size']:,}, "
        f"{about['sequences']} x {about['length']} tokens, {about['precision']}{compiled}, "
        f"{about['optimizer']}, {about['attention']} attention; "
        f"{about['rounds']} rounds; {about['device']}, {about['threads']} threads, torch {about['torch']}."
    )


def rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(column names, a row an arm)."""
    others = _compared(results)
    names = ["arm", "ms a step", "tokens/s", *(f"times as fast as {other}" for other in others)]
    names += ["allowed", "share of matmul", "memory"]
    minutes = results["about"]["minutes"]
    names += [f"steps in {minutes:g} min"] if minutes else []
    lines = []
    for arm, found in results["arms"].items():
        line = [
            arm,
            _range(found["seconds"], 1000, _digits(found["seconds"]["median"])),
            f"{found['tokens_per_second']:,.0f}",
        ]
        line += [_range(found["times_as_fast_as"][other], 1, 2) for other in others]
        allowed = found.get("allowed_times_dense")
        line.append(f"{allowed:.2f} ({found['share_of_allowed']:.0%} reached)" if allowed else "")
        line.append(f"{found['share_of_matmul']['median']:.0%}")
        line.append(f"{found['peak_bytes'] / 2**20:,.0f} MiB")
        line += [f"{found['steps']:,}"] if minutes else []
        lines.append(line)
    return names, lines


def _compared(results: dict[str, Any]) -> list[str]:
    """The arms that the table compares with: the first peer, the fastest one, and dense."""
    arms = results["arms"]
    peers = [arm for arm in arms if arm in PEERS]
    fastest = sorted(peers, key=lambda arm: arms[arm]["seconds"]["median"])[:1]
    return [*dict.fromkeys([*peers[:1], *fastest, *(["dense"] if "dense" in arms else [])])]


def part_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(column names, a row a kind of step): where a step's time goes."""
    names: list[str] = []
    lines = []
    for arm, kinds in results["parts"].items():
        for kind, parts in kinds.items():
            names = names or [*parts]
            total = sum(parts.values())
            title = kind if kind == arm else f"{arm}: {kind}"
            lines.append(
                [title, *(f"{parts[name] / total:.1%}" for name in names), f"{1000 * total:,.{_digits(total)}f}"]
            )
    return ["step", *names, "ms"], lines


def _digits(seconds: float) -> int:
    """Of the milliseconds of a step."""
    return 1 if seconds < FEW_SECONDS else 0


def _range(values: dict[str, float], factor: float, digits: int) -> str:
    median, least, most = (f"{values[name] * factor:,.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def print_report(results: dict[str, Any]) -> None:
    """To standard output."""
    from rich.table import Table

    from sctd.console import as_text, show

    for title, (names, lines) in (
        (headline(results), rows(results)),
        ("Where a step's time goes", part_rows(results)),
    ):
        table = Table(title=as_text(title), title_justify="left")
        for number, name in enumerate(names):
            table.add_column(name.replace(" as ", "\nas ", 1), justify="right" if number else "left", no_wrap=True)
        for line in lines:
            table.add_row(*map(as_text, line))
        if lines:
            show(table)


def markdown(results: dict[str, Any]) -> str:
    """The same as a Markdown page."""
    page = [headline(results), ""]
    for names, lines in (rows(results), part_rows(results)):
        if lines:
            page += ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
            page += ["| " + " | ".join(line) + " |" for line in lines]
            page.append("")
    return "\n".join([*page, NOTES, "", f"`{results['about']['command']}`, {results['about']['started']}."]) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """Tokens a second of each arm, as an SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sctd"  # the same figures give the same bytes
    from matplotlib import pyplot as plt

    arms = [*results["arms"]]
    tokens = results["about"]["sequences"] * results["about"]["length"]
    seconds = [results["arms"][arm]["seconds"] for arm in arms]
    middle = [tokens / each["median"] for each in seconds]
    reach = [[m - tokens / each["max"] for m, each in zip(middle, seconds, strict=True)]]
    reach.append([tokens / each["min"] - m for m, each in zip(middle, seconds, strict=True)])
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(arms) + 1))
    colours = ["#9aa5b1" if arm in PEERS else "#2f6fab" for arm in arms]
    axes.barh(arms, middle, xerr=reach, color=colours, ecolor="#444444", capsize=2)
    axes.invert_yaxis()
    axes.set_xlabel("tokens a second in training (median of the rounds; line: their range)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_text(path, drawn.getvalue())
