"""Libraries that only some verbs or settings need: asked for when these begin, in one sentence."""

from __future__ import annotations

from importlib.util import find_spec

from sctd.errors import UserError


def check_installed(*modules: str, extra: str) -> None:
    """Raise UserError, naming the extra that brings it, for the first module that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise UserError(f"{module} is not installed: pip install 'sctd[{extra}]' brings it.")
