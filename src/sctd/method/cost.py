"""What a training step costs in multiply-adds: the count that measured step times are held against.

Matrix products alone: everything else (norms, activations, rows taken and put back, the optimizer) moves memory, and a
measurement, not a count, says what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from sctd.config import PretrainConfig, resolve_shape
from sctd.errors import UserError
from sctd.method.route import ROUTES, Route
from sctd.method.selection import kept_count
from sctd.method.step_plan import StepKind, StepPlan

BACKWARD = 2  # times the forward pass: the gradients of the inputs and of the weights


@dataclass(frozen=True)
class Shape:
    """What the count needs to know.

    Args:
        num_layers: L.
        hidden_size: H.
        intermediate_size: width of the feed-forward layers.
        vocab_size: V.
        length: S, tokens a sequence.
        predictions: P, rows a sequence that are predicted.
        kept: K, rows a sequence that the middle layers process.
        compared: R, rows a sequence that a consistency step compares.
        share_prefix: as `consistency.share_prefix`.
        route: the way through the middle layers; null: the published one.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    length: int
    predictions: int
    kept: int
    compared: int = 1
    share_prefix: bool = True
    route: Route | None = None

    @classmethod
    def of(cls, config: PretrainConfig, vocab_size: int, length: int) -> Shape:
        """From the settings and the data; of a dense model that cannot drop tokens, without a route."""
        layers, hidden, _, intermediate = resolve_shape(config.model)
        kept = kept_count(config.dropping.keep_ratio, length)
        try:
            route = Route.of(config.dropping, layers)
        except UserError:
            if config.method != "dense":
                raise
            route = None
        return cls(
            layers,
            hidden,
            intermediate,
            vocab_size,
            length,
            int(config.masking.mlm_probability * length),
            kept,
            kept if config.consistency.place == "mean" else 1,
            config.consistency.share_prefix,
            route,
        )

    def layer(self, queries: int, keys: int) -> int:
        """A layer whose queries and feed-forward run at some rows, and whose keys and values at as many or more."""
        width = self.hidden_size
        projections = 2 * (queries + keys) * width**2
        attention = 2 * queries * keys * width
        return projections + attention + 2 * queries * width * self.intermediate_size

    def head(self, rows: int) -> int:
        """The masked-LM head."""
        return rows * self.hidden_size * (self.hidden_size + self.vocab_size)

    def forward(self, kind: StepKind) -> int:
        """Forward pass of one sequence in a step of this kind."""
        full = self.layer(self.length, self.length)
        last = self.num_layers - 1
        if kind == "dense":
            return last * full + self._last(self.predictions)
        route = self.route or Route("hybrid", self.num_layers // 2 - 1, last)
        read = self.predictions + (self.compared if kind == "consistency" else 0)
        keys = self.length if ROUTES[route.name].reads_all else self.kept  # of the first middle layer
        middle = self.layer(self.kept, keys) + (route.end - route.start - 1) * self.layer(self.kept, self.kept)
        dropped = (route.start + last - route.end) * full + middle + self._last(read)
        if kind == "drop":
            return dropped
        own_prefix = 0 if self.share_prefix else route.start * full
        return dropped + own_prefix + (last - route.start) * full + self._last(read)

    def _last(self, rows: int) -> int:
        """The last layer at the rows that are read, and the head at the predicted ones."""
        return self.layer(rows, self.length) + self.head(self.predictions)

    def training(self, kind: StepKind) -> int:
        """Forward and backward pass of one sequence, where every loss has its gradient (variant `paper`)."""
        return (1 + BACKWARD) * self.forward(kind)

    def mean_training(self, plan: StepPlan) -> float:
        """The mean over a run's steps."""
        return sum(share * self.training(kind) for kind, share in plan.shares().items())

    def plain_training(self) -> int:
        """Forward and backward pass of a BERT whose every layer and head run at all rows."""
        forward = self.num_layers * self.layer(self.length, self.length) + self.head(self.length)
        return (1 + BACKWARD) * forward
