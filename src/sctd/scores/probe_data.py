"""Sentence probes in SentEval's file form (Conneau and Kiela, 2018): `tr|va|te TAB label TAB sentence`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sctd.console import say
from sctd.errors import UserError
from sctd.files import sha256_file
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
    """One probing task: its name, the path below the data folder without .txt, its file's checksum, its splits."""

    name: str
    sha256: str
    splits: dict[str, ProbeSplit]


def load_probes(data: str, names: Sequence[str] = ()) -> list[Probe]:
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
    for name in names:
        if name not in files:
            nearest = did_you_mean(name, files, f"there are {', '.join(files)}")
            raise UserError(f'there is no probe "{name}"; {nearest}')
    return [load_probe(name, files[name]) for name in dict.fromkeys(names or files)]


def load_probe(name: str, path: Path) -> Probe:
    """One file; UserError, naming file and line, for what is not of the form."""
    splits = {split: ProbeSplit([], []) for split in SPLITS}
    first: dict[tuple[str, str], int] = {}  # (split, label) -> line
    try:
        with path.open("rb") as file:
            for number, line in text_lines(file, str(path)):
                place = f"{path}, line {number}"
                cells = line.split("\t")
                if len(cells) != 3:
                    raise UserError(
                        f"{place} has {len(cells)} columns where there are 3 (split, label, sentence, with tabs "
                        "between): mend the file."
                    )
                split, label, sentence = cells
                if split not in splits:
                    raise UserError(f"{place}: the split {split!r} is none of tr, va, te; mend or remove the line.")
                if not label.strip() or not sentence.strip():
                    raise UserError(f"{place} has an empty label or sentence: mend or remove the line.")
                first.setdefault((split, label), number)
                splits[split].labels.append(label)
                splits[split].sentences.append(sentence)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}; leave it out of --tasks.") from error
    for split, meaning in SPLITS.items():
        if not splits[split].labels:
            raise UserError(f"{path} has no line of split {split} ({meaning}): bring a whole copy.")
        if len(set(splits[split].labels)) < 2:
            raise UserError(f"{path} has one label alone in its {meaning} split: a probe wants two or more.")
    for (split, label), number in first.items():
        if ("tr", label) not in first:  # SentEval-form files in use have some
            rows = splits[split].labels.count(label)
            say(
                f"{path}, line {number}: the label {label!r} of split {split} is not in the training split; its rows "
                f"({rows:,}) count as wrong."
            )
    return Probe(name, sha256_file(path), splits)


def subset(probe: Probe, most: int | None, seed: int, splits: Sequence[str] = ("tr",)) -> Probe:
    """The probe with at most `most` sentences in these splits, drawn by the seed; in training one of each label too.

    Raises:
        UserError: there are more labels than that.
    """
    import numpy as np

    if most is None:
        return probe
    chosen = dict(probe.splits)
    for split in splits:
        rows = probe.splits[split]
        if most >= len(rows.labels):
            continue
        order = np.random.default_rng(seed).permutation(len(rows.labels)).tolist()
        first: dict[str, int] = {}
        if split == "tr":
            for i in order:
                first.setdefault(rows.labels[i], i)
            if len(first) > most:
                raise UserError(
                    f"--max-train is {most} and {probe.name} has {len(first):,} labels: give as many at least."
                )
        needed = set(first.values())
        kept = sorted([*needed, *(i for i in order if i not in needed)][:most])
        chosen[split] = ProbeSplit([rows.sentences[i] for i in kept], [rows.labels[i] for i in kept])
    return replace(probe, splits=chosen)
