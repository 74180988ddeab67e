"""Apache Parquet: one document a row, read a few rows at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sctd.errors import UserError, first_line
from sctd.text.options import ReadOptions

ROWS_AT_ONCE = 256


def documents(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """One document a row; nulls are skipped."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{name}: reading .parquet needs the package pyarrow: pip install 'sctd[datasets]'.") from error
    with tempfile.TemporaryFile() as plain:
        if Path(name).suffix != ".parquet":  # Parquet is read from its end: unpack what is compressed outside
            shutil.copyfileobj(stream, plain, 2**20)
            stream = plain
        try:
            file = pyarrow.parquet.ParquetFile(stream)
            if options.text_key not in file.schema_arrow.names:
                raise UserError(
                    f"{name} has no column {options.text_key!r} (columns: "
                    f"{', '.join(file.schema_arrow.names[:20])}): name the right one with --text-key."
                )
            kind = file.schema_arrow.field(options.text_key).type
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise UserError(
                    f"{name}: the column {options.text_key!r} holds {kind}, not text: name another one with --text-key."
                )
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[options.text_key]):
                yield from (text for text in batch.column(0).to_pylist() if text is not None)
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{name} is damaged or not Parquet ({first_line(error)}): get the file again, or leave it out."
            ) from error
