"""File formats. A new one is one small file with a `documents` function and one line in FORMATS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

from sctd.text.formats import csv, jsonl, parquet, txt
from sctd.text.options import ReadOptions

# (stream of plain bytes, file name for error sentences, options) -> raw texts of documents
Format = Callable[[IO[bytes], str, ReadOptions], Iterator[str]]

FORMATS: dict[str, Format] = {
    ".txt": txt.documents,
    ".jsonl": jsonl.documents,
    ".csv": csv.documents,
    ".parquet": parquet.documents,
}
