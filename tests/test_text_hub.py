"""Hugging Face data sets as input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sctd.errors import UserError
from sctd.text import hub
from sctd.text.options import ReadOptions

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def no_cache_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_a_local_folder_of_data_files_is_streamed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(5)))
    assert list(hub.documents(f"hf:{folder}", ReadOptions())) == [f"text {i}" for i in range(5)]


def test_a_folder_written_by_save_to_disk_is_read(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "b"]})
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": rows}).save_to_disk(tmp_path / "several")
    assert list(hub.documents(f"hf:{tmp_path / 'one'}", ReadOptions())) == ["a", "b"]
    assert list(hub.documents(f"hf:{tmp_path / 'several'}", ReadOptions(split="test"))) == ["a", "b"]
    with pytest.raises(UserError, match=r"split 'train', cannot be read .* check the name, --split"):
        list(hub.documents(f"hf:{tmp_path / 'several'}", ReadOptions()))


def test_a_data_set_of_the_hub_is_streamed_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    given = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal given
        for i in range(10**9):
            given += 1
            yield {"body": f"text {i}"}

    def load_dataset(*arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        asked.append((arguments, options))
        return rows()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    texts = hub.documents("hf:owner/name:config", ReadOptions(text_key="body", split="test"))
    assert [next(texts) for _ in range(3)] == ["text 0", "text 1", "text 2"]
    assert asked == [(("owner/name", "config"), {"split": "test", "streaming": True})]
    assert given == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"body": "x", "id": 1}, r"hf:name has no column 'text' \(columns: body, id\)"),
        ({"text": 3}, "hf:name, row 0: 'text' holds a int, not a text"),
    ],
)
def test_rows_without_a_text_are_refused(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], said: str) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: [row])
    with pytest.raises(UserError, match=said):
        list(hub.documents("hf:name", ReadOptions()))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route"),
        ValueError("Bad split"),
        datasets.exceptions.DatasetNotFoundError("gone\nsecond line"),
    ],
)
def test_a_data_set_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="hf:name, split 'train', cannot be read") as caught:
        list(hub.documents("hf:name", ReadOptions()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["datasets"])
def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'sctd\[datasets\]'"):
        list(hub.documents("hf:name", ReadOptions()))


def test_a_damaged_folder_is_refused_before_arrow_reads_what_it_points_to(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["one", "two", "three"]}).save_to_disk(tmp_path / "set")
    [arrow] = (tmp_path / "set").glob("*.arrow")
    whole = arrow.read_bytes()
    at = whole.rindex(b"onetwothree") - 64  # the offsets of the texts
    arrow.write_bytes(whole[:at] + b"\x7f" * 12 + whole[at + 12 :])
    with pytest.raises(UserError, match="cannot be read"):
        list(hub.documents(f"hf:{tmp_path / 'set'}", ReadOptions()))
    arrow.write_bytes(whole)
    (tmp_path / "set" / "state.json").write_text('{"_data_files": 3}')
    with pytest.raises(UserError, match="cannot be read"):
        list(hub.documents(f"hf:{tmp_path / 'set'}", ReadOptions()))
