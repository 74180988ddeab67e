"""What a model must beat, on cases where the right answer is plain."""

from __future__ import annotations

from sctd.scores.baselines import bag_of_words, majority
from sctd.scores.tasks.table import TASKS
from sctd.scores.tasks.task import ChoiceExample, SpanExample, TextExample


def test_the_majority_is_the_training_split_s_most_frequent_label_or_mean_score() -> None:
    train = [TextExample(str(i), "x", label) for i, label in enumerate([1, 0, 0])]
    assert majority(TASKS["sst2"], train, train[:2]) == [0, 0]
    assert majority(TASKS["sst2"], train[:2], train[:1]) == [0]  # of equals the lowest
    scores = [TextExample(str(i), "x", score, second="y") for i, score in enumerate([1.0, 4.0])]
    assert majority(TASKS["stsb"], scores, scores) == [2.5, 2.5]


def test_the_most_frequent_answer_may_be_none() -> None:
    train = [SpanExample(str(i), "q", "c", answers) for i, answers in enumerate([(), (), (("c", 0),)])]
    assert majority(TASKS["squad_v2"], train, train[:1]) == [""]
    assert majority(TASKS["squad_v2"], train[2:], train[:1]) == ["c"]


def test_a_bag_of_words_learns_which_word_tells_the_label() -> None:
    train = [TextExample(str(i), f"{'good' if i % 2 else 'bad'} film {i % 5}", i % 2) for i in range(40)]
    scored = [TextExample("a", "a good one", 1), TextExample("b", "a bad one", 0)]
    assert bag_of_words(TASKS["sst2"], train, scored, 1) == [1, 0]


def test_a_bag_of_words_sees_what_the_sides_of_a_pair_share() -> None:
    words = [f"w{i}" for i in range(40)]
    train = [TextExample(str(i), words[i], i % 2, second=words[i] if i % 2 else words[i - 1]) for i in range(40)]
    scored = [TextExample("a", "w3 w4", 1, second="w3 w4"), TextExample("b", "w3 w4", 0, second="w8 w9")]
    assert bag_of_words(TASKS["mrpc"], train, scored, 1) == [1, 0]


def test_one_label_alone_is_predicted_for_all() -> None:
    train = [TextExample("0", "x", 1), TextExample("1", "y", 1)]
    assert bag_of_words(TASKS["sst2"], train, train, 1) == [1, 1]


def test_the_likelier_choice_is_taken() -> None:
    train = [
        ChoiceExample(str(i), "it rained", ("wet floor", "dry floor")[:: 1 if i % 2 else -1], 0 if i % 2 else 1)
        for i in range(20)
    ]
    scored = [ChoiceExample("a", "it rained", ("dry road", "wet road"), 1)]
    assert bag_of_words(TASKS["copa"], train, scored, 1) == [1]


def test_the_answer_is_the_sentence_that_shares_most_of_the_question() -> None:
    context = "Rome was founded early. Paris lies on the Seine! Who knows."
    example = SpanExample("0", "On which river lies Paris?", context, (("the Seine", 40),))
    assert bag_of_words(TASKS["squad_v1"], [example], [example], 1) == ["Paris lies on the Seine!"]


def test_no_answer_is_given_where_the_training_split_has_none_for_so_little_in_common() -> None:
    answered = [
        SpanExample(str(i), "where is the red house", "the red house is here.", (("here", 17),)) for i in range(20)
    ]
    none = [SpanExample(f"n{i}", "where is the red house", "a dog barks.", ()) for i in range(20)]
    found = bag_of_words(TASKS["squad_v2"], answered + none, [answered[0], none[0]], 1)
    assert found == ["the red house is here.", ""]
