"""A plan's tables on the screen, and what to know of its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sctd.plan.devices import DEVICES, SHORTEST_PASS

GIB = 2**30

Line = tuple[str, Callable[[dict[str, Any]], str]]  # what it is called -> of one method's forecast


def print_report(results: dict[str, Any]) -> None:
    """Tables to standard output, sentences to standard error."""
    from rich.table import Table

    from sctd.console import say, show

    about = results["about"]
    say(headline(results))
    table = Table("", *results["methods"])
    for column in table.columns[1:]:
        column.justify = "right"
    for name, figure in lines(results):
        table.add_row(name, *map(figure, results["methods"].values()))
    show(table)
    if results["scaling"]:
        titles = [f"{name} {what}" for name in ("DDP", "FSDP2") for what in ("GB sent", "ms", "GiB", "tokens/s")]
        table = Table("GPUs", *titles, title=f"{about['method']}: what each GPU sends in a step, and its memory")
        for column in table.columns:
            column.justify = "right"
        for row in results["scaling"]:
            table.add_row(f"{row['gpus']:,}", *(cell for name in ("ddp", "fsdp") for cell in _cells(row[name])))
        show(table)
    for note in notes(results):
        say(note)


def headline(results: dict[str, Any]) -> str:
    """What was planned, in a sentence or two."""
    about = results["about"]
    device = "this processor" if about["device"] == "cpu" else f"{about['gpus']} x {about['device']}"
    source = "measured now" if about["device"] == "cpu" else "of dense products, by its data sheet"
    reached = ", ".join(f"{share:.1%} ({name})" for name, share in about["reached"].items())
    return (
        f"{results['parameters']:,} parameters, vocabulary {about['vocab_size']:,}, {about['batch_size']:,} x "
        f"{about['seq_len']} tokens a step, on {device}, {about['precision']}: {about['peak_tflops']:,.3g} TFLOP/s "
        f"{source}, of which training reaches {reached}."
    )


def lines(results: dict[str, Any]) -> list[Line]:
    """The rows of the table of methods."""

    def memory(part: str) -> Callable[[dict[str, Any]], str]:
        return lambda found: _gib(found["memory"][part])

    def peak(found: dict[str, Any]) -> str:
        return _gib(found["peak_bytes"])

    held = ["parameters", "optimizer", "gradients", "buckets", "copies", "activations", "loss"]
    present = [part for part in held if any(found["memory"][part] for found in results["methods"].values())]
    names = {
        "gradients": "gradients beside activations",
        "buckets": "DDP's buckets",
        "copies": f"{results['about']['precision']} copies of weights",
        "loss": "logits and their gradient",
    }
    found: list[Line] = [
        ("million multiply-adds a token", lambda found: f"{found['operations_a_token'] / 1e6:,.1f}"),
        ("sequences at a time", lambda found: f"{found['micro'] or 'none fits'}"),
        ("largest that fits, up to a step's", lambda found: f"{found['largest_micro'] or 'none'}"),
        ("GiB at the peak", peak),
    ]
    found += [(f"  {names.get(part, part)}", memory(part)) for part in present]
    found += [
        ("tokens/s", lambda found: _or_dash(found["tokens_per_second"], "{:,.0f}")),
        ("ms a step", lambda found: _or_dash(found["seconds"], "{:,.1f}", 1000)),
    ]
    if results["about"]["steps"] is not None:
        steps = results["about"]["steps"]
        longest = max((each["days"] or 0 for each in results["methods"].values()), default=0)
        units = {"days": 1, "hours": 24, "minutes": 24 * 60}
        unit = next((name for name, a_day in units.items() if not longest or longest * a_day >= 0.1), "minutes")
        found.append((f"{unit} for {steps:,} steps", lambda found: _or_dash(found["days"], "{:,.3g}", units[unit])))
    return found


def notes(results: dict[str, Any]) -> list[str]:
    """What a reader of the figures must know, the more pressing first."""
    about, methods = results["about"], results["methods"]
    said = []
    for name, found in methods.items():
        if not found["fits"]:
            said.append(f"{name} does not fit into {about['room_bytes'] / GIB:,.1f} GiB: set {found['advice']}.")
    split = {found["micro"] for found in methods.values() if 0 < found["micro"] < found["sequences"]}
    if split and about["gpus"] > 1:
        said.append(f"Several processes do not halve the batch by themselves: set batch.micro {min(split)}.")
    if about["steps"] is None:
        said.append("The settings have no schedule.steps, so there is no number of days.")
    if about["device"] == "cpu":
        return said
    if not about["compile"]:
        said.append("The speed is that of compile true; without it a GPU is slower, and needs more memory.")
    if about["device"] != "H200":
        said.append(f"Nobody measured {about['device']}: the share of its peak is that of one H200.")
    if waiting := [name for name, found in methods.items() if found.get("waits_for_processor")]:
        said.append(
            f"{', '.join(waiting)}: the GPU waits for its processor, which takes some {1000 * SHORTEST_PASS:.0f} ms to "
            "start a micro-batch's kernels (docs/planning.md)."
        )
    if about["gpus"] > DEVICES[about["device"]].together:
        said.append("What is sent is timed at the links' full rate, without their latency: a lower bound.")
    return said


def _cells(found: dict[str, Any]) -> list[str]:
    return [
        _or_dash(found["sent"], "{:,.2f}", 1e-9),
        _or_dash(found["exchange_seconds"], "{:,.1f}", 1000),
        _gib(found["peak_bytes"]),
        _or_dash(found["tokens_per_second"], "{:,.0f}"),
    ]


def _gib(number: float) -> str:
    return f"{number / GIB:,.2f}"


def _or_dash(value: float | None, form: str, scale: float = 1) -> str:
    return "-" if value is None else form.format(scale * value)
