"""Sentence probes in SentEval's file form (Conneau and Kiela, 2018): `tr|va|te TAB label TAB sentence`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sctd.errors import UserError
from sctd.recipe import did_you_mean
from sctd.text.lines import text_lines

SPLITS = {"tr": "training", "va": "validation", "te": "test"}


@dataclass(frozen=True)
class ProbeSplit:
    """Sentences and the label of each."""

    sentences: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Probe:
    """One probing task: its name, the path below the data folder without .txt, and its splits tr, va and te."""

    name: str
    splits: dict[str, ProbeSplit]


def load_probes(data: str, names: list[str] | None) -> list[Probe]:
    """The chosen probes of a folder and of the folders below it, by name.

    Raises:
        UserError: no files, an unknown name, or a file of another form.
    """
    folder = Path(data)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of probing files.")
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.txt"))}
    if not files:
        raise UserError(f"{folder} has no .txt files: give the folder of probing files in SentEval's form.")
    for name in names or []:
        if name not in files:
            nearest = did_you_mean(name, files, f"there are {', '.join(files)}")
            raise UserError(f'there is no probe "{name}"; {nearest}')
    return [load_probe(name, files[name]) for name in names or files]


def load_probe(name: str, path: Path) -> Probe:
    """One file; UserError, naming file and line, for what is not of the form."""
    splits = {split: ProbeSplit([], []) for split in SPLITS}
    try:
        with path.open("rb") as file:
            for number, line in text_lines(file, str(path)):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                cells = line.split("\t")
                if len(cells) != 3:
                    raise UserError(
                        f"{place} has {len(cells)} columns where there are 3 (split, label, sentence): mend the file."
                    )
                split, label, sentence = cells
                if split not in splits:
                    raise UserError(f"{place}: the split {split!r} is none of tr, va, te; mend or remove the line.")
                if not label.strip() or not sentence.strip():
                    raise UserError(f"{place} has an empty label or sentence: mend or remove the line.")
                splits[split].labels.append(label)
                splits[split].sentences.append(sentence)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}; leave it out of --tasks.") from error
    for split, meaning in SPLITS.items():
        if not splits[split].labels:
            raise UserError(f"{path} has no line of split {split} ({meaning}): bring a whole copy.")
    known = set(splits["tr"].labels)
    if len(known) < 2:
        raise UserError(f"{path} has one label alone in its training split: a probe wants two or more.")
    for split in ("va", "te"):
        new = set(splits[split].labels) - known
        if new:
            raise UserError(f"{path}: the label {min(new)!r} of split {split} is not in its training split; mend it.")
    return Probe(name, splits)
