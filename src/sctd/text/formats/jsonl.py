"""JSON lines: one object a line, its text under a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO

from sctd.errors import UserError
from sctd.text.lines import text_lines
from sctd.text.options import ReadOptions


def documents(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """One document a line; blank lines and null texts are skipped."""
    for number, line in text_lines(stream, name):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}, line {number}, is not JSON ({error}): repair or delete the line.") from error
        if not isinstance(value, dict):
            raise UserError(
                f"{name}, line {number}, is a JSON {type(value).__name__}, not an object with the key "
                f"{options.text_key!r}: repair or delete the line."
            )
        if options.text_key not in value:
            found = ", ".join(sorted(value)[:20]) or "none"
            raise UserError(
                f"{name}, line {number}, has no key {options.text_key!r} (keys: {found}): "
                "name the right one with --text-key."
            )
        text = value[options.text_key]
        if text is None:
            continue
        if not isinstance(text, str):
            raise UserError(
                f"{name}, line {number}: {options.text_key!r} holds a {type(text).__name__}, not a text: "
                "name another key with --text-key."
            )
        yield text
