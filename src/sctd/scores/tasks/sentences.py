"""Rows to examples, for tasks that are a text or a pair with a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sctd.errors import UserError
from sctd.scores.tasks.rows import field, label_field, text_field
from sctd.scores.tasks.task import Row, Task, TextExample

HIGHEST = 5.0  # of STS-B's scores


def texts(
    first: str, second: str | None = None, label: str = "label", *others: str
) -> Callable[[Iterable[Row], Task], list[Any]]:
    """A reader of the columns `first` and `second` (`this|that` where files differ), the label in `label` or one of
    the others."""
    firsts, seconds = tuple(first.split("|")), () if second is None else tuple(second.split("|"))

    def read(rows: Iterable[Row], task: Task) -> list[Any]:
        examples = []
        for number, row in enumerate(rows):
            examples.append(
                TextExample(
                    id=str(number),
                    first=text_field(row, firsts, empty_allowed=task.empty_allowed),
                    second=text_field(row, seconds, empty_allowed=task.empty_allowed) if seconds else None,
                    label=_score(row, label)
                    if task.kind == "score"
                    else label_field(row, (label, *others), task.labels),
                )
            )
        return examples

    return read


def reviews(rows: Iterable[Row], task: Task) -> list[Any]:
    """IMDB's `text` and `label`; line breaks, which it writes as <br />, become spaces."""

    def plain() -> Iterator[Row]:
        for place, row in rows:
            text = text_field((place, row), ("text",)).replace("<br />", " ")
            yield place, {**row, "text": text}

    return texts("text")(plain(), task)


def _score(row: Row, name: str) -> float:
    value = field(row, (name, "label"))
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{row[0]}: the score {value!r} is no number; mend or remove the row.") from error
    if not 0 <= score <= HIGHEST:
        raise UserError(f"{row[0]}: the score {score:g} is not in [0, {HIGHEST:g}]; mend or remove the row.")
    return score
