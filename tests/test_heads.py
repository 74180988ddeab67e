"""From examples to a network's inputs and from its outputs to predictions, kind by kind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers import SPECIAL, tiny_encoder
from sctd.scores.encoder import Encoder
from sctd.scores.fit import batches_by_length, predict
from sctd.scores.heads import HEADS
from sctd.scores.heads.head import Features, collate
from sctd.scores.heads.span import LONGEST_ANSWER, Window, answer_tokens, best_span
from sctd.scores.tasks.task import ChoiceExample, SpanExample, TextExample, WordPairExample

TEXT: Any = SimpleNamespace(name="t", kind="text", labels=("no", "yes"))
SCORE: Any = SimpleNamespace(name="s", kind="score", labels=())
CHOICE: Any = SimpleNamespace(name="c", kind="choice", labels=())
WORDS: Any = SimpleNamespace(name="w", kind="word_pair", labels=("no", "yes"))
V1: Any = SimpleNamespace(name="squad_v1", kind="span", labels=())
V2: Any = SimpleNamespace(name="squad_v2", kind="span", labels=())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=24)


def ids(encoder: Encoder, text: str) -> list[int]:
    found: list[int] = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


# ---- texts and pairs


def test_a_pair_is_read_with_both_token_types_where_both_were_trained(encoder: Encoder) -> None:
    example = TextExample("0", "baba babe", 1, second="babi")
    features = HEADS["text"].features(encoder, TEXT, [example], 24, training=True)
    one = features.inputs[0]
    first, second = ids(encoder, "baba babe"), ids(encoder, "babi")
    assert one["input_ids"] == [SPECIAL.cls, *first, SPECIAL.sep, *second, SPECIAL.sep]
    assert one["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert one["labels"] == 1


def test_a_pair_is_read_in_token_type_0_where_type_1_was_never_trained(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, max_length=24, token_types=1)
    features = HEADS["text"].features(encoder, TEXT, [TextExample("0", "baba", 1, second="babe")], 24, training=False)
    assert set(features.inputs[0]["token_type_ids"]) == {0}
    assert "labels" not in features.inputs[0]


def test_examples_that_do_not_fit_are_cut_and_counted(encoder: Encoder) -> None:
    exact = TextExample("0", " ".join(["baba"] * 22), 0)  # 22 tokens, [CLS] and [SEP]
    longer = TextExample("1", " ".join(["baba"] * 23), 0)
    features = HEADS["text"].features(encoder, TEXT, [exact, longer], 24, training=False)
    assert [len(one["input_ids"]) for one in features.inputs] == [24, 24]
    assert features.cut == 1


def test_a_score_is_read_as_it_is_and_a_label_as_the_largest_logit() -> None:
    examples = [TextExample("0", "a", 0), TextExample("1", "b", 1)]
    features = Features([{}, {}], [0, 1])
    outputs = [np.array([2.5]), np.array([-1.0])]
    assert HEADS["score"].predictions(SCORE, examples, features, outputs) == [2.5, -1.0]
    outputs = [np.array([0.1, 0.2]), np.array([3.0, -1.0])]
    assert HEADS["text"].predictions(TEXT, examples, features, outputs) == [1, 0]


# ---- multiple choice


def test_each_choice_is_read_beside_the_premise(encoder: Encoder) -> None:
    example = ChoiceExample("0", "baba", ("babe", "babi babo"), 1)
    features = HEADS["choice"].features(encoder, CHOICE, [example], 24, training=True)
    one = features.inputs[0]
    premise, short, long = ids(encoder, "baba"), ids(encoder, "babe"), ids(encoder, "babi babo")
    shorter = [SPECIAL.cls, *premise, SPECIAL.sep, *short, SPECIAL.sep]
    longer = [SPECIAL.cls, *premise, SPECIAL.sep, *long, SPECIAL.sep]
    assert one["input_ids"] == [shorter + [SPECIAL.pad] * (len(longer) - len(shorter)), longer]
    assert one["attention_mask"][0] == [1] * len(shorter) + [0] * (len(longer) - len(shorter))
    assert one["labels"] == 1


def test_choices_of_a_batch_are_padded_to_one_shape() -> None:
    batch = collate(
        [
            {"input_ids": [[5, 6], [7, 8]], "attention_mask": [[1, 1], [1, 1]], "labels": 1},
            {"input_ids": [[5, 6, 9], [7, 8, 9]], "attention_mask": [[1, 1, 1], [1, 1, 1]], "labels": 0},
        ],
        pad_id=3,
    )
    assert batch["input_ids"].tolist() == [[[5, 6, 3], [7, 8, 3]], [[5, 6, 9], [7, 8, 9]]]
    assert batch["attention_mask"].tolist()[0] == [[1, 1, 0], [1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_integers_become_long_and_fractions_float() -> None:
    batch = collate([{"input_ids": [1], "labels": 2.5}, {"input_ids": [1, 2], "labels": 3.0}], pad_id=0)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [2.5, 3.0]
    assert batch["input_ids"].dtype == torch.int64


# ---- words in context


def test_a_word_s_vector_is_the_mean_of_its_tokens_in_each_sentence(encoder: Encoder) -> None:
    first, second = "baba babe", "babo baba"
    example = WordPairExample("0", "baba", first, second, ((0, 4), (5, 9)), 1)
    features = HEADS["word_pair"].features(encoder, WORDS, [example], 24, training=True)
    one = features.inputs[0]
    in_first, in_second = len(ids(encoder, "baba")), len(ids(encoder, "baba"))
    start = 1 + len(ids(encoder, first)) + 1 + len(ids(encoder, "babo"))
    wanted = np.zeros((2, len(one["input_ids"])))
    wanted[0, 1 : 1 + in_first] = 1 / in_first
    wanted[1, start : start + in_second] = 1 / in_second
    np.testing.assert_allclose(one["word_weights"], wanted)
    assert features.cut == 0


def test_a_word_that_was_not_found_is_read_at_cls_and_one_that_was_cut_is_counted(encoder: Encoder) -> None:
    long = " ".join(["babe"] * 30) + " baba"
    examples = [
        WordPairExample("0", "baba", "babe", "babe", ((-1, -1), (-1, -1)), 0),
        WordPairExample("1", "baba", "baba", long, ((0, 4), (len(long) - 4, len(long))), 0),
    ]
    features = HEADS["word_pair"].features(encoder, WORDS, examples, 24, training=False)
    assert features.inputs[0]["word_weights"][:, 0].tolist() == [1.0, 1.0]
    assert features.inputs[1]["word_weights"][1, 0] == 1.0
    assert features.cut == 1


def test_the_word_pair_network_reads_cls_and_both_words(encoder: Encoder) -> None:
    network = HEADS["word_pair"].network(encoder, WORDS)
    network.eval()
    example = WordPairExample("0", "baba", "baba babe", "babo baba", ((0, 4), (5, 9)), 1)
    features = HEADS["word_pair"].features(encoder, WORDS, [example], 24, training=True)
    batch = collate(features.inputs, SPECIAL.pad)
    with torch.no_grad():
        found = network(**batch)
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
        hidden = encoder.network()(**inputs).last_hidden_state[0]
        words = [torch.from_numpy(w) @ hidden for w in features.inputs[0]["word_weights"]]
        wanted = torch.cat([hidden[0], *words]) @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(found["logits"][0], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["loss"], -wanted.log_softmax(-1)[1], rtol=1e-4, atol=1e-5)


# ---- spans


def words_of(n: int, start: int = 0) -> str:
    """n words of the tiny vocabulary, each one token and four characters."""
    return " ".join(["baba", "babe", "babi", "babo", "babu"][i % 5] for i in range(start, start + n))


def test_an_answer_at_the_end_of_a_long_context_stands_in_a_window(encoder: Encoder) -> None:
    context = words_of(60) + " mama"
    example = SpanExample("0", "baba babe", context, (("mama", len(context) - 4),))
    features = HEADS["span"].features(encoder, V1, [example], 24, training=True)
    assert len(features) > 3
    spans = [(one["start_positions"], one["end_positions"]) for one in features.inputs]
    assert spans[0] == (0, 0)  # [CLS]: not in this window
    window, (first, last) = features.extras[-1], spans[-1]
    assert context[window.offsets[first, 0] : window.offsets[last, 1]] == "mama"


@pytest.mark.parametrize("max_length", [16, 24])
def test_every_answer_of_up_to_half_a_window_stands_whole_in_one(encoder: Encoder, max_length: int) -> None:
    context = words_of(50)
    question = "baba babe"
    room = max_length - len(ids(encoder, question)) - 3
    for length in range(1, room // 2 + 1):
        for start in range(0, 50 - length + 1):
            text = context[start * 5 : (start + length) * 5 - 1]
            example = SpanExample("0", question, context, ((text, start * 5),))
            features = HEADS["span"].features(encoder, V1, [example], max_length, training=True)
            assert any(one["end_positions"] for one in features.inputs), (start, length)


def test_of_several_occurrences_the_one_at_answer_start_is_learned(encoder: Encoder) -> None:
    context = "baba babe baba babi baba"
    example = SpanExample("0", "babo", context, (("baba", 10),))
    one = HEADS["span"].features(encoder, V1, [example], 24, training=True).inputs[0]
    before = 1 + len(ids(encoder, "babo")) + 1 + len(ids(encoder, "baba babe"))
    assert one["start_positions"] == before
    assert one["end_positions"] == before + len(ids(encoder, "baba")) - 1


def test_an_answer_within_a_token_is_learned_as_that_token() -> None:
    offsets = np.array([[0, 0], [0, 4], [5, 12], [13, 15], [0, 0]])
    window = Window(offsets, first=1, last=3)
    assert answer_tokens(window, [("bcd", 6)]) == (2, 2)
    assert answer_tokens(window, [("a", 0)]) == (1, 1)  # the first character
    assert answer_tokens(window, [("z", 14)]) == (3, 3)  # the last one
    assert answer_tokens(window, [("no", 20)]) == (0, 0)
    assert answer_tokens(window, []) == (0, 0)


def test_the_best_span_is_in_order_inside_the_context_and_not_too_long() -> None:
    count = LONGEST_ANSWER + 10
    offsets = np.array([[0, 0], *[[5 * i, 5 * i + 4] for i in range(count)], [0, 0]])
    window = Window(offsets, first=1, last=count)
    logits = np.zeros((count + 2, 2))
    logits[0] = 50.0  # [CLS] is not in the context
    logits[3, 0], logits[2, 1] = 9.0, 9.0  # an end before its start
    logits[5, 1] = 5.0
    assert best_span(window, logits) == (14.0, 10, 24)
    logits = np.zeros((count + 2, 2))
    logits[1, 0], logits[count, 1], logits[2, 1] = 9.0, 9.0, 1.0  # longer than an answer may be
    assert best_span(window, logits) == (10.0, 0, 9)


def test_the_likeliest_window_answers_and_no_answer_wins_in_v2_alone() -> None:
    context = "aaaa bbbb"
    window = Window(np.array([[0, 0], [0, 4], [5, 9]]), first=1, last=2)
    examples = [SpanExample("0", "q", context, (("aaaa", 0),))]
    features = Features([{}, {}], [0, 0], [window, window])
    unsure = np.array([[3.0, 3.0], [1.0, 1.0], [0.0, 0.0]])
    sure = np.array([[2.0, 2.0], [0.0, 0.0], [2.5, 2.5]])
    assert HEADS["span"].predictions(V1, examples, features, [unsure, sure]) == ["bbbb"]
    assert HEADS["span"].predictions(V2, examples, features, [unsure, sure]) == ["bbbb"]  # 5 against 4, the least null
    assert HEADS["span"].predictions(V2, examples, features, [unsure, unsure]) == [""]
    assert HEADS["span"].predictions(V1, examples, features, [unsure, unsure]) == ["aaaa"]


# ---- batches


def test_batches_hold_like_lengths_within_the_budget_and_all_of_the_inputs() -> None:
    lengths = [3, 9, 4, 9, 1, 30]
    batches = batches_by_length(lengths, most=18)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches == [[5], [1, 3], [2, 0, 4]]


def test_prediction_in_batches_equals_prediction_one_by_one(encoder: Encoder) -> None:
    examples = [TextExample(str(n), words_of(n), 0) for n in (1, 7, 3, 15, 2)]
    features = HEADS["text"].features(encoder, TEXT, examples, 24, training=False)
    network = HEADS["text"].network(encoder, TEXT)
    seen: list[int] = []
    found = predict(encoder, network, features, seen.append)
    assert sum(seen) == 5
    for one, output in zip(features.inputs, found, strict=True):
        with torch.no_grad():
            alone = network(**collate([one], SPECIAL.pad)).logits[0]
        np.testing.assert_allclose(output, alone.numpy(), atol=1e-5)
