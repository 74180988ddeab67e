"""Texts and pairs: a linear layer on the pooled [CLS] (Devlin et al., 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sctd.scores.encoder import Encoder
from sctd.scores.heads.head import Features, argmax_by_owner, make
from sctd.scores.tasks.task import Task, TextExample


class TextHead:
    """transformers' sequence classification; labels, or one score by squared error."""

    def network(self, encoder: Encoder, task: Task, random_seed: int | None = None) -> Any:
        """See Head."""
        if task.kind == "score":
            return make(
                encoder, "AutoModelForSequenceClassification", random_seed, num_labels=1, problem_type="regression"
            )
        return make(encoder, "AutoModelForSequenceClassification", random_seed, num_labels=len(task.labels))

    def features(
        self, encoder: Encoder, task: Task, examples: Sequence[TextExample], max_length: int, training: bool
    ) -> Features:
        """See Head."""
        first = [example.first for example in examples]
        second = [example.second or "" for example in examples] if examples[0].second is not None else None
        inputs, cut = encode_texts(encoder, first, second, max_length)
        if training:
            for one, example in zip(inputs, examples, strict=True):
                one["labels"] = float(example.label) if task.kind == "score" else int(example.label)
        return Features(inputs, list(range(len(examples))), cut=len(cut))

    def predictions(
        self, task: Task, examples: Sequence[TextExample], features: Features, outputs: Sequence[np.ndarray]
    ) -> list[Any]:
        """Label indices, or scores."""
        if task.kind == "score":
            return [float(output.reshape(())) for output in outputs]
        return argmax_by_owner(examples, features, outputs)


def encode_texts(
    encoder: Encoder, first: list[str], second: list[str] | None, max_length: int
) -> tuple[list[dict[str, Any]], list[int]]:
    """Inputs of texts or pairs, and which of them were cut at max_length (of pairs, the longer side is)."""
    encoded = encoder.encode(first, second, max_length=max_length)
    names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
    inputs = [{name: encoded[name][i] for name in names} for i in range(len(first))]
    full = [i for i, one in enumerate(inputs) if len(one["input_ids"]) == max_length]
    cut = []
    for i in full:  # only these can have been cut
        whole = encoder.encode([first[i]], None if second is None else [second[i]], truncation=False, verbose=False)
        if len(whole["input_ids"][0]) > max_length:
            cut.append(i)
    return inputs, cut
