"""The official metrics of the tasks, by name; all as fractions of 1, tables show them x 100."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sctd.scores.squad_metrics import exact_match, span_f1
from sctd.scores.tasks.task import Task

# (gold examples, one prediction each) -> figure
Metric = Callable[[Sequence[Any], Sequence[Any]], float | None]


def score(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """The task's metrics.

    Args:
        task: names the metrics.
        examples: of one split, with their labels.
        predictions: one an example: the index of a label or choice, a score, or an answer ("" for none).

    Returns:
        Metric -> figure; without a metric of a part that has no examples.
    """
    assert len(examples) == len(predictions) > 0
    assert all(math.isfinite(p) for p in predictions if isinstance(p, float)), "scores are finite"
    figures = {name: METRICS[name](examples, predictions) for name in task.metrics}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _labels(examples: Sequence[Any]) -> list[Any]:
    return [example.label for example in examples]


def accuracy(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Share of predictions that are the label."""
    return sum(p == label for p, label in zip(predictions, _labels(examples), strict=True)) / len(examples)


def f1(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """F1 of label 1; 0 where neither side has it."""
    from sklearn.metrics import f1_score

    return float(f1_score(_labels(examples), predictions, zero_division=0))


def macro_f1(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Mean F1 of the classes in labels or predictions: one that is absent from both does not count (SuperGLUE)."""
    from sklearn.metrics import f1_score

    return float(f1_score(_labels(examples), predictions, average="macro", zero_division=0))


def matthews(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Matthews' correlation; 0 for constant predictions."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(_labels(examples), predictions))


def pearson(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Pearson's correlation; 0 for constant predictions, where it is not defined."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, examples, predictions)


def spearman(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Spearman's rank correlation; 0 for constant predictions."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, examples, predictions)


def _correlation(measure: Any, examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    labels = _labels(examples)
    if len(set(predictions)) < 2 or len(set(labels)) < 2:
        return 0.0
    return float(measure(labels, predictions)[0])


def multirc_em(examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Share of questions (groups) all of whose answer options are right (Khashabi et al., 2018)."""
    right: dict[str, bool] = {}
    for example, prediction in zip(examples, predictions, strict=True):
        right[example.group] = right.get(example.group, True) and prediction == example.label
    return sum(right.values()) / len(right)


def _mean(measure: Callable[[str, Sequence[str]], float], examples: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Mean over questions."""
    figures = [measure(p, [text for text, _ in e.answers]) for e, p in zip(examples, predictions, strict=True)]
    return sum(figures) / len(figures)


def _part(answered: bool, measure: Callable[[str, Sequence[str]], float]) -> Metric:
    """Over the questions that have an answer, or that have none; null where there are no such questions."""

    def metric(examples: Sequence[Any], predictions: Sequence[Any]) -> float | None:
        chosen = [i for i, example in enumerate(examples) if bool(example.answers) == answered]
        if not chosen:
            return None
        return _mean(measure, [examples[i] for i in chosen], [predictions[i] for i in chosen])

    return metric


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "f1a": f1,  # over all answer options
    "em": multirc_em,
    "span_f1": lambda examples, predictions: _mean(span_f1, examples, predictions),
    "exact_match": lambda examples, predictions: _mean(exact_match, examples, predictions),
    "has_answer_f1": _part(True, span_f1),
    "no_answer_accuracy": _part(False, exact_match),
}
