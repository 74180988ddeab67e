"""Whole or absent: folders that replace others, and what is flushed where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sctd import files
from sctd.files import flush_to_disk, whole_folder


def test_a_folder_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with whole_folder(tmp_path / "place") as aside:
            (aside / "file").write_text(content)
    assert (tmp_path / "place" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename = tmp_path / "place", Path.rename
    place.mkdir()
    (place / "file").write_text("old")

    def killed(path: Path, target: Path) -> Path:
        if target == place:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt), whole_folder(place) as aside:
            (aside / "file").write_text("new")
    assert sorted(file.read_text() for file in tmp_path.glob("*/file")) == ["new", "old"]
    with whole_folder(place) as aside:
        (aside / "file").write_text("newer")
    assert [file.read_text() for file in tmp_path.glob("*/file")] == ["newer"]


def test_windows_flushes_files_open_for_writing_and_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt", fsync=flushed.append))
    (tmp_path / "file").write_text("text")
    flush_to_disk(tmp_path)
    assert not flushed
    flush_to_disk(tmp_path / "file")
    assert len(flushed) == 1
    assert (tmp_path / "file").read_text() == "text"
