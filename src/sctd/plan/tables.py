"""The plan on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


DAY = 86_400


def about_text(found: dict[str, Any]) -> str:
    """What was asked, in a sentence."""
    about = found["about"]
    length = "no number of steps" if about["steps"] is None else f"{about['steps']:,} steps"
    return (
        f"{about['gpus']} x {about['device']} (by its sheet {about['tflops']:,.0f} TFLOP/s and "
        f"{about['memory'] / 1e9:,.0f} GB): {length} of {about['batch']:,} x {about['seq_len']:,} tokens, vocabulary "
        f"{about['vocab_size']:,}, {about['precision']}, {about['optimizer']}, {about['parallel']}. Nothing was "
        "measured: docs/planning.md says how far such figures were off."
    )


def _memory(one: dict[str, Any]) -> str:
    return "does not fit" if one["peak"] is None else f"{one['peak'] / 1e9:,.1f} GB"


def _time(one: dict[str, Any]) -> str:
    if one["seconds"] is None:
        return ""
    more = f" ({_clock(one['seconds_unhidden'])})" if one["seconds_unhidden"] > 1.01 * one["seconds"] else ""
    return _clock(one["seconds"]) + more


def _clock(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:,.1f} d"


ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "parameters": lambda one: f"{one['parameters']:,}",
    "operations a token, training": lambda one: f"{one['operations_a_token'] / 1e9:,.3f} G",
    "share of the sheet's rate": lambda one: f"{one['utilization']:.0%}",
    "parameters, gradients, optimizer": lambda one: f"{one['states'] / 1e9:,.2f} GB",
    "each sequence at a time": lambda one: f"{one['a_sequence'] / 1e6:,.1f} MB",
    "sequences that fit at a time": lambda one: f"{one['fits']:,}",
    "sequences at a time": lambda one: f"{one['micro']:,}",
    "memory of a device at most": _memory,
    "tokens/s": lambda one: f"{one['tokens_per_second']:,.0f}",
    "ms a step": lambda one: f"{1000 * one['seconds_a_step']:,.1f}",
    "ms of exchange a step": lambda one: f"{1000 * one['exchange_seconds']:,.1f}",
    "time (if no exchange is hidden)": _time,
}


def method_table(found: dict[str, Any]) -> Table:
    """A column a method."""
    from rich.table import Table

    page = Table("", *found["methods"])
    for column in page.columns[1:]:
        column.justify = "right"
    for name, cell in ROWS.items():
        cells = [cell(one) for one in found["methods"].values()]
        if any(cells):
            page.add_row(name, *cells)
    return page


def scaling_table(found: dict[str, Any]) -> Table:
    """A row a number of devices."""
    from rich.table import Table

    heads = ["devices", "sequences each", "ms a step", "DDP: sent", "ms", "states", "FSDP2: sent", "ms", "states"]
    page = Table(*heads, title=f"{found['about']['method']} on more devices; sent and held by each, a step")
    for column in page.columns:
        column.justify = "right"
    for line in found["scaling"]:
        shared = line["sequences"] is not None
        step = f"{1000 * line['seconds_a_step']:,.1f}" if shared else ""
        cells = [f"{line['gpus']:,}", f"{line['sequences']:,}" if shared else "too few", step]
        for kind in ("ddp", "fsdp"):
            cells.append(f"{line[f'{kind}_bytes'] / 1e9:,.2f} GB")
            cells.append(f"{1000 * line[f'{kind}_seconds']:,.1f}")
            cells.append(f"{line[f'{kind}_states'] / 1e9:,.2f} GB")
        page.add_row(*cells)
    return page
