"""The table of `evaluate`, on the screen and in Markdown: figures x 100, baselines beside the model's."""

from __future__ import annotations

from typing import Any

from sctd.markdown import escaped

HEADER = ("task", "metric", "majority", "bag of words", "random encoder", "model", "range", "seeds")
BASELINES = ("majority", "bag-of-words", "random-init")


def rows(results: dict[str, Any], part: str = "arms") -> list[tuple[str, ...]]:
    """One row a task, split and metric, as HEADER names the columns; `part` is arms or without_overlap."""
    lines = []
    for task in results["tasks"].values():
        arms = task.get(part, {})
        splits = list(next(iter(arms.values()), {}))
        for split in splits:
            title = task["title"] if len(splits) == 1 else f"{task['title']} {split.removeprefix('dev_')}"
            for metric in task["metrics"]:
                model = arms.get("model", {}).get(split)
                lines.append(
                    (
                        title,
                        metric,
                        *(_figure(arms.get(arm, {}).get(split), metric) for arm in BASELINES),
                        _figure(model, metric),
                        _range(model, metric),
                        str(len(model["runs"])) if model else "",
                    )
                )
                title = ""
    return lines


def _figure(summary: dict[str, Any] | None, metric: str) -> str:
    return "" if summary is None or metric not in summary["median"] else f"{100 * summary['median'][metric]:.1f}"


def _range(summary: dict[str, Any] | None, metric: str) -> str:
    if summary is None or metric not in summary["median"] or len(summary["runs"]) < 2:
        return ""
    return f"{100 * summary['min'][metric]:.1f} to {100 * summary['max'][metric]:.1f}"


def headline(results: dict[str, Any]) -> str:
    """What the table is of, in a sentence."""
    settings = results["settings"]
    budget = "Quick: fixed subsets, not to be compared with published figures. " if _quick(results) else ""
    used = [task["fine_tuning"]["max_length"] for task in results["tasks"].values() if "fine_tuning" in task]
    return (
        f"{budget}Median over seeds, x 100; sequences of up to {max(used, default=settings['trained_length'])} tokens, "
        f"{settings['precision']}."
    )


def _quick(results: dict[str, Any]) -> bool:
    return bool(results["settings"]["budget"] == "quick")


def average(results: dict[str, Any]) -> tuple[str, ...]:
    """The last row: means over the tasks' first metrics."""
    figures = results["averages"]
    arms = [f"{100 * figures[arm]:.1f}" if arm in figures else "" for arm in (*BASELINES, "model")]
    return ("average", "first metrics", *arms, "", "")


def remarks(results: dict[str, Any]) -> list[str]:
    """What stands below the table: a sentence a task of which not all is as published."""
    return [f"{task['title']}: {'; '.join(task['notes'])}." for task in results["tasks"].values() if task["notes"]]


def print_results(results: dict[str, Any]) -> None:
    """To standard output."""
    from rich.table import Table

    from sctd.console import as_text, show, show_line

    for part, title in (
        ("arms", headline(results)),
        ("without_overlap", "Without what overlaps the pretraining text."),
    ):
        lines = rows(results, part)
        if not lines:
            continue
        table = Table(title=as_text(title), title_justify="left")
        for name in HEADER:
            words = name in ("task", "metric")
            table.add_column(name.replace(" ", "\n", 1), justify="left" if words else "right", no_wrap=True)
        for line in [*lines, *([average(results)] if part == "arms" and len(results["tasks"]) > 1 else [])]:
            table.add_row(*map(as_text, line))
        show(table)
    for remark in remarks(results):
        show_line(remark)


def markdown(results: dict[str, Any]) -> str:
    """The same as a Markdown page."""
    page = [f"# {escaped(results['model'])}", "", headline(results), ""]
    for part in ("arms", "without_overlap"):
        lines = rows(results, part)
        if not lines:
            continue
        if part == "without_overlap":
            page += ["", "Without what overlaps the pretraining text:", ""]
        elif len(results["tasks"]) > 1:
            lines.append(average(results))
        page += ["| " + " | ".join(HEADER) + " |", "|---|---|" + "---:|" * 6]
        page += ["| " + " | ".join(map(escaped, line)) + " |" for line in lines]
    page += ["", *(f"- {escaped(remark)}" for remark in remarks(results))]
    return "\n".join(page) + "\n"
