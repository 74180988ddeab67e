"""Words in context: [CLS] and the word's vector in each sentence, joined (Wang et al., 2019, SuperGLUE, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sctd.scores.encoder import Encoder
from sctd.scores.heads.head import Features, argmax_by_owner, make
from sctd.scores.tasks.task import Task, WordPairExample


class WordPairHead:
    """A linear layer on [CLS] and the mean vector of the word's tokens in each sentence, (B, 3 H)."""

    def network(self, encoder: Encoder, task: Task, random_seed: int | None = None) -> Any:
        """See Head."""
        from sctd.scores.heads.word_pair_network import WordPairNetwork

        return WordPairNetwork(make(encoder, "AutoModel", random_seed), len(task.labels)).to(encoder.device)

    def features(
        self, encoder: Encoder, task: Task, examples: Sequence[WordPairExample], max_length: int, training: bool
    ) -> Features:
        """See Head. `word_weights` (2, S): for each sentence the share of each token in the word's vector; [CLS]'s
        where the word was not found or was cut."""
        encoded = encoder.encode([e.first for e in examples], [e.second for e in examples], max_length=max_length)
        names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
        inputs, cut = [], 0
        for i, example in enumerate(examples):
            one: dict[str, Any] = {name: encoded[name][i] for name in names}
            lost = False
            weights = np.zeros((2, len(one["input_ids"])), dtype=np.float32)
            for side, (start, end) in enumerate(example.spans):
                tokens = sorted(
                    {
                        token
                        for place in range(max(start, 0), end)
                        if (token := encoded.char_to_token(i, place, side)) is not None
                    }
                )
                weights[side, tokens or [0]] = 1 / max(len(tokens), 1)
                lost |= not tokens and start >= 0
            cut += lost
            one["word_weights"] = weights
            if training:
                one["labels"] = example.label
            inputs.append(one)
        return Features(inputs, list(range(len(examples))), cut=cut)

    def predictions(
        self, task: Task, examples: Sequence[WordPairExample], features: Features, outputs: Sequence[np.ndarray]
    ) -> list[Any]:
        """Label indices."""
        return argmax_by_owner(examples, features, outputs)
