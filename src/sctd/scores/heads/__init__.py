"""Heads by kind of task."""

from __future__ import annotations

from sctd.scores.heads.choice import ChoiceHead
from sctd.scores.heads.head import Head
from sctd.scores.heads.span import SpanHead
from sctd.scores.heads.text import TextHead
from sctd.scores.heads.word_pair import WordPairHead

HEADS: dict[str, Head] = {
    "text": TextHead(),
    "score": TextHead(),
    "choice": ChoiceHead(),
    "word_pair": WordPairHead(),
    "span": SpanHead(),
}
