"""What comes from data as Markdown that shows it as it is."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Text in a line or in a table's cell."""
    for special in "\\`*_<>[]|#":
        text = text.replace(special, "\\" + special)
    return " ".join(text.split())


def fenced(text: str, kind: str = "text") -> str:
    """Lines of a kind in a block whose fence is longer than any run of backticks in them."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"
