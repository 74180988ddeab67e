"""Plain text: one paragraph a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import IO

from sctd.text.lines import text_lines
from sctd.text.options import MAX_DOCUMENT_CHARS, ReadOptions


def documents(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """One document for each run of lines between blank lines (`blank-line`), each line (`line`) or the whole
    file (`file`). `auto`: `blank-line` if there is a blank line between two texts, else `line`.
    """
    lines: Iterator[str] = (line.strip() for _, line in text_lines(stream, name))
    mode = options.documents
    if mode == "auto":
        head = _up_to_text_after_a_blank_line(lines)
        mode = "blank-line" if "" in head[:-1] and head[-1] else "line"
        lines = chain(head, lines)
    if mode == "line":
        yield from lines
        return
    paragraphs: list[str] = []
    size = 0
    for line in lines:
        # A document past 16 million characters is cut here rather than held; a book has one million.
        if (mode == "blank-line" and not line) or size > MAX_DOCUMENT_CHARS:
            yield "\n".join(paragraphs)
            paragraphs, size = [], 0
        paragraphs.append(line)
        size += len(line)
    yield "\n".join(paragraphs)


def _up_to_text_after_a_blank_line(lines: Iterator[str]) -> list[str]:
    """The first lines, until a blank line has text on both sides, or 16 million characters went by."""
    head: list[str] = []
    size, blank_after_text = 0, False
    for line in lines:
        if not line and not size:
            continue
        head.append(line)
        size += len(line)
        if (line and blank_after_text) or size > MAX_DOCUMENT_CHARS:
            break
        blank_after_text = blank_after_text or not line
    return head
