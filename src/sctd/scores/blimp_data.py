"""BLiMP's minimal pairs (Warstadt et al., 2020): from files, or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctd.errors import UserError, first_line
from sctd.recipe import did_you_mean
from sctd.scores.tasks.rows import jsonl_rows
from sctd.text.compression import COMPRESSIONS

HUB = "nyu-mll/blimp"
FIELDS = ("sentence_good", "sentence_bad", "UID", "linguistics_term", "field")


@dataclass(frozen=True)
class MinimalPairs:
    """One set of minimal pairs.

    Args:
        name: the set's UID, such as `adjunct_island`.
        phenomenon: `linguistics_term`, such as `island_effects`; the files have 13.
        field: syntax, semantics, morphology or syntax_semantics.
        pairs: (good, bad) sentences.
    """

    name: str
    phenomenon: str
    field: str
    pairs: tuple[tuple[str, str], ...]


def load_pairs(data: str | None, names: list[str] | None, most: int | None) -> list[MinimalPairs]:
    """The chosen sets, by name.

    Args:
        data: folder with a .jsonl file for each set, plain or compressed; null: the hub.
        names: sets or phenomena; null: all.
        most: take the first so many pairs of each set; null: all.

    Raises:
        UserError: no files, a row of another form, an unknown name, or no hub.
    """
    sets = _from_hub(most) if data is None else _from_folder(Path(data), most)
    if names is None:
        return sets
    known = {each.name for each in sets} | {each.phenomenon for each in sets}
    for name in names:
        if name not in known:
            nearest = did_you_mean(name, sorted(known), f"there are {', '.join(sorted({e.phenomenon for e in sets}))}")
            raise UserError(f'there is no set or phenomenon "{name}"; {nearest}')
    return [each for each in sets if each.name in names or each.phenomenon in names]


def _from_folder(folder: Path, most: int | None) -> list[MinimalPairs]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of BLiMP's .jsonl files.")
    endings = tuple(".jsonl" + ending for ending in ("", *COMPRESSIONS))
    files = sorted(path for path in folder.iterdir() if path.name.endswith(endings))
    if not files:
        raise UserError(f"{folder} has no .jsonl files: give the folder of BLiMP's.")
    sets: dict[str, MinimalPairs] = {}
    for file in files:
        found = _set(str(file), jsonl_rows(file), most)
        if found.name in sets:
            raise UserError(f"{file} holds the set {found.name}, as another file there does: remove one of them.")
        sets[found.name] = found
    return list(sets.values())


def _set(place: str, rows: Iterator[tuple[str, Any]], most: int | None) -> MinimalPairs:
    pairs: list[tuple[str, str]] = []
    about: tuple[str, str, str] | None = None
    for here, row in rows:
        for name in FIELDS:
            value = row.get(name)
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"{here}: {name!r} is missing or empty: mend or remove the line.")
        this = (row["UID"], row["linguistics_term"], row["field"].replace("/", "_"))  # one file has a slash
        if about is not None and this != about:
            raise UserError(f"{here} is of {', '.join(this)}, the lines before of {', '.join(about)}: one set a file.")
        about = this
        if most is None or len(pairs) < most:
            pairs.append((row["sentence_good"], row["sentence_bad"]))
    if about is None:
        raise UserError(f"{place} has no pairs: bring a whole copy.")
    return MinimalPairs(*about, tuple(pairs))


def _from_hub(most: int | None) -> list[MinimalPairs]:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "datasets is not installed: pip install 'sctd[evaluate]' brings it, or give --data the folder of BLiMP's "
            "files."
        ) from error
    try:
        loaded = {
            name: datasets.load_dataset(HUB, name, split="train") for name in datasets.get_dataset_config_names(HUB)
        }
    except Exception as error:  # its network library's errors come through as they are
        raise UserError(
            f"hf:{HUB} cannot be had from the Hugging Face hub ({first_line(error)}): check the connection, or give "
            "--data the folder of BLiMP's files."
        ) from error
    return [
        _set(f"hf:{HUB} {name}", ((f"hf:{HUB} {name}, row {i}", row) for i, row in enumerate(rows)), most)
        for name, rows in sorted(loaded.items())
    ]
