"""Rows to examples, for SuperGLUE's tasks that are more than a text or a pair (Wang et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sctd.errors import UserError
from sctd.scores.tasks.rows import field, label_field, text_field
from sctd.scores.tasks.task import ChoiceExample, Row, Task, TextExample, WordPairExample

# COPA's question, as a sentence after the premise
COPA_QUESTIONS = {"cause": "What was the cause?", "effect": "What happened as a result?"}


def copa(rows: Iterable[Row], task: Task) -> list[Any]:
    """premise, question, choice1, choice2, label 0 or 1."""
    examples = []
    for number, row in enumerate(rows):
        question = text_field(row, ("question",))
        if question not in COPA_QUESTIONS:
            raise UserError(f"{row[0]}: the question {question!r} is neither cause nor effect; mend or remove the row.")
        examples.append(
            ChoiceExample(
                id=str(number),
                premise=f"{text_field(row, ('premise',))} {COPA_QUESTIONS[question]}",
                choices=(text_field(row, ("choice1",)), text_field(row, ("choice2",))),
                label=label_field(row, ("label",), task.labels),
            )
        )
    return examples


def wic(rows: Iterable[Row], task: Task) -> list[Any]:
    """word, sentence1, sentence2, start1, end1, start2, end2, label."""
    examples = []
    for number, row in enumerate(rows):
        sentences = (text_field(row, ("sentence1",)), text_field(row, ("sentence2",)))
        spans = tuple(_span(row, side, len(sentence)) for side, sentence in zip("12", sentences, strict=True))
        examples.append(
            WordPairExample(
                id=str(number),
                word=text_field(row, ("word",)),
                first=sentences[0],
                second=sentences[1],
                spans=(spans[0], spans[1]),
                label=label_field(row, ("label",), task.labels),
            )
        )
    return examples


def _span(row: Row, side: str, length: int) -> tuple[int, int]:
    start, end = field(row, (f"start{side}",)), field(row, (f"end{side}",))
    try:
        start, end = int(start), int(end)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{row[0]}: start{side} or end{side} is no number; mend or remove the row.") from error
    if start < 0:
        return -1, -1  # not found when the copy was made
    if not start < end <= length:
        raise UserError(
            f"{row[0]}: start{side} {start} and end{side} {end} are no part of sentence{side}, which has {length} "
            "characters; mend or remove the row."
        )
    return start, end


def multirc(rows: Iterable[Row], task: Task) -> list[Any]:
    """An example an answer option, grouped by question; SuperGLUE's nested rows, or one row an option."""
    return [
        TextExample(
            id=str(number),
            first=text_field(row, ("passage", "paragraph")),
            second=f"{text_field(row, ('question',))} {text_field(row, ('answer',))}",
            label=label_field(row, ("label",), task.labels),
            group=str(field(row, ("qid",))),
        )
        for number, row in enumerate(_options(rows))
    ]


def _options(rows: Iterable[Row]) -> Iterator[Row]:
    """One row an answer option, with `qid` naming its question."""
    for number, (place, row) in enumerate(rows):
        passage, idx = row.get("passage"), row.get("idx")
        if isinstance(passage, dict):
            yield from _nested(place, passage, number)
        elif isinstance(idx, dict) and "qid" not in row:  # the hub's
            yield place, {**row, "qid": f"{idx.get('paragraph')}-{idx.get('question')}"}
        else:
            yield place, row


def _nested(place: str, passage: dict[str, Any], number: int) -> Iterator[Row]:
    try:
        for question in passage["questions"]:
            for answer in question["answers"]:
                yield (
                    place,
                    {
                        "passage": passage["text"],
                        "question": question["question"],
                        "answer": answer["text"],
                        "label": answer["label"],
                        "qid": f"{number}-{question['idx']}",
                    },
                )
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{place} is not of MultiRC's form (passage / text, questions / question, idx, answers / text, label; "
            f"{error!r}): mend it."
        ) from error
