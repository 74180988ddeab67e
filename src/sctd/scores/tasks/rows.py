"""Files of the official forms to rows: .tsv, .jsonl, SQuAD's .json, and IMDB's folders, plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sctd.console import say
from sctd.errors import UserError, first_line
from sctd.json_text import parse_json
from sctd.scores.tasks.task import Row, Task
from sctd.text.compression import COMPRESSIONS, damage_errors
from sctd.text.lines import text_lines

LARGEST = 64 * 2**20  # bytes of a file that is read whole; SQuAD's own are 42 MB at most


def read_rows(path: Path, task: Task) -> Iterator[Row]:
    """(place, fields) of each row; UserError, naming file and line, for what is not of the form."""
    if path.is_dir():
        return _folder(path)
    kind = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    if kind == ".jsonl":
        return jsonl_rows(path)
    if kind == ".json":
        return _squad(path)
    return _tsv(path, task)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as raw:
            stream = COMPRESSIONS[path.suffix](raw) if path.suffix in COMPRESSIONS else raw
            yield from text_lines(stream, str(path))
    except damage_errors() as error:
        raise _damaged(path, error) from error


def _bytes(path: Path) -> bytes:
    """A whole file: SQuAD's are one line of 40 MB."""
    try:
        with path.open("rb") as raw:
            content = (COMPRESSIONS[path.suffix](raw) if path.suffix in COMPRESSIONS else raw).read(LARGEST + 1)
    except damage_errors() as error:
        raise _damaged(path, error) from error
    if len(content) > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST // 2**20} MiB of JSON: bring a copy of the official file.")
    return content


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({first_line(error)}): it is damaged or cut; bring a whole copy.")


def _tsv(path: Path, task: Task) -> Iterator[Row]:
    """Tab-separated, without quoting; columns by the header, or by the task's own where the file has none."""
    columns: list[str] = []
    passed_over = 0
    for number, line in _lines(path):
        cells = line.split("\t")
        if not columns:
            headless = bool(task.header) and len(cells) == len(task.header) and cells != list(task.header)
            columns = list(task.header) if headless else cells
            if not headless:
                continue
        if not line:
            continue
        place = f"{path}, line {number}"
        if len(cells) != len(columns):
            if task.ragged:
                passed_over += 1
                continue
            names = ", ".join(columns)
            raise UserError(
                f"{place} has {len(cells)} columns where there are {len(columns)} ({names}, with tabs between): "
                "mend the file."
            )
        yield place, dict(zip(columns, cells, strict=True))
    if passed_over:
        say(f"{path}: passed over {passed_over:,} lines of another number of columns, as the official file has some.")


def jsonl_rows(path: Path) -> Iterator[Row]:
    """(place, object) of each line that is not blank, plain or compressed; UserError naming any other line."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{place}, is not JSON ({first_line(error)}): mend or remove the line.") from error
        if not isinstance(row, dict):
            raise UserError(f"{place}, is no JSON object: mend or remove the line.")
        yield place, row


def _squad(path: Path) -> Iterator[Row]:
    """SQuAD's nested form to one row a question, as the hub has them."""
    try:
        whole = parse_json(_bytes(path))
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [] if question.get("is_impossible") else question["answers"]
                    yield (
                        f"{path}, question {question['id']}",
                        {
                            "id": question["id"],
                            "question": question["question"],
                            "context": paragraph["context"],
                            "answers": {
                                "text": [answer["text"] for answer in answers],
                                "answer_start": [answer["answer_start"] for answer in answers],
                            },
                        },
                    )
    except ValueError as error:
        raise UserError(f"{path} is not JSON in UTF-8 ({first_line(error)}): bring a whole copy.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not of SQuAD's form (data / paragraphs / qas / id, question, answers; {error!r}): mend it."
        ) from error


def _folder(path: Path) -> Iterator[Row]:
    """Maas et al.'s own form: a text a file, in folders `neg` and `pos`."""
    for label, name in enumerate(("neg", "pos")):
        files = sorted((path / name).glob("*.txt"))
        if not files:
            raise UserError(f"{path / name} has no .txt files: bring a whole copy of aclImdb.")
        for file in files:
            yield str(file), {"text": " ".join(line for _, line in _lines(file)), "label": label}


def field(row: Row, names: tuple[str, ...], *, empty_allowed: bool = False) -> Any:
    """The first of these columns that the row has; UserError where it has none, or an empty text."""
    place, fields = row
    for name in names:
        if name in fields:
            value = fields[name]
            if value is None or (isinstance(value, str) and not value.strip() and not empty_allowed):
                raise UserError(f"{place}: {name!r} is empty: mend or remove the row.")
            return value
    tabs = "; tabs separate columns" if len(fields) == 1 else ""
    raise UserError(
        f"{place}: there is no column {names[0]!r} (columns: {', '.join(map(str, fields))}{tabs}); mend the file."
    )


def text_field(row: Row, names: tuple[str, ...], *, empty_allowed: bool = False) -> str:
    """Likewise, and a text."""
    value = field(row, names, empty_allowed=empty_allowed)
    if not isinstance(value, str):
        raise UserError(f"{row[0]}: {names[0]!r} holds {value!r}, not a text; mend the file.")
    return value


def label_field(row: Row, names: tuple[str, ...], labels: tuple[str, ...]) -> int:
    """The index of a label that is given by its name, as a JSON boolean, or as the hub gives it, by its index."""
    value = field(row, names)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, int) and str(value) not in labels and 0 <= value < len(labels):
        return value
    if str(value) not in labels:
        raise UserError(f"{row[0]}: the label {str(value)!r} is none of {', '.join(labels)}; mend or remove the row.")
    return labels.index(str(value))
