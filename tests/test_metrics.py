"""The tasks' metrics against figures worked out by hand."""

from __future__ import annotations

import pytest

from sctd.scores.metrics import METRICS, score
from sctd.scores.squad_metrics import exact_match, normalize, span_f1
from sctd.scores.tasks.table import TASKS
from sctd.scores.tasks.task import SpanExample, TextExample


def labelled(*labels: float, groups: str = "") -> list[TextExample]:
    return [TextExample(str(i), "text", label, group=groups[i] if groups else None) for i, label in enumerate(labels)]


def asked(*answers: list[str]) -> list[SpanExample]:
    return [SpanExample(str(i), "q", "c", tuple((text, 0) for text in each)) for i, each in enumerate(answers)]


def test_constant_predictions_have_no_correlation() -> None:
    assert METRICS["matthews"](labelled(0, 1, 1), [1, 1, 1]) == 0.0
    assert METRICS["pearson"](labelled(0.0, 1.5, 3.0), [2.0, 2.0, 2.0]) == 0.0
    assert METRICS["spearman"](labelled(0.0, 1.5, 3.0), [2.0, 2.0, 2.0]) == 0.0


def test_matthews_by_hand() -> None:
    # TP 2, TN 1, FP 1, FN 1: (2 * 1 - 1 * 1) / sqrt(3 * 3 * 2 * 2)
    assert METRICS["matthews"](labelled(1, 1, 1, 0, 0), [1, 1, 0, 0, 1]) == pytest.approx(1 / 6)


def test_f1_is_that_of_label_one() -> None:
    # precision 1/2, recall 1/3
    assert METRICS["f1"](labelled(1, 1, 1, 0), [1, 0, 0, 1]) == pytest.approx(0.4)
    assert METRICS["f1"](labelled(0, 0), [0, 0]) == 0.0


def test_correlations_of_scores_by_hand() -> None:
    gold = labelled(1, 2, 3, 4)
    assert METRICS["pearson"](gold, [2.0, 4.0, 6.0, 8.0]) == pytest.approx(1.0)
    # ranks 1 2 4 3: 1 - 6 * 2 / (4 * 15)
    assert METRICS["spearman"](gold, [0.1, 0.2, 9.0, 0.3]) == pytest.approx(0.8)


def test_the_macro_average_leaves_out_a_class_that_is_absent_from_labels_and_predictions() -> None:
    # class 0: F1 1; class 1: 1; class 2 nowhere
    assert METRICS["macro_f1"](labelled(0, 1), [0, 1]) == 1.0
    # class 0: precision 1/2, recall 1: 2/3; class 1: 0; class 2, predicted only: 0
    assert METRICS["macro_f1"](labelled(0, 1, 1), [0, 0, 2]) == pytest.approx(2 / 9)


def test_multirc_counts_a_question_only_with_all_its_options_right() -> None:
    gold = labelled(1, 0, 1, 0, 0, groups="aabbc")
    predictions = [1, 0, 1, 1, 0]
    scores = score(TASKS["multirc"], gold, predictions)
    assert scores["em"] == pytest.approx(2 / 3)  # a and c
    assert scores["f1a"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))  # over all options: precision 2/3, recall 1


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The  Eiffel-Tower.", "eiffeltower"),
        ("an apple, a pear", "apple pear"),
        ("theatre", "theatre"),  # not an article
        ("A", ""),
        ("U.S.", "us"),
    ],
)
def test_answers_are_compared_without_case_articles_and_punctuation(answer: str, plain: str) -> None:
    assert normalize(answer) == plain


def test_an_answer_is_held_against_the_gold_one_that_is_nearest() -> None:
    assert exact_match("the Normans", ["Normans", "the Norman people"]) == 1.0
    assert exact_match("Norman", ["Normans"]) == 0.0
    # words norman people rule against norman people: precision 2/3, recall 1
    assert span_f1("Norman people rule", ["Norman people", "Danes"]) == pytest.approx(0.8)
    assert span_f1("cat cat", ["cat"]) == pytest.approx(2 / 3)  # a repeated word counts once


def test_a_question_without_answer_is_right_only_when_none_is_given() -> None:
    assert exact_match("", []) == 1.0
    assert span_f1("", []) == 1.0
    assert span_f1("Paris", []) == 0.0
    assert span_f1("", ["Paris"]) == 0.0
    assert exact_match("", ["the"]) == 1.0  # an answer of nothing but an article is none


def test_v2_scores_questions_with_and_without_answer_apart() -> None:
    examples = asked(["Paris"], ["the red house"], [], [])
    scores = score(TASKS["squad_v2"], examples, ["Paris", "red", "", "Rome"])
    assert scores == {
        "span_f1": pytest.approx((1 + 2 / 3 + 1 + 0) / 4),
        "exact_match": 0.5,
        "has_answer_f1": pytest.approx((1 + 2 / 3) / 2),
        "no_answer_accuracy": 0.5,
    }


def test_every_task_names_metrics_that_there_are() -> None:
    assert {name for task in TASKS.values() for name in task.metrics} <= set(METRICS)
