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

    def runs(self, kind: StepKind) -> list[tuple[int, int]]:
        """(rows of queries, rows of keys) of every layer that a sequence runs through in a step of this kind.

        Both passes of a consistency step, one after the other; a last layer runs at the rows that are read.
        """
        last = self.num_layers - 1
        full = (self.length, self.length)
        if kind == "dense":
            return [full] * last + [(self.predictions, self.length)]
        route = self.route or Route("hybrid", self.num_layers // 2 - 1, last)
        read = (self.predictions + (self.compared if kind == "consistency" else 0), self.length)
        keys = self.length if ROUTES[route.name].reads_all else self.kept  # of the first middle layer
        middle = [(self.kept, keys)] + [(self.kept, self.kept)] * (route.end - route.start - 1)
        dropped = [full] * route.start + middle + [full] * (last - route.end) + [read]
        if kind == "drop":
            return dropped
        own_prefix = 0 if self.share_prefix else route.start
        return dropped + [full] * (own_prefix + last - route.start) + [read]

    def heads(self, kind: StepKind) -> int:
        """Rows of a sequence at which the masked-LM head runs."""
        return self.predictions * (2 if kind == "consistency" else 1)

    def forward(self, kind: StepKind) -> int:
        """Forward pass of one sequence in a step of this kind."""
        return sum(self.layer(*rows) for rows in self.runs(kind)) + self.head(self.heads(kind))

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
