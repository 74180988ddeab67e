"""A source to its documents, cleaned: non-empty paragraphs, one a line, of bounded length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sctd.errors import UserError
from sctd.remote import is_remote, open_remote
from sctd.text import hub
from sctd.text.compression import COMPRESSIONS, damage_errors
from sctd.text.formats import FORMATS
from sctd.text.options import MAX_DOCUMENT_CHARS, ReadOptions
from sctd.text.sources import Source, suffixes


def read_documents(source: Source, options: ReadOptions, advance: Callable[[int], None]) -> Iterator[str]:
    """Cleaned documents of one source, in order; `advance(n)` hears of every n bytes read from disk.

    Raises:
        UserError: the source cannot be read, is damaged or is not what its name says; names file and line.
    """
    from_hub = source.path.startswith(hub.PREFIX) and not is_remote(source.path)
    texts = hub.documents(source.path, options) if from_hub else _from_file(source, options, advance)
    for text in texts:
        cleaned = clean(text)
        if cleaned:
            yield from _cut(cleaned)


def clean(text: str) -> str:
    """Paragraphs stripped, empty ones dropped, one a line; lone surrogates (bad JSON escapes) become `?`."""
    paragraphs = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    joined = "\n".join(line for line in paragraphs if line)
    try:
        joined.encode()
    except UnicodeEncodeError:
        joined = joined.encode("utf-8", "replace").decode()
    return joined


def _cut(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > MAX_DOCUMENT_CHARS:
        end = text.rfind("\n", start, start + MAX_DOCUMENT_CHARS)
        end = end if end > start else start + MAX_DOCUMENT_CHARS
        yield text[start:end].strip()
        start = end
    if rest := text[start:].strip():
        yield rest


def _from_file(source: Source, options: ReadOptions, advance: Callable[[int], None]) -> Iterator[str]:
    kind = suffixes(Path(source.path))
    if kind is None:
        raise UserError(f"{source.path} is of a kind that sctd cannot read.")
    told = 0
    try:
        with open_remote(source.path) if is_remote(source.path) else Path(source.path).open("rb") as raw:
            stream = COMPRESSIONS[kind[1]](raw) if kind[1] else raw
            for text in FORMATS[kind[0]](stream, source.path, options):
                read = min(raw.tell(), source.bytes)
                if read > told:
                    advance(read - told)
                    told = read
                yield text
    except PermissionError as error:
        raise UserError(f"{source.path} cannot be read: {error.strerror}.") from error
    except damage_errors() as error:
        raise UserError(
            f"{source.path} is damaged or not a {kind[1] or kind[0]} file ({error}): get it again, or leave it out."
        ) from error
    advance(source.bytes - told)
