"""What a head is: from examples to a network's inputs, and from its outputs to predictions. One file a kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sctd.scores.encoder import Encoder
from sctd.scores.tasks.task import Example, Task


@dataclass
class Features:
    """What a network reads of some examples.

    Args:
        inputs: one dict an input: lists of ids (S,) or (C, S), masks, labels; `collate` pads them.
        owners: for each input the index of its example.
        extras: for each input what only the head itself needs (a window's place in its text, ...).
        cut: examples of which the network does not see everything.
    """

    inputs: list[dict[str, Any]]
    owners: list[int]
    extras: list[Any] = field(default_factory=list)
    cut: int = 0

    def __len__(self) -> int:
        return len(self.inputs)


class Head(Protocol):
    """A kind of task; the table of heads is `sctd.scores.heads.HEADS`."""

    def network(self, encoder: Encoder, task: Task, random_seed: int | None = None) -> Any:
        """Encoder and head; with random_seed, the encoder's weights are random too. Draws from torch's generator."""

    def features(
        self, encoder: Encoder, task: Task, examples: Sequence[Any], max_length: int, training: bool
    ) -> Features:
        """Inputs for training, with labels, or for scoring, without."""

    def predictions(
        self, task: Task, examples: Sequence[Any], features: Features, outputs: Sequence[np.ndarray]
    ) -> list[Any]:
        """One prediction an example, as `sctd.scores.metrics.score` wants them, from one output an input."""


def collate(inputs: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """Inputs to tensors: lists padded to the longest of the batch, `input_ids` with pad_id, all else with 0."""
    import torch

    batch = {}
    for name in inputs[0]:
        values = [np.asarray(one[name]) for one in inputs]
        largest = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        padded = np.full((len(values), *largest), pad_id if name == "input_ids" else 0, dtype=values[0].dtype)
        for i, value in enumerate(values):
            corner: tuple[Any, ...] = (i, *map(slice, value.shape))
            padded[corner] = value
        tensor = torch.from_numpy(padded)
        batch[name] = tensor.float() if tensor.is_floating_point() else tensor.long()
    return batch


def length(one: dict[str, Any]) -> int:
    """Tokens that an input costs."""
    return int(np.size(one["input_ids"]))


def argmax_by_owner(examples: Sequence[Example], features: Features, outputs: Sequence[np.ndarray]) -> list[int]:
    """The label with the largest logit of each example's one input."""
    labels = [0] * len(examples)
    for owner, logits in zip(features.owners, outputs, strict=True):
        labels[owner] = int(np.argmax(logits))
    return labels


def make(encoder: Encoder, kind: str, random_seed: int | None, **settings: Any) -> Any:
    """A transformers class with the encoder's weights under a new head, or with random ones."""
    if random_seed is None:
        return encoder.network(kind) if kind == "AutoModel" else encoder.with_new_head(kind, **settings)
    return encoder.random_network(random_seed, kind, **settings)
