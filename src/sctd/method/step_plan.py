"""Which steps drop tokens, and which of these make the two passes agree (Zhong et al., 2023: every Fi-th)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sctd.config import Method, PretrainConfig

# nothing is dropped; the pass with dropping alone; both passes
StepKind = Literal["dense", "drop", "consistency"]


@dataclass(frozen=True)
class StepPlan:
    """The kinds of a run's steps.

    Args:
        method: dense, drop or sctd.
        interval: Fi, or null for never.
        full_start: share of the steps, at the start, that drop nothing.
        full_tail: the same at the end.
    """

    method: Method
    interval: int | None
    full_start: float = 0.0
    full_tail: float = 0.0

    @classmethod
    def of(cls, config: PretrainConfig) -> StepPlan:
        """From the settings."""
        interval = config.consistency.interval if config.method == "sctd" else None
        return cls(config.method, interval, config.dropping.full_start, config.dropping.full_tail)

    def kind(self, step: int, steps: int) -> StepKind:
        """Of step t = 1, 2, ... in a run of `steps`."""
        if self.method == "dense":
            return "dense"
        if step <= round(self.full_start * steps) or step > steps - round(self.full_tail * steps):
            return "dense"
        return "consistency" if self.interval is not None and step % self.interval == 0 else "drop"

    def shares(self) -> dict[StepKind, float]:
        """Of each kind that there is, its share of the steps of a long run."""
        if self.method == "dense":
            return {"dense": 1.0}
        full = self.full_start + self.full_tail
        agreeing = 0.0 if self.interval is None else (1 - full) / self.interval
        shares: dict[StepKind, float] = {"dense": full, "drop": 1 - full - agreeing, "consistency": agreeing}
        return {kind: share for kind, share in shares.items() if share > 1e-9}
