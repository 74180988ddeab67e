"""Multiple choice: each choice is read beside the premise and given one logit (Radford et al., 2018, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sctd.scores.encoder import Encoder
from sctd.scores.heads.head import Features, argmax_by_owner, make
from sctd.scores.heads.text import encode_texts
from sctd.scores.tasks.task import ChoiceExample, Task


class ChoiceHead:
    """transformers' multiple choice; inputs of (C, S)."""

    def network(self, encoder: Encoder, task: Task, random_seed: int | None = None) -> Any:
        """See Head."""
        return make(encoder, "AutoModelForMultipleChoice", random_seed)

    def features(
        self, encoder: Encoder, task: Task, examples: Sequence[ChoiceExample], max_length: int, training: bool
    ) -> Features:
        """See Head."""
        first = [example.premise for example in examples for _ in example.choices]
        second = [choice for example in examples for choice in example.choices]
        encoded, cut = encode_texts(encoder, first, second, max_length)
        inputs: list[dict[str, Any]] = []
        place = 0
        for example in examples:
            choices = encoded[place : place + len(example.choices)]
            place += len(example.choices)
            longest = max(len(one["input_ids"]) for one in choices)
            joined: dict[str, Any] = {}
            for name in choices[0]:
                fill = encoder.tokenizer.pad_token_id if name == "input_ids" else 0
                joined[name] = [one[name] + [fill] * (longest - len(one[name])) for one in choices]
            if training:
                joined["labels"] = example.label
            inputs.append(joined)
        owners = [number for number, example in enumerate(examples) for _ in example.choices]
        return Features(inputs, list(range(len(examples))), cut=len({owners[i] for i in cut}))

    def predictions(
        self, task: Task, examples: Sequence[ChoiceExample], features: Features, outputs: Sequence[np.ndarray]
    ) -> list[Any]:
        """The index of the likeliest choice."""
        return argmax_by_owner(examples, features, outputs)
