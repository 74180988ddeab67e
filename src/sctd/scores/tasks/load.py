"""A task's split to examples, from a folder of official files or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sctd.errors import UserError, first_line
from sctd.scores.tasks.rows import read_rows
from sctd.scores.tasks.task import Example, Row, Task, plain_spelling
from sctd.text.compression import COMPRESSIONS


def splits_of(task: Task, data: str | None) -> tuple[str, ...]:
    """What is scored of a task, in the order in which it is reported; UserError where the folder has none of it."""
    if data is None:
        return tuple(split for split in task.hub.splits if split != "train")
    folder = task_folder(task, data)
    scored = [split for split in task.files if split != "train"]
    found = tuple(split for split in scored if _file(folder, task, split) is not None)
    if not found:
        raise _missing(folder, task, scored)
    return found


def load_split(task: Task, data: str | None, split: str) -> list[Example]:
    """The examples of a split, in the file's order.

    Args:
        task: one of `sctd.scores.tasks.table.TASKS`.
        data: folder with a folder for each task, or null: the hub.
        split: `train`, or one of `splits_of`.

    Raises:
        UserError: a missing folder, file or column, a row of another form, an empty split, or no hub.
    """
    if data is None:
        place, rows = f"hf:{task.hub.name}", _hub_rows(task, split)
    else:
        folder = task_folder(task, data)
        path = _file(folder, task, split)
        if path is None:
            raise _missing(folder, task, [split])
        place, rows = str(path), read_rows(path, task)
    examples: list[Example] = task.read(rows, task)
    if not examples:
        raise UserError(f"{place} has no examples: bring a whole copy.")
    return examples


def task_folder(task: Task, data: str) -> Path:
    """DATA/NAME, whatever its capitals, hyphens and underscores: GLUE's SST-2 is sst2 here."""
    root = Path(data)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give a folder with a folder for each task, such as cola.")

    names = [task.name, task.title, *(["aclImdb"] if task.name == "imdb" else [])]
    wanted = set(map(plain_spelling, names))
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and plain_spelling(path.name) in wanted]
    if not folders:
        raise UserError(f"{root} has no folder {task.name}: bring {task.title}, or leave {task.name} out.")
    return folders[0]


def _file(folder: Path, task: Task, split: str) -> Path | None:
    names = (name + ending for name in task.files[split] for ending in ("", *COMPRESSIONS))
    return next((folder / name for name in names if (folder / name).exists()), None)


def _missing(folder: Path, task: Task, splits: list[str]) -> UserError:
    names = ", ".join(name for split in splits for name in task.files[split])
    return UserError(
        f"{folder} has no file of {task.title}'s {' or '.join(splits)} split (looked for {names}): bring a whole copy."
    )


def _hub_rows(task: Task, split: str) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "datasets is not installed: pip install 'sctd[evaluate]' brings it, or give --data a folder of task files."
        ) from error
    hub = task.hub
    try:
        rows: Any = datasets.load_dataset(hub.name, hub.config, split=hub.splits[split])
    except Exception as error:  # its network library's errors come through as they are
        raise UserError(
            f"hf:{hub.name} cannot be had from the Hugging Face hub ({first_line(error)}): check the connection, or "
            "give --data a folder of task files."
        ) from error
    for number, row in enumerate(rows):
        yield f"hf:{hub.name}, row {number}", {hub.columns.get(name, name): value for name, value in row.items()}


def notes(task: Task, split: str, rows: int, checksum: str) -> list[str]:
    """What a table must say of a split: that it is a part of the official one, or a copy that is known."""
    found = []
    official = task.official_rows.get(split)
    if official is not None and rows < official:
        found.append(f"{rows:,} of {official:,} rows")
    if (split, checksum[:12]) in task.copies:
        found.append(task.copies[split, checksum[:12]])
    return found
