"""Comma-separated values with a header line, quoted as RFC 4180 has it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO

from sctd.errors import UserError
from sctd.text.lines import text_lines
from sctd.text.options import MAX_LINE_BYTES, ReadOptions


def documents(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """One document a record."""
    csv.field_size_limit(MAX_LINE_BYTES)
    # csv wants the line ends: they may stand inside quotes. strict: an unclosed quote would swallow the rest
    rows = csv.reader((line + "\n" for _, line in text_lines(stream, name)), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        if options.text_key not in header:
            raise UserError(
                f"{name} has no column {options.text_key!r} (columns: {', '.join(header[:20])}): "
                "name the right one with --text-key."
            )
        column = header.index(options.text_key)
        for row in rows:
            if row and len(row) <= column:
                raise UserError(
                    f"{name}, line {rows.line_num}, has {len(row)} columns, and {options.text_key!r} is "
                    f"number {column + 1}: repair or delete the line."
                )
            if row:
                yield row[column]
    except csv.Error as error:
        raise UserError(f"{name}, line {rows.line_num}, is not CSV ({error}): look for an unclosed quote.") from error
