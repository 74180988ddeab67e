"""Exact match and F1 of answers by SQuAD's official rules (Rajpurkar et al., 2016, section 6.1, and 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(answer: str) -> str:
    """Lower case, without punctuation, without articles, single spaces; in this order."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 where the prediction is one of the answers after `normalize`, or where both are none; else 0."""
    return _best(lambda gold: float(normalize(prediction) == gold), answers)


def span_f1(prediction: str, answers: Sequence[str]) -> float:
    """The largest F1 of the prediction's words with those of an answer; where one side is none, 1 if both are."""
    return _best(lambda gold: _words_f1(normalize(prediction).split(), gold.split()), answers)


def _best(measure: Callable[[str], float], answers: Sequence[str]) -> float:
    """Over the answers that are not empty after `normalize`; without any, the only right answer is none."""
    golds = [gold for gold in map(normalize, answers) if gold] or [""]
    return max(map(measure, golds))


def _words_f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * common / (len(predicted) + len(gold))
