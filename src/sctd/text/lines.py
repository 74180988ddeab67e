"""Bytes to lines of text: UTF-8 or a sentence, never more than one bounded line in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from sctd.errors import UserError
from sctd.text.options import MAX_LINE_BYTES


def text_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Pairs of (line number from 1, line without its line end).

    Raises:
        UserError: a line is longer than 16 MiB, is not UTF-8 or holds a NUL byte; names file and line.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise UserError(
                f"{name}, line {number}, is longer than {MAX_LINE_BYTES // 2**20} MiB: "
                "break it into lines of one paragraph each."
            )
        if b"\0" in line:
            raise UserError(
                f"{name}, line {number}, holds a NUL byte: this is no text, which is to be left out, or UTF-16, which "
                "iconv -f utf-16 -t utf-8 changes."
            )
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}, line {number}, is not UTF-8 (byte 0x{line[error.start]:02x} at {error.start}): "
                "convert it with iconv, or leave it out."
            ) from error
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield number, text.rstrip("\r\n")
