"""Hugging Face datasets: `hf:NAME`, `hf:NAME:CONFIG` or `hf:FOLDER`, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sctd.errors import UserError, first_line
from sctd.text.options import ReadOptions

PREFIX = "hf:"


def documents(place: str, options: ReadOptions) -> Iterator[str]:
    """One document a row of the split; nulls are skipped. Memory is flat: rows are streamed, nothing is kept.

    Raises:
        UserError: `datasets` is not installed; the data set, split or column is absent or cannot be reached.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{place}: reading a Hugging Face data set needs the package datasets: pip install 'sctd[datasets]'."
        ) from error
    name, _, config = place.removeprefix(PREFIX).partition(":")
    try:
        if (Path(name) / "dataset_dict.json").exists() or (Path(name) / "state.json").exists():
            loaded = datasets.load_from_disk(name)
            rows = loaded[options.split] if isinstance(loaded, dict) else loaded
            rows.data.table.validate(full=True)  # Arrow reads wherever a damaged file points
        else:
            rows = datasets.load_dataset(name, config or None, split=options.split, streaming=True)
        for number, row in enumerate(rows):
            if options.text_key not in row:
                raise UserError(
                    f"{place} has no column {options.text_key!r} (columns: {', '.join(row)}): "
                    "name the right one with --text-key."
                )
            text = row[options.text_key]
            if text is not None and not isinstance(text, str):
                raise UserError(
                    f"{place}, row {number}: {options.text_key!r} holds a {type(text).__name__}, not a text: "
                    "name another column with --text-key."
                )
            if text is not None:
                yield text
    except UserError:
        raise
    except Exception as error:  # datasets raises whatever its parsers and its network library raise
        raise UserError(
            f"{place}, split {options.split!r}, cannot be read ({first_line(error)}): "
            "check the name, --split and the connection."
        ) from error
