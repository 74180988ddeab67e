"""Files of the official forms become examples, and whatever is wrong with them is named with its place."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from sctd.errors import UserError
from sctd.scores.evaluate import evaluate
from sctd.scores.jobs import load_task
from sctd.scores.tasks.load import load_split, notes, splits_of
from sctd.scores.tasks.table import GROUPS, TASKS, choose_tasks
from sctd.scores.tasks.task import ChoiceExample, SpanExample, TextExample, WordPairExample, checksum_of

SHARED = Path(__file__).parents[2] / "shared" / "data" / "tasks"


def put(tmp_path: Path, name: str, text: str | bytes) -> str:
    """Write DATA/name and return DATA."""
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(tmp_path / "data")


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def squad(*questions: dict[str, Any], context: str = "Rome fell in 476.") -> str:
    return json.dumps(
        {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": [*questions]}]}]}
    )


# ---- the official forms


def test_cola_has_no_header_in_its_official_file_and_may_have_one(tmp_path: Path) -> None:
    wanted = [TextExample("0", "They ran.", 1), TextExample("1", 'Ran "they.', 0)]
    bare = 'gj04\t1\t\tThey ran.\ngj04\t0\t*\tRan "they.\n'
    assert load_split(TASKS["cola"], put(tmp_path / "a", "CoLA/dev.tsv", bare), "dev") == wanted
    headed = "source\tlabel\tstar\tsentence\n" + bare
    assert load_split(TASKS["cola"], put(tmp_path / "b", "cola/dev.tsv", headed), "dev") == wanted


def test_folders_are_found_by_the_official_names_too(tmp_path: Path) -> None:
    data = put(tmp_path, "SST-2/dev.tsv", "sentence\tlabel\nfine\t1\n")
    assert load_split(TASKS["sst2"], data, "dev") == [TextExample("0", "fine", 1)]
    data = put(
        tmp_path,
        "SQuAD-v1.1/dev-v1.1.json",
        squad({"id": "a", "question": "When?", "answers": [{"text": "476", "answer_start": 13}]}),
    )
    assert splits_of(TASKS["squad_v1"], data) == ("dev",)


def test_mnli_is_scored_on_its_two_halves_where_they_are_there(tmp_path: Path) -> None:
    columns, row = "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label", "0\tfiction\tA\tB\tneutral\tcontradiction"
    official = f"{columns}\n{row}\n"
    put(tmp_path, "MNLI/dev_matched.tsv", official)
    data = put(tmp_path, "MNLI/dev_mismatched.tsv", official)
    assert splits_of(TASKS["mnli"], data) == ("dev_matched", "dev_mismatched")
    assert load_split(TASKS["mnli"], data, "dev_matched") == [TextExample("0", "A", 2, second="B")]


def test_multirc_is_read_nested_as_official_and_flat(tmp_path: Path) -> None:
    nested = {
        "idx": 0,
        "passage": {
            "text": "P",
            "questions": [
                {
                    "question": "Q?",
                    "idx": 0,
                    "answers": [{"text": "x", "idx": 0, "label": 1}, {"text": "y", "idx": 1, "label": 0}],
                },
                {"question": "R?", "idx": 1, "answers": [{"text": "z", "idx": 2, "label": 0}]},
            ],
        },
    }
    found = load_split(TASKS["multirc"], put(tmp_path / "a", "MultiRC/val.jsonl", lines(nested)), "dev")
    assert [(e.first, e.second, e.label) for e in found] == [("P", "Q? x", 1), ("P", "Q? y", 0), ("P", "R? z", 0)]
    assert found[0].group == found[1].group != found[2].group
    flat = {"passage": "P", "question": "Q?", "answer": "x", "label": 1, "qid": "7", "idx": 3}
    found = load_split(TASKS["multirc"], put(tmp_path / "b", "multirc/dev.jsonl", lines(flat)), "dev")
    assert found == [TextExample("0", "P", 1, second="Q? x", group="7")]


def test_boolq_cb_copa_and_wic_in_superglue_s_forms(tmp_path: Path) -> None:
    data = put(tmp_path, "BoolQ/val.jsonl", lines({"question": "is it", "passage": "It is.", "label": True, "idx": 0}))
    assert load_split(TASKS["boolq"], data, "dev") == [TextExample("0", "is it", 1, second="It is.")]
    put(tmp_path, "CB/val.jsonl", lines({"premise": "A", "hypothesis": "B", "label": "neutral"}))
    assert load_split(TASKS["cb"], data, "dev") == [TextExample("0", "A", 2, second="B")]
    row = {"premise": "It rained.", "choice1": "x", "choice2": "y", "question": "effect", "label": 1}
    put(tmp_path, "COPA/val.jsonl", lines(row))
    wanted = ChoiceExample("0", "It rained. What happened as a result?", ("x", "y"), 1)
    assert load_split(TASKS["copa"], data, "dev") == [wanted]
    row = {
        "word": "bank",
        "sentence1": "The bank",
        "sentence2": "A bank",
        "start1": 4,
        "end1": 8,
        "start2": -1,
        "end2": -1,
        "label": False,
    }
    put(tmp_path, "WiC/val.jsonl", lines(row))
    assert load_split(TASKS["wic"], data, "dev") == [
        WordPairExample("0", "bank", "The bank", "A bank", ((4, 8), (-1, -1)), 0)
    ]


def test_an_answer_beside_its_start_is_looked_for(tmp_path: Path) -> None:
    answers = [{"text": "476", "answer_start": 13}, {"text": "e", "answer_start": 8}]
    text = squad(
        {"id": "a", "question": "When?", "answers": answers},
        {"id": "b", "question": "Who?", "answers": [], "is_impossible": True},
    )
    found = load_split(TASKS["squad_v2"], put(tmp_path, "squad_v2/dev.json", text), "dev")
    assert found == [
        SpanExample("a", "When?", "Rome fell in 476.", (("476", 13), ("e", 6))),
        SpanExample("b", "Who?", "Rome fell in 476.", ()),
    ]


def test_imdb_is_read_as_folders_and_as_compressed_lines(tmp_path: Path) -> None:
    put(tmp_path / "a", "aclImdb/test/neg/0_1.txt", "Bad.<br />Really.")
    data = put(tmp_path / "a", "aclImdb/test/pos/0_9.txt", "Good.")
    wanted = [TextExample("0", "Bad. Really.", 0), TextExample("1", "Good.", 1)]
    assert load_split(TASKS["imdb"], data, "test") == wanted
    text = lines({"id": "x", "text": "Bad. Really.", "label": 0}, {"id": "y", "text": "Good.", "label": 1}).encode()
    assert load_split(TASKS["imdb"], put(tmp_path / "b", "imdb/test.jsonl.xz", lzma.compress(text)), "test") == wanted
    assert load_split(TASKS["imdb"], put(tmp_path / "c", "imdb/test.jsonl.gz", gzip.compress(text)), "test") == wanted


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [({"text": None}, "'text' is empty"), ({"text": 7}, "holds 7, not a text"), ({}, "there is no column 'text'")],
)
def test_a_review_that_is_no_text_is_named(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    data = put(tmp_path, "imdb/train.jsonl", lines({**fields, "label": 1}))
    with pytest.raises(UserError, match=sentence):
        load_split(TASKS["imdb"], data, "train")


def test_a_stray_tab_is_named(tmp_path: Path) -> None:
    data = put(tmp_path, "sst2/train.tsv", "sentence\tlabel\ngood\tfilm\t1\n")
    with pytest.raises(UserError, match="line 2 has 3 columns where there are 2"):
        load_split(TASKS["sst2"], data, "train")


def test_rte_is_read_in_superglue_s_form_too(tmp_path: Path) -> None:
    row = {"premise": "Rome fell.", "hypothesis": "Rome stood.", "label": "not_entailment", "idx": 0}
    data = put(tmp_path, "rte/train.jsonl", lines(row))
    [example] = load_split(TASKS["rte"], data, "train")
    assert (example.first, example.second, example.label) == ("Rome fell.", "Rome stood.", 1)


def test_the_hub_s_rows_become_the_same_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    hub = {
        ("nyu-mll/glue", "rte", "validation"): [{"sentence1": "A", "sentence2": "B", "label": 1, "idx": 0}],
        ("nyu-mll/glue", "mrpc", "validation"): [{"sentence1": "A", "sentence2": "B", "label": 1, "idx": 0}],
        ("aps/super_glue", "boolq", "validation"): [{"question": "q", "passage": "p", "idx": 0, "label": 1}],
        ("aps/super_glue", "multirc", "validation"): [
            {
                "paragraph": "P",
                "question": "Q?",
                "answer": "x",
                "idx": {"paragraph": 3, "question": 1, "answer": 0},
                "label": 1,
            }
        ],
        ("nyu-mll/glue", "stsb", "validation"): [{"sentence1": "A", "sentence2": "B", "label": 2.5, "idx": 0}],
    }

    def load_dataset(name: str, config: str | None, split: str) -> Any:
        return datasets.Dataset.from_list(hub[name, config or "", split])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_split(TASKS["rte"], None, "dev") == [TextExample("0", "A", 1, second="B")]  # not_entailment
    data = put(tmp_path, "rte/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n")
    assert load_split(TASKS["rte"], data, "dev") == load_split(TASKS["rte"], None, "dev")
    assert load_split(TASKS["mrpc"], None, "dev") == [TextExample("0", "A", 1, second="B")]
    assert load_split(TASKS["boolq"], None, "dev") == [TextExample("0", "q", 1, second="p")]
    assert load_split(TASKS["multirc"], None, "dev") == [TextExample("0", "P", 1, second="Q? x", group="3-1")]
    assert load_split(TASKS["stsb"], None, "dev") == [TextExample("0", "A", 2.5, second="B")]


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"hf:nyu-mll/glue cannot be had .*no route.*--data"):
        load_split(TASKS["cola"], None, "train")


# ---- what is wrong is named


SENTENCES = "sentence\tlabel\n"
PAIRS = "sentence1\tsentence2\tscore\n"
CHOICE = {"premise": "a", "choice1": "b", "choice2": "c", "question": "why", "label": 0}
WORD = {"word": "a", "sentence1": "a", "sentence2": "a", "start1": 0, "end1": 5, "start2": 0, "end2": 1, "label": True}
ASKED = {"id": "a", "question": "q", "answers": []}

BROKEN: list[tuple[str, str, str | bytes, str]] = [
    ("sst2", "sst2/dev.tsv", SENTENCES + "fine\t2\n", r"dev.tsv, line 2: the label '2' is none of 0, 1"),
    ("sst2", "sst2/dev.tsv", SENTENCES + " \t1\n", "line 2: 'sentence' is empty"),
    ("sst2", "sst2/dev.tsv", "text\tlabel\nfine\t1\n", r"line 2: there is no column 'sentence' \(columns: text, lab"),
    ("sst2", "sst2/dev.tsv", SENTENCES + "fine\n", r"line 2 has 1 columns where there are 2 \(sentence, label, "),
    ("sst2", "sst2/dev.tsv", SENTENCES, "dev.tsv has no examples"),
    ("sst2", "sst2/dev.tsv", b"sentence\tlabel\nf\xff\t1\n", "line 2, is not UTF-8"),
    ("sst2", "sst2/train.tsv", SENTENCES + "fine\t1\n", r"no file of SST-2's dev split \(looked for dev.tsv\)"),
    ("sst2", "sst2/dev.tsv.gz", b"no gzip", "dev.tsv.gz cannot be read"),
    ("sst2", "cola/dev.tsv", "x", "has no folder sst2: bring SST-2"),
    ("stsb", "stsb/dev.tsv", PAIRS + "a\tb\t6\n", r"line 2: the score 6 is not in \[0, 5\]"),
    ("stsb", "stsb/dev.tsv", PAIRS + "a\tb\thigh\n", "line 2: the score 'high' is no number"),
    ("cb", "cb/dev.jsonl", "{broken\n", "dev.jsonl, line 1, is not JSON"),
    ("cb", "cb/dev.jsonl", "[1]\n", "line 1, is no JSON object"),
    ("cb", "cb/dev.jsonl", lines({"premise": "a", "hypothesis": 3, "label": "neutral"}), "holds 3, not a text"),
    ("copa", "copa/dev.jsonl", lines(CHOICE), "neither cause nor effect"),
    ("wic", "wic/dev.jsonl", lines(WORD), "start1 0 and end1 5 are no part"),
    ("multirc", "multirc/dev.jsonl", lines({"passage": {"text": "a"}, "idx": 0}), "not of MultiRC's form"),
    ("squad_v1", "squad_v1/dev.json", "{", "dev.json is not JSON in UTF-8"),
    ("squad_v1", "squad_v1/dev.json", "{}", "not of SQuAD's form"),
    ("squad_v1", "squad_v1/dev.json", squad(ASKED), "question a has no answer"),
    (
        "squad_v1",
        "squad_v1/dev.json",
        squad(ASKED | {"answers": [{"text": "477", "answer_start": 13}]}),
        "question a: its answer '477' does not stand",
    ),
]


@pytest.mark.parametrize(("task", "name", "text", "sentence"), BROKEN)
def test_a_broken_file_is_named_with_its_line(
    tmp_path: Path, task: str, name: str, text: str | bytes, sentence: str
) -> None:
    data = put(tmp_path, name, text)
    with pytest.raises(UserError, match=sentence):
        load_split(TASKS[task], data, "dev")


def test_a_data_folder_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        splits_of(TASKS["cola"], "nowhere")


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r'no task "sqad_v1"; did you mean "squad_v1"\?'):
        choose_tasks(["cola", "sqad_v1"])


def test_tasks_are_known_by_any_spelling_and_named_in_the_help() -> None:
    names = ["CoLA", "sst-2", "SQuAD v1.1", "squad-v2", "STS-B", "GLUE"]
    assert [task.name for task in choose_tasks(names)][:5] == ["cola", "sst2", "squad_v1", "squad_v2", "stsb"]
    assert all(name in (evaluate.__doc__ or "") for name in [*TASKS, *GROUPS])


def test_groups_are_chosen_once_and_in_order() -> None:
    assert [task.name for task in choose_tasks(["rte", "glue"])][:2] == ["rte", "cola"]
    assert len(choose_tasks(["glue", "rte"])) == 8
    assert len(choose_tasks(["paper"])) == 12
    assert len(choose_tasks(["all"])) == 16 == len(TASKS)
    assert {name for names in GROUPS.values() for name in names} == set(TASKS)


# ---- the real files

COUNTS = {
    "cola": (8551, 1043), "sst2": (67349, 872), "mrpc": (3667, 408), "stsb": (5749, 1500), "rte": (2490, 277),
    "qnli": (7364, 5463), "qqp": (16209, 4003), "mnli": (10000, 9979), "boolq": (1543, 3270), "cb": (250, 56),
    "copa": (373, 100), "wic": (5428, 638), "multirc": (3214, 4848), "squad_v1": (8799, 3748),
    "squad_v2": (6949, 1531), "imdb": (25000, 25000),
}  # fmt: skip


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/tasks is not there")
@pytest.mark.parametrize("name", TASKS)
def test_the_shared_copy_of_a_task_reads_whole(name: str) -> None:
    task = TASKS[name]
    [scored] = splits_of(task, str(SHARED))
    sizes = tuple(len(load_split(task, str(SHARED), split)) for split in ("train", scored))
    assert sizes == COUNTS[name]


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/tasks is not there")
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.copies])
def test_copies_that_are_known_are_marked(name: str) -> None:
    task = TASKS[name]
    for split, _ in task.copies:
        examples = load_split(task, str(SHARED), split)
        assert task.copies[split, checksum_of(examples)[:12]] in notes(
            task, split, len(examples), checksum_of(examples)
        )


def test_a_subset_is_marked() -> None:
    assert notes(TASKS["qnli"], "train", 7364, "") == ["7,364 of 104,743 rows"]
    assert notes(TASKS["cola"], "train", 8551, "") == []


# ---- what is larger or deeper than any official file


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 9000, '"\\ud800"'], ids=["digits", "depth", "half a character"])
def test_json_that_no_reader_can_hold_is_named_with_its_place(tmp_path: Path, value: str) -> None:
    data = put(tmp_path, "cb/dev.jsonl", f'{{"premise": {value}}}\n')
    with pytest.raises(UserError, match=r"dev\.jsonl, line 1, is not JSON"):
        load_split(TASKS["cb"], data, "dev")
    data = put(tmp_path, "squad_v1/dev.json", f'{{"data": {value}}}')
    with pytest.raises(UserError, match=r"dev\.json is not JSON in UTF-8"):
        load_split(TASKS["squad_v1"], data, "dev")


def test_a_file_that_unpacks_to_more_than_is_read_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sctd.scores.tasks.rows.LARGEST", 2**20)
    data = put(tmp_path, "squad_v1/dev.json.gz", gzip.compress(b'{"data": [' + b" " * 2**21))
    with pytest.raises(UserError, match="is larger than 1 MiB of JSON"):
        load_split(TASKS["squad_v1"], data, "dev")


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400])
def test_a_number_that_is_none_of_a_score_or_a_place_is_named(tmp_path: Path, number: str) -> None:
    row = f'{{"word": "a", "sentence1": "a", "sentence2": "a", "start1": {number}, "end1": 1, "label": true}}\n'
    with pytest.raises(UserError, match="start1"):
        load_split(TASKS["wic"], put(tmp_path, "wic/dev.jsonl", row), "dev")
    data = put(tmp_path, "stsb/dev.tsv", f"sentence1\tsentence2\tscore\na\tb\t{number}\n")
    with pytest.raises(UserError, match="score"):
        load_split(TASKS["stsb"], data, "dev")


def test_training_rows_of_one_label_alone_are_said(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        path = tmp_path / "sst2" / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("sentence\tlabel\nfine\t1\ngood\t1\n", encoding="utf-8")
    loaded = load_task(TASKS["sst2"], str(tmp_path), "full")
    assert "train: one label alone, so that there is nothing to learn" in loaded.notes
