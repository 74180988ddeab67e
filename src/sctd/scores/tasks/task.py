"""What a downstream task is: its examples, its labels, its files and its metrics. The tasks stand in `table.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "score", "choice", "word_pair", "span"]


@dataclass(frozen=True)
class TextExample:
    """A text or a pair with a label (kinds `text` and `score`).

    Args:
        id: names the example within its split, the same in every reading.
        first: the text, or the pair's first side.
        label: index into the task's labels, or the gold score.
        second: the pair's other side.
        group: examples that are scored together (MultiRC: the question's id).
    """

    id: str
    first: str
    label: float
    second: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class ChoiceExample:
    """Which of several continuations fits (kind `choice`); label is the index of the right one."""

    id: str
    premise: str
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class WordPairExample:
    """Whether a word means the same in two sentences (kind `word_pair`).

    Args:
        id: as in TextExample.
        word: the word's base form.
        first, second: the sentences.
        spans: (start, end) of the word in each, in characters; (-1, -1) where it was not found.
        label: index into the task's labels.
    """

    id: str
    word: str
    first: str
    second: str
    spans: tuple[tuple[int, int], tuple[int, int]]
    label: int


@dataclass(frozen=True)
class SpanExample:
    """A question about a text, answered by a span of it (kind `span`).

    Args:
        id: as in TextExample.
        question: the question.
        context: the text.
        answers: (text, start in characters) of each gold answer; empty where the text has none.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


def plain_spelling(name: str) -> str:
    """A task's name without what writers differ in: `SST-2`, `sst_2` and `sst2` are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def checksum_of(examples: Sequence[Any]) -> str:
    """SHA-256 of examples, by which results and overlaps are known to be of these."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


Example = TextExample | ChoiceExample | WordPairExample | SpanExample


# What a reader meets: where the row stands, for errors, and its fields by column.
Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class HubSource:
    """Where the Hugging Face hub has the task.

    Args:
        name: data set, such as `nyu-mll/glue`.
        config: its configuration, such as `cola`, or null.
        splits: our split -> the hub's (`train` -> `train`, `dev` -> `validation`, ...).
        columns: the hub's column -> the files', where the two differ.
    """

    name: str
    config: str | None
    splits: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One downstream task.

    Args:
        name: as in `--tasks`.
        title: as papers write it.
        kind: what its examples are, and so which head is fine-tuned.
        labels: the names of the labels, in the order of their indices (the hub's), as the official files write them.
        metrics: names in `sctd.scores.metrics.METRICS`; the first stands for the task in averages.
        files: split -> the names that its file may have, in the order of preference, each also with .gz, .xz or .zst.
            `train` and, in the order in which they are reported, what is scored: mostly `dev`.
        read: rows to examples: (rows, task) -> examples.
        hub: where the hub has it.
        official_rows: split -> number of rows of the official file, to mark what is a subset.
        header: the columns of a .tsv file whose official form has no header.
        copies: (split, first 12 digits of `checksum_of` its examples) -> what is known of that copy, to mark it in
            tables.
        max_length: longest sequence in tokens; a model's own limit counts too.
        epochs: passes over the training split: 3 (Devlin et al., 2019), or 10 for less than 10,000 official rows
            (Liu et al., 2019).
        empty_allowed: the official files have empty texts.
        ragged: the official files have lines of too few columns, which are passed over.
    """

    name: str
    title: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    read: Callable[[Iterable[Row], Task], list[Any]]
    hub: HubSource
    official_rows: Mapping[str, int]
    header: tuple[str, ...] = ()
    copies: Mapping[tuple[str, str], str] = field(default_factory=dict)
    max_length: int = 128
    epochs: int = 3
    empty_allowed: bool = False
    ragged: bool = False
