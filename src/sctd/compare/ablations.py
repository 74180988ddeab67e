"""The papers' questions as lists of arms, from ablations.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from sctd.errors import UserError
from sctd.recipe import did_you_mean

LISTED = Path(__file__).with_name("ablations.yaml")


@dataclass(frozen=True)
class Ablation:
    """A question and the arms that answer it, the first of which the others are compared with."""

    asks: str
    arms: list[str]


def ablations() -> dict[str, Ablation]:
    """All of them, by name."""
    listed = yaml.safe_load(LISTED.read_text(encoding="utf-8"))
    return {name: Ablation(**each) for name, each in listed.items()}


def arms_of(name: str) -> list[str]:
    """The arms of one; UserError where there is none of that name."""
    known = ablations()
    if name not in known:
        others = f"there are {', '.join(known)}"
        raise UserError(f'--ablation: there is no "{name}"; {did_you_mean(name, known, others)}')
    return known[name].arms
