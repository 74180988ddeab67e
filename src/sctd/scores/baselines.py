"""What a model must beat: a constant answer, and a bag of words that reads no order (scikit-learn)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sctd.scores.tasks.task import ChoiceExample, SpanExample, Task, TextExample, WordPairExample

MOST_FEATURES = 200_000  # words and bigrams, the most frequent ones
RARE = 1000  # training examples from which on a word must occur twice
_SENTENCES = re.compile(r"[^.!?]+[.!?]*\s*|[.!?]+\s*")


def majority(task: Task, train: Sequence[Any], scored: Sequence[Any]) -> list[Any]:
    """The same prediction for all: the most frequent label or answer of the training split, or the mean score."""
    if task.kind == "score":
        return [float(np.mean([example.label for example in train]))] * len(scored)
    if task.kind == "span":  # no answer is an answer too
        answers = Counter(example.answers[0][0] if example.answers else "" for example in train)
        return [answers.most_common(1)[0][0]] * len(scored)
    # of equally frequent labels the lowest
    labels = Counter(sorted(example.label for example in train))
    return [labels.most_common(1)[0][0]] * len(scored)


def bag_of_words(task: Task, train: Sequence[Any], scored: Sequence[Any], seed: int) -> list[Any]:
    """Logistic or ridge regression on TF-IDF of words and bigrams, of pairs also on what the two sides share.

    Multiple choice takes the choice that such a regression finds likelier beside its premise. Of a context, the answer
    is the sentence that shares most of the question's words, weighted by IDF; or none, where a regression on that share
    says so.
    """
    if task.kind == "span":
        return _sentences(train, scored)
    if task.kind == "choice":
        sides, labels, _ = _choices(train)
        regression = _Regression(task, sides, labels, seed)
        sides, _, owners = _choices(scored)
        return _best_by_owner(regression.likelihood(sides), owners, len(scored))
    regression = _Regression(task, _sides(train), [example.label for example in train], seed)
    return regression.predict(_sides(scored))


def _sides(examples: Sequence[TextExample | WordPairExample]) -> list[list[str]]:
    """The texts of each side: one side or two."""
    first, second = [e.first for e in examples], [e.second for e in examples]
    return [first] if second[0] is None else [first, [text or "" for text in second]]


def _choices(examples: Sequence[ChoiceExample]) -> tuple[list[list[str]], list[int], list[int]]:
    """Each choice beside its premise: sides, whether it is the right one, and the example it belongs to."""
    rows = [
        (e.premise, choice, int(i == e.label), n) for n, e in enumerate(examples) for i, choice in enumerate(e.choices)
    ]
    premises, choices, labels, owners = map(list, zip(*rows, strict=True))
    return [premises, choices], labels, owners


def _best_by_owner(likelihood: np.ndarray, owners: list[int], count: int) -> list[int]:
    by_owner: list[list[float]] = [[] for _ in range(count)]
    for owner, value in zip(owners, likelihood.tolist(), strict=True):
        by_owner[owner].append(value)
    return [int(np.argmax(values)) for values in by_owner]


class _Regression:
    """TF-IDF and a linear model."""

    def __init__(self, task: Task, sides: list[list[str]], labels: Sequence[Any], seed: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, Ridge

        self.words = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            token_pattern=r"(?u)\b\w+\b|[^\w\s]",
            min_df=2 if len(labels) >= RARE else 1,
            max_features=MOST_FEATURES,
        )
        self.words.fit([text for side in sides for text in side])
        self.model = Ridge(random_state=seed) if task.kind == "score" else LogisticRegression(max_iter=1000)
        self.constant = None if len(set(labels)) > 1 else labels[0]  # a regression wants two
        if self.constant is None:
            self.model.fit(self._features(sides), labels)

    def _features(self, sides: list[list[str]]) -> Any:
        """(n, f): each side's TF-IDF; of pairs also their product word by word, and its sum, the cosine."""
        from scipy import sparse

        parts = [self.words.transform(side) for side in sides]
        if len(parts) == 2:
            shared = parts[0].multiply(parts[1]).tocsr()
            parts += [shared, sparse.csr_matrix(shared.sum(axis=1))]
        return sparse.hstack(parts).tocsr()

    def predict(self, sides: list[list[str]]) -> list[Any]:
        if self.constant is not None:
            return [self.constant] * len(sides[0])
        found: list[Any] = self.model.predict(self._features(sides)).tolist()
        return found

    def likelihood(self, sides: list[list[str]]) -> np.ndarray:
        found: np.ndarray = self.model.predict_proba(self._features(sides))[:, 1]
        return found


def _sentences(train: Sequence[SpanExample], scored: Sequence[SpanExample]) -> list[str]:
    from sklearn.linear_model import LogisticRegression

    count: Counter[str] = Counter()
    contexts = {example.context for example in train}
    for context in contexts:
        count.update(set(_words(context)))

    def weight(word: str) -> float:
        return float(np.log((1 + len(contexts)) / (1 + count[word])) + 1)

    def best(example: SpanExample) -> tuple[float, str]:
        """(share of the question's weight that the sentence has, the sentence)."""
        asked = {word: weight(word) for word in _words(example.question)}
        total = sum(asked.values()) or 1.0
        shares = [
            (sum(asked.get(word, 0.0) for word in set(_words(sentence))) / total, sentence.strip())
            for sentence in _SENTENCES.findall(example.context)
        ]
        return max(shares, key=lambda each: each[0], default=(0.0, ""))

    answered = [bool(example.answers) for example in train]
    found = [best(example) for example in scored]
    if all(answered) or not any(answered):
        return [sentence if answered[0] else "" for _, sentence in found]
    # answers that are there and that are not count the same, however many of each the training split has
    gate = LogisticRegression(class_weight="balanced").fit([[best(example)[0]] for example in train], answered)
    has_answer = gate.predict([[share] for share, _ in found]).tolist()
    return [sentence if there else "" for (_, sentence), there in zip(found, has_answer, strict=True)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
