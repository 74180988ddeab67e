"""How documents are found in what is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DocumentsMode = Literal["auto", "blank-line", "line", "file"]

# One bound for a line and for a document keeps memory flat whatever the input.
MAX_LINE_BYTES = 16 * 2**20
MAX_DOCUMENT_CHARS = 16 * 2**20


@dataclass(frozen=True)
class ReadOptions:
    """text_key: the JSON key or column with the text; documents: what a document is in a .txt file; split: the
    split of an `hf:` data set."""

    text_key: str = "text"
    documents: DocumentsMode = "auto"
    split: str = "train"
