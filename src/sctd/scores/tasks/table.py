"""The sixteen tasks. A new task is a new entry, and an adapter where its form is new."""

from __future__ import annotations

from sctd.errors import UserError
from sctd.recipe import did_you_mean
from sctd.scores.tasks.sentences import reviews, texts
from sctd.scores.tasks.spans import squad
from sctd.scores.tasks.superglue import copa, multirc, wic
from sctd.scores.tasks.task import HubSource, Task, plain_spelling

GLUE, SUPERGLUE = "nyu-mll/glue", "aps/super_glue"
VALIDATION = {"train": "train", "dev": "validation"}
TSV = {"train": ("train.tsv",), "dev": ("dev.tsv",)}
JSONL = {"train": ("train.jsonl",), "dev": ("dev.jsonl", "val.jsonl")}
UNSPLIT_MNLI = "origin of the rows not stated (matched, mismatched or training), final punctuation stripped"

_TASKS = (
    Task(
        name="cola",
        title="CoLA",
        kind="text",
        labels=("0", "1"),
        metrics=("matthews", "accuracy"),
        files=TSV,
        header=("source", "label", "star", "sentence"),
        read=texts("sentence"),
        hub=HubSource(GLUE, "cola", VALIDATION),
        official_rows={"train": 8551, "dev": 1043},
        epochs=10,
    ),
    Task(
        name="sst2",
        title="SST-2",
        kind="text",
        labels=("0", "1"),
        metrics=("accuracy",),
        files=TSV,
        read=texts("sentence"),
        hub=HubSource(GLUE, "sst2", VALIDATION),
        official_rows={"train": 67349, "dev": 872},
    ),
    Task(
        name="mrpc",
        title="MRPC",
        kind="text",
        labels=("0", "1"),
        metrics=("f1", "accuracy"),
        files=TSV,
        read=texts("#1 String", "#2 String", "Quality"),
        hub=HubSource(
            GLUE, "mrpc", VALIDATION, {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
        ),
        official_rows={"train": 3668, "dev": 408},
        epochs=10,
    ),
    Task(
        name="stsb",
        title="STS-B",
        kind="score",
        labels=(),
        metrics=("pearson", "spearman"),
        files=TSV,
        read=texts("sentence1", "sentence2", "score"),
        hub=HubSource(GLUE, "stsb", VALIDATION),
        official_rows={"train": 5749, "dev": 1500},
        epochs=10,
    ),
    Task(
        name="rte",
        title="RTE",
        kind="text",
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        files={split: TSV[split] + JSONL[split] for split in TSV},  # GLUE's and SuperGLUE's
        read=texts("sentence1|premise", "sentence2|hypothesis"),
        hub=HubSource(GLUE, "rte", VALIDATION),
        official_rows={"train": 2490, "dev": 277},
        max_length=256,
        epochs=10,
    ),
    Task(
        name="qnli",
        title="QNLI",
        kind="text",
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        files=TSV,
        read=texts("question", "sentence"),
        hub=HubSource(GLUE, "qnli", VALIDATION),
        official_rows={"train": 104743, "dev": 5463},
        copies={("train", "34133bfd72ee"): "constructed from SQuAD v1.1, not the official half"},
    ),
    Task(
        name="qqp",
        title="QQP",
        kind="text",
        labels=("0", "1"),
        metrics=("f1", "accuracy"),
        files=TSV,
        read=texts("question1", "question2", "is_duplicate"),
        hub=HubSource(GLUE, "qqp", VALIDATION, {"label": "is_duplicate"}),
        official_rows={"train": 363846, "dev": 40430},
        copies={("dev", "219f31e86115"): "split anew by groups of questions"},
        empty_allowed=True,
        ragged=True,
    ),
    Task(
        name="mnli",
        title="MNLI",
        kind="text",
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        files={
            "train": ("train.tsv",),
            "dev_matched": ("dev_matched.tsv",),
            "dev_mismatched": ("dev_mismatched.tsv",),
            "dev": ("dev.tsv",),
        },
        read=texts("sentence1", "sentence2", "gold_label"),
        hub=HubSource(
            GLUE,
            "mnli",
            {"train": "train", "dev_matched": "validation_matched", "dev_mismatched": "validation_mismatched"},
            {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
        ),
        official_rows={"train": 392702, "dev_matched": 9815, "dev_mismatched": 9832},
        copies={("dev", "33474c600868"): UNSPLIT_MNLI, ("train", "5c009b75b66b"): "final punctuation stripped"},
    ),
    Task(
        name="boolq",
        title="BoolQ",
        kind="text",
        labels=("false", "true"),
        metrics=("accuracy",),
        files=JSONL,
        read=texts("question", "passage"),  # in this order, so that what is cut is the passage's end
        hub=HubSource(SUPERGLUE, "boolq", VALIDATION),
        official_rows={"train": 9427, "dev": 3270},
        copies={("train", "1a3bbfd6bfa6"): "from FewGLUE and ERASER"},
        max_length=256,
        epochs=10,
    ),
    Task(
        name="cb",
        title="CB",
        kind="text",
        labels=("entailment", "contradiction", "neutral"),
        metrics=("accuracy", "macro_f1"),
        files=JSONL,
        read=texts("premise", "hypothesis"),
        hub=HubSource(SUPERGLUE, "cb", VALIDATION),
        official_rows={"train": 250, "dev": 56},
        max_length=256,
        epochs=10,
    ),
    Task(
        name="copa",
        title="COPA",
        kind="choice",
        labels=("0", "1"),
        metrics=("accuracy",),
        files=JSONL,
        read=copa,
        hub=HubSource(SUPERGLUE, "copa", VALIDATION),
        official_rows={"train": 400, "dev": 100},
        epochs=10,
    ),
    Task(
        name="wic",
        title="WiC",
        kind="word_pair",
        labels=("false", "true"),
        metrics=("accuracy",),
        files=JSONL,
        read=wic,
        hub=HubSource(SUPERGLUE, "wic", VALIDATION),
        official_rows={"train": 5428, "dev": 638},
        copies={("train", "955e9ca7a654"): "tokenised sentences"},
        epochs=10,
    ),
    Task(
        name="multirc",
        title="MultiRC",
        kind="text",
        labels=("0", "1"),
        metrics=("f1a", "em"),
        files=JSONL,
        read=multirc,
        hub=HubSource(SUPERGLUE, "multirc", VALIDATION),
        official_rows={"train": 27243, "dev": 4848},
        copies={("train", "6bcd8d04810e"): "from ERASER's validation half"},
        max_length=384,
    ),
    Task(
        name="squad_v1",
        title="SQuAD v1.1",
        kind="span",
        labels=(),
        metrics=("span_f1", "exact_match"),
        files={"train": ("train-v1.1.json", "train.json"), "dev": ("dev-v1.1.json", "dev.json")},
        read=squad,
        hub=HubSource("rajpurkar/squad", None, VALIDATION),
        official_rows={"train": 87599, "dev": 10570},
        copies={
            ("train", "685a76ad0972"): "from two public subsets",
            ("dev", "a3434e904424"): "from 48 official dev articles",
        },
        max_length=384,
    ),
    Task(
        name="squad_v2",
        title="SQuAD v2.0",
        kind="span",
        labels=(),
        metrics=("span_f1", "exact_match", "has_answer_f1", "no_answer_accuracy"),
        files={"train": ("train-v2.0.json", "train.json"), "dev": ("dev-v2.0.json", "dev.json")},
        read=squad,
        hub=HubSource("rajpurkar/squad_v2", None, VALIDATION),
        official_rows={"train": 130319, "dev": 11873},
        copies={
            ("train", "d89c4d81cad0"): "from 12 official dev articles and SQuAD v1.1",
            ("dev", "91d13d085ede"): "4 official dev articles",
        },
        max_length=384,
    ),
    Task(
        name="imdb",
        title="IMDB",
        kind="text",
        labels=("0", "1"),
        metrics=("accuracy",),
        files={"train": ("train.jsonl", "train"), "test": ("test.jsonl", "test")},
        read=reviews,
        hub=HubSource("stanfordnlp/imdb", None, {"train": "train", "test": "test"}),
        official_rows={"train": 25000, "test": 25000},
        max_length=384,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _TASKS}

GROUPS: dict[str, tuple[str, ...]] = {
    "glue": ("cola", "sst2", "mrpc", "stsb", "rte", "qnli", "qqp", "mnli"),
    "superglue": ("boolq", "cb", "copa", "multirc", "rte", "wic"),
    # GLUE's, SuperGLUE's and SQuAD's kinds; the ScTD paper's own list was not at hand
    "paper": ("cola", "sst2", "mrpc", "stsb", "rte", "qnli", "qqp", "mnli", "boolq", "wic", "multirc", "squad_v1"),
    "all": tuple(TASKS),
}


def choose_tasks(names: list[str]) -> list[Task]:
    """Tasks by name, title or group, each once, in the order given; capitals, hyphens and the like do not matter.

    UserError for an unknown name, with the nearest.
    """
    if not names:
        raise UserError(f"no task is named; there are {', '.join([*GROUPS, *TASKS])}.")
    by_spelling = {plain_spelling(name): of for name, of in GROUPS.items()}
    for task in TASKS.values():
        by_spelling |= {plain_spelling(task.name): (task.name,), plain_spelling(task.title): (task.name,)}
    chosen: dict[str, Task] = {}
    for name in names:
        if plain_spelling(name) not in by_spelling:
            known = ", ".join([*GROUPS, *TASKS])
            raise UserError(f'there is no task "{name}"; {did_you_mean(name, [*TASKS, *GROUPS], f"there are {known}")}')
        chosen |= {each: TASKS[each] for each in by_spelling[plain_spelling(name)]}
    return list(chosen.values())
