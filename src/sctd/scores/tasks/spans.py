"""Rows to examples, for SQuAD (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sctd.errors import UserError
from sctd.scores.tasks.rows import field, text_field
from sctd.scores.tasks.task import Row, SpanExample, Task


def squad(rows: Iterable[Row], task: Task) -> list[Any]:
    """id, question, context, answers {text, answer_start}; an answer that does not stand at its start is looked
    for nearby."""
    examples = []
    seen: set[str] = set()
    for row in rows:
        answers = field(row, ("answers",))
        context = text_field(row, ("context",))
        try:
            pairs = list(zip(answers["text"], answers["answer_start"], strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{row[0]}: its answers have no text and answer_start; mend or remove it.") from error
        if not pairs and task.name == "squad_v1":
            raise UserError(f"{row[0]} has no answer, and in SQuAD v1.1 every question has one; mend or remove it.")
        name = str(field(row, ("id",)))
        if name in seen:
            raise UserError(f"{row[0]}: its id stands there twice; mend or remove it.")
        seen.add(name)
        examples.append(
            SpanExample(
                id=name,
                question=text_field(row, ("question",)),
                context=context,
                answers=tuple(_answer(row, context, text, start) for text, start in pairs),
            )
        )
    return examples


def _answer(row: Row, context: str, text: Any, start: Any) -> tuple[str, int]:
    if not isinstance(text, str) or not text or not isinstance(start, int):
        raise UserError(f"{row[0]}: an answer is no text with a start; mend or remove it.")
    if context[start : start + len(text)] == text:
        return text, start
    places = [place for place in range(len(context) - len(text) + 1) if context.startswith(text, place)]
    if not places:
        raise UserError(f"{row[0]}: its answer {text!r} does not stand in the context; mend or remove it.")
    return text, min(places, key=lambda place: abs(place - start))
