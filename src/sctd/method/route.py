"""The tokens' way through the middle layers: which rows each of them processes, and which rows it reads.

Every route takes all rows (B, S, H) and the numbers of the kept ones, and gives back all rows; those that a layer does
not process keep the vectors that they had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sctd.config import DroppingConfig, resolve_middle
from sctd.errors import UserError
from sctd.model.attention import key_bias
from sctd.model.bert import Bert
from sctd.model.rows import put_rows, take_rows


@dataclass(frozen=True)
class Route:
    """A route in a model of some layers.

    Args:
        name: in ROUTES.
        start: number of the first middle layer; the layers before it are the prefix, the same in both passes.
        end: number of the first layer after the middle ones.
    """

    name: str
    start: int
    end: int

    @classmethod
    def of(cls, dropping: DroppingConfig, num_layers: int) -> Route:
        """From the settings; UserError where they name no route or no layers."""
        if dropping.route not in ROUTES:
            raise UserError(f"dropping.route: there is no {dropping.route!r}; choose one of {', '.join(ROUTES)}.")
        return cls(dropping.route, *resolve_middle(dropping, num_layers))

    @property
    def draws(self) -> int:
        """How many times tokens are chosen: once, or for each middle layer."""
        return self.end - self.start if ROUTES[self.name].redraws else 1

    @property
    def first_difference(self) -> int:
        """The first layer that may differ between the passes, at the kept rows."""
        return self.start + ROUTES[self.name].reads_all

    def run(
        self, model: Bert, hidden: Tensor, attention_mask: Tensor | None, kept: list[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Run the middle layers.

        Args:
            model: the encoder.
            hidden: (B, S, H), the prefix's output.
            attention_mask: (B, S), or null where nothing is padded.
            kept: as many row numbers (B, K) as there are draws.

        Returns:
            Each middle layer's output at the rows that it processed, (B, K, H), and all rows (B, S, H) after them.
        """
        assert len(kept) == self.draws
        return ROUTES[self.name].run(model, hidden, attention_mask, kept, range(self.start, self.end))


@dataclass(frozen=True)
class Kind:
    """What there is to know of a route.

    Args:
        run: as `Route.run`, with the middle layers' numbers.
        redraws: each middle layer has kept tokens of its own.
        reads_all: the first middle layer reads all rows, so that its output is the full pass's.
    """

    run: Callable[[Bert, Tensor, Tensor | None, list[Tensor], range], tuple[list[Tensor], Tensor]]
    redraws: bool = False
    reads_all: bool = False


def _bias_at(attention_mask: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if attention_mask is None else key_bias(attention_mask.gather(1, rows))


def hybrid(
    model: Bert, hidden: Tensor, attention_mask: Tensor | None, kept: list[Tensor], layers: range
) -> tuple[list[Tensor], Tensor]:
    """Hou et al., 2022, section 3.1: queries of the first layer are the kept tokens, its keys and values all tokens."""
    [rows] = kept
    bias = None if attention_mask is None else key_bias(attention_mask)
    outputs = [model.layer(layers[0], hidden, bias, rows)]
    kept_bias = _bias_at(attention_mask, rows)
    for number in layers[1:]:
        outputs.append(model.layer(number, outputs[-1], kept_bias))
    return outputs, put_rows(hidden, rows, outputs[-1])


def skip(
    model: Bert, hidden: Tensor, attention_mask: Tensor | None, kept: list[Tensor], layers: range
) -> tuple[list[Tensor], Tensor]:
    """TREAD (Krause et al., 2025): the other tokens go past the middle layers, unread."""
    [rows] = kept
    kept_bias = _bias_at(attention_mask, rows)
    outputs: list[Tensor] = []
    short = take_rows(hidden, rows)
    for number in layers:
        short = model.layer(number, short, kept_bias)
        outputs.append(short)
    return outputs, put_rows(hidden, rows, short)


def redraw(
    model: Bert, hidden: Tensor, attention_mask: Tensor | None, kept: list[Tensor], layers: range
) -> tuple[list[Tensor], Tensor]:
    """random-LTD (Yao et al., 2022): every middle layer has tokens of its own, and the others go past that layer."""
    outputs: list[Tensor] = []
    for number, rows in zip(layers, kept, strict=True):
        short = model.layer(number, take_rows(hidden, rows), _bias_at(attention_mask, rows))
        outputs.append(short)
        hidden = put_rows(hidden, rows, short)
    return outputs, hidden


ROUTES = {"hybrid": Kind(hybrid, reads_all=True), "skip": Kind(skip), "redraw": Kind(redraw, redraws=True)}
