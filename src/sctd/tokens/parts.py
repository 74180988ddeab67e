"""One of n processes that share the blocks of a `prepare` among them: block b is made by part b mod n, from 1."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sctd.errors import UserError


@dataclass(frozen=True)
class Part:
    """Number `number` (from 1) of `of` parts; shown as in a sentence."""

    number: int
    of: int

    def makes(self, block: int) -> bool:
        """Whether a block is this part's."""
        return block % self.of == self.number - 1

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"


def parse_part(text: str) -> Part:
    """`2/3` as a Part.

    Raises:
        UserError: it is nothing of the kind.
    """
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text.strip())
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or part.number > part.of:
        raise UserError(f"--part {text} is no part: give i/n, from 1/n to n/n, as in --part 2/4.")
    return part
