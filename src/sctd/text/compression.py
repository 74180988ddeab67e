"""Compressed files as streams of bytes. A new compression is one function and one line in COMPRESSIONS."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import IO, Any

BUFFER_BYTES = 2**20  # the modules' own readline is Python and slow; the buffer's is not


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    import gzip

    return io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES)


def _xz(raw: IO[bytes]) -> IO[bytes]:
    import lzma

    return io.BufferedReader(lzma.LZMAFile(raw), BUFFER_BYTES)


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(_ZstdStream(raw), BUFFER_BYTES)


COMPRESSIONS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {".gz": _gzip, ".xz": _xz, ".zst": _zstd}


def damage_errors() -> tuple[type[Exception], ...]:
    """What the streams raise for bytes that are cut, altered or of another kind."""
    import lzma

    import zstandard

    return (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)


class _ZstdStream(io.RawIOBase):
    """zstandard's own reader takes a file that was cut for one that has ended; this one raises EOFError."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._raw = raw
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._packed = b""
        self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            self._packed = self._packed or self._raw.read(2**17)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("compressed data ended before the end of the stream")
                return 0
            if self._frame is None:
                self._frame = self._new_frame()
            self._plain, self._packed = self._frame.decompress(self._packed), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        part, self._plain = self._plain[: len(buffer)], self._plain[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
