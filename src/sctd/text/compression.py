"""Compressed files as streams of bytes. A new compression is one function and one line in COMPRESSIONS."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import IO, Any

BUFFER_BYTES = 2**20  # the modules' own readline is Python and slow; the buffer's is not
PACKED_BYTES = 2**10  # unpacked at once: zstd makes up to 32 MiB of these, xz 7 MiB
XZ_BYTES = 256 * 2**20  # of memory to unpack xz; `xz -9` needs 65 MiB, and a header may ask for 4 GiB


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    import gzip

    return io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES)


def _xz(raw: IO[bytes]) -> IO[bytes]:
    import lzma

    return io.BufferedReader(_Frames(raw, lambda: lzma.LZMADecompressor(memlimit=XZ_BYTES)), BUFFER_BYTES)


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    import zstandard

    return io.BufferedReader(_Frames(raw, zstandard.ZstdDecompressor().decompressobj), BUFFER_BYTES)


COMPRESSIONS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {".gz": _gzip, ".xz": _xz, ".zst": _zstd}


def damage_errors() -> tuple[type[Exception], ...]:
    """What the streams raise for bytes that are cut, altered or of another kind."""
    import lzma

    import zstandard

    return (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)


class _Frames(io.RawIOBase):
    """Streams that follow one another; one that was cut raises EOFError, which zstandard's own reader does not.

    Args:
        raw: the compressed bytes.
        new_frame: makes what unpacks the next stream, with `decompress`, `eof` and `unused_data`.
    """

    def __init__(self, raw: IO[bytes], new_frame: Callable[[], Any]) -> None:
        self._raw, self._new_frame = raw, new_frame
        self._frame: Any = None
        self._padded = False  # zeros may follow a stream, but not come before the first
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            packed, self._packed = self._packed or self._raw.read(PACKED_BYTES), b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("compressed data ended before the end of the stream")
                return 0
            if self._frame is None:
                if self._padded:
                    packed = packed.lstrip(b"\0")
                if not packed:
                    continue
                self._frame = self._new_frame()
            self._plain = memoryview(self._frame.decompress(packed))
            if self._frame.eof:
                self._packed, self._frame, self._padded = self._frame.unused_data, None, True
        part, self._plain = self._plain[: len(buffer)], self._plain[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
