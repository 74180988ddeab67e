"""Answers as spans of a text, in overlapping windows (Devlin et al., 2019, sections 4.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sctd.errors import UserError
from sctd.scores.encoder import Encoder
from sctd.scores.heads.head import Features, make
from sctd.scores.tasks.task import SpanExample, Task

LONGEST_ANSWER = 30  # tokens, as published
BEST = 20  # starts and ends that are tried with one another, as published
LONGEST_QUESTION = 64  # tokens, as published; a quarter of a shorter window


@dataclass(frozen=True)
class Window:
    """One input's part of its context.

    Args:
        offsets: (S, 2) characters (start, end) of each token in the context.
        first, last: the tokens of the context, last included; the rest is [CLS], question and [SEP].
    """

    offsets: np.ndarray
    first: int
    last: int


class SpanHead:
    """transformers' question answering: logits of the answer's first and last token; [CLS] stands for no answer."""

    def network(self, encoder: Encoder, task: Task, random_seed: int | None = None) -> Any:
        """See Head."""
        return make(encoder, "AutoModelForQuestionAnswering", random_seed)

    def features(
        self, encoder: Encoder, task: Task, examples: Sequence[SpanExample], max_length: int, training: bool
    ) -> Features:
        """See Head. Each question is cut to a quarter of max_length, 64 tokens at most; its context is cut into windows
        of what room is left, each beginning half a window after the one before, so that an answer of up to half a
        window stands whole in one of them."""
        tokenizer = encoder.tokenizer
        most = min(LONGEST_QUESTION, max_length // 4)
        questions, cut = _short_questions(tokenizer, [example.question for example in examples], most)
        features = Features([], [], cut=cut)
        for owner, (example, question) in enumerate(zip(examples, questions, strict=True)):
            taken = len(tokenizer(question, add_special_tokens=False)["input_ids"])
            room = max_length - taken - tokenizer.num_special_tokens_to_add(pair=True)
            encoded = encoder.encode(
                [question],
                [example.context],
                max_length=max_length,
                truncation="only_second",
                stride=room // 2,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
            for i in range(len(encoded["input_ids"])):
                inside = [place for place, side in enumerate(encoded.sequence_ids(i)) if side == 1]
                if not inside:
                    raise UserError(
                        f"{task.title}: the context of question {example.id} has no token that can be read "
                        f"({example.context[:40]!r}): mend or remove it."
                    )
                window = Window(np.asarray(encoded["offset_mapping"][i]), inside[0], inside[-1])
                one: dict[str, Any] = {name: encoded[name][i] for name in names}
                if training:
                    one["start_positions"], one["end_positions"] = answer_tokens(window, example.answers)
                features.inputs.append(one)
                features.owners.append(owner)
                features.extras.append(window)
        return features

    def predictions(
        self, task: Task, examples: Sequence[SpanExample], features: Features, outputs: Sequence[np.ndarray]
    ) -> list[Any]:
        """The likeliest span of each context over its windows; "" where no answer is likelier and the task has those.

        outputs: (S, 2) logits of start and end an input.
        """
        may_be_none = task.name == "squad_v2"
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(examples)
        none = [np.inf] * len(examples)
        for owner, window, logits in zip(features.owners, features.extras, outputs, strict=True):
            none[owner] = min(none[owner], float(logits[0].sum()))
            found = best_span(window, logits)
            if found is not None and found[0] > best[owner][0]:
                best[owner] = (found[0], examples[owner].context[found[1] : found[2]])
        return ["" if may_be_none and none[i] > score else text for i, (score, text) in enumerate(best)]


def _short_questions(tokenizer: Any, questions: list[str], most: int) -> tuple[list[str], int]:
    """Questions of at most `most` tokens, cut at the end of one, and how many were cut."""
    encoded = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    short, cut = [], 0
    for question, offsets in zip(questions, encoded["offset_mapping"], strict=True):
        if len(offsets) > most:
            question, cut = question[: offsets[most - 1][1]], cut + 1
        short.append(question)
    return short, cut


def answer_tokens(window: Window, answers: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """The first and last token of the first answer that stands whole in the window, or (0, 0): [CLS]."""
    starts = window.offsets[window.first : window.last + 1, 0]
    ends = window.offsets[window.first : window.last + 1, 1]
    for text, start in answers:
        end = start + len(text)
        if starts[0] <= start and end <= ends[-1]:
            # tokens that share a character with the answer
            first = int(np.searchsorted(ends, start, side="right"))
            last = int(np.searchsorted(starts, end, side="left")) - 1
            if first <= last:
                return window.first + first, window.first + last
    return 0, 0


def best_span(window: Window, logits: np.ndarray) -> tuple[float, int, int] | None:
    """(score, start, end) of the window's likeliest span of at most LONGEST_ANSWER tokens, in characters."""
    inside = slice(window.first, window.last + 1)
    start, end = logits[inside, 0], logits[inside, 1]
    starts, ends = np.argsort(-start, kind="stable")[:BEST], np.argsort(-end, kind="stable")[:BEST]
    length = ends[None, :] - starts[:, None] + 1
    scores = np.where((length > 0) & (length <= LONGEST_ANSWER), start[starts][:, None] + end[ends][None, :], -np.inf)
    i, j = np.unravel_index(int(np.argmax(scores)), scores.shape)
    if not np.isfinite(scores[i, j]):
        return None
    first, last = window.first + int(starts[i]), window.first + int(ends[j])
    return float(scores[i, j]), int(window.offsets[first, 0]), int(window.offsets[last, 1])
