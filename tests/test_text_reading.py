"""Places to documents: every format with every compression, and each way in which a file can be bad."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from sctd.errors import UserError
from sctd.text.documents import read_documents
from sctd.text.options import ReadOptions
from sctd.text.sources import find_sources, passed_over

TEXTS = ["The first document.\nIts second paragraph.", "Zwei: äöü, 漢字.", 'One, "quoted", with a comma']


def write_txt(path: Path, texts: list[str]) -> None:
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts))


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([str(i), text] for i, text in enumerate(texts))])


def write_parquet(path: Path, texts: list[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": texts, "n": list(range(len(texts)))})
    pytest.importorskip("pyarrow.parquet").write_table(table, path)


WRITERS = {".txt": write_txt, ".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def read(*places: Path | str, **options: str) -> list[str]:
    sources = find_sources([str(place) for place in places])
    chosen = ReadOptions(**options)  # type: ignore[arg-type]
    return [text for source in sources for text in read_documents(source, chosen, lambda n: None)]


def refused(*places: Path | str, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        read(*places, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_with_each_compression_gives_the_same_documents(tmp_path: Path, kind: str, packing: str) -> None:
    plain = tmp_path / f"plain{kind}"
    WRITERS[kind](plain, TEXTS)
    path = tmp_path / f"file{kind}{packing}"
    path.write_bytes(PACKERS[packing](plain.read_bytes()))
    assert read(path) == TEXTS


@pytest.mark.parametrize("packing", [".gz", ".xz", ".zst"])
def test_compressed_files_may_be_several_joined(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACKERS[packing](b"one\n\n") + PACKERS[packing](b"two\n"))
    assert read(path) == ["one", "two"]


@pytest.mark.parametrize("packing", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "altered", "of another kind"])
def test_damaged_compressed_files_are_refused_by_name(tmp_path: Path, packing: str, damage: str) -> None:
    path = tmp_path / f"a.txt{packing}"
    # incompressible, so that bytes in the middle matter
    data = bytearray(PACKERS[packing]("".join(chr(97 + i * i % 23) for i in range(100_000)).encode()))
    if damage == "cut":
        data = data[:-10]
    elif damage == "altered":
        data[:40] = data[:10] + b"\x55" * 30
    else:
        data = bytearray(b"just text\n")
    path.write_bytes(data)
    assert f"a.txt{packing} is damaged or not a {packing} file" in refused(path)


def test_all_bytes_of_a_file_are_reported_to_the_progress_bar(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(b"some words\n\n" * 50_000))
    (source,) = find_sources([str(path)])
    told: list[int] = []
    list(read_documents(source, ReadOptions(), told.append))
    assert sum(told) == path.stat().st_size


# what a document is in a .txt file


@pytest.mark.parametrize(
    ("mode", "text", "documents"),
    [
        ("auto", "a\nb\n\nc\n", ["a\nb", "c"]),
        ("auto", "a\nb\nc\n", ["a", "b", "c"]),
        ("auto", "\n\na\nb\n\n\n", ["a", "b"]),
        ("auto", "a\r\nb\r\n\r\nc", ["a\nb", "c"]),
        ("auto", " a \n \t \n b\n", ["a", "b"]),
        ("line", "a\nb\n\nc\n", ["a", "b", "c"]),
        ("file", "a\nb\n\nc\n", ["a\nb\nc"]),
        ("blank-line", "a\nb\n", ["a\nb"]),
        ("auto", "\ufeffa\n\nb", ["a", "b"]),
        ("auto", "word", ["word"]),
        ("auto", "\n \n", []),
    ],
)
def test_documents_in_a_text_file(tmp_path: Path, mode: str, text: str, documents: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    assert read(path, documents=mode) == documents


def test_a_document_of_40_million_characters_is_cut_and_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    line = "word " * 200_000 + "\n"
    path.write_bytes(gzip.compress(line.encode() * 40, compresslevel=1))
    (source,) = find_sources([str(path)])
    tracemalloc.start()
    sizes = [len(text) for text in read_documents(source, ReadOptions(documents="file"), lambda n: None)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) > 39_000_000
    assert max(sizes) < 17 * 2**20
    assert peak < 150 * 2**20


def test_a_line_of_50_mb_is_refused_and_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"short\n" + b"long " * 10_000_000, compresslevel=1))
    tracemalloc.start()
    sentence = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "a.txt.gz, line 2, is longer than 16 MiB: break it into lines" in sentence
    assert peak < 60 * 2**20


# bad text


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("fine\nMünchen\n".encode("latin-1"))
    assert "a.txt, line 2, is not UTF-8 (byte 0xfc at 1)" in refused(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ELF\0\1\2")
    assert "a.txt, line 1, holds a NUL byte" in refused(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "cut', "line 2, is not JSON"),
        ("[1, 2]", "line 2, is a JSON list, not an object with the key 'text'"),
        ('{"body": "x", "id": 3}', "line 2, has no key 'text' (keys: body, id): name the right one with --text-key"),
        ('{"text": 7}', "line 2: 'text' holds a int, not a text"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    assert f"a.jsonl, {said}" in refused(path)


def test_json_nulls_and_blank_lines_are_passed_over_and_broken_escapes_are_kept_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n\n{"text": "a\\ud800b"}\n')
    assert read(path) == ["a?b"]


def test_another_text_key_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "here"}\n')
    assert read(path, text_key="body") == ["here"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,body\n1,x\n", "a.csv has no column 'text' (columns: id, body): name the right one with --text-key"),
        ("id,text\n1,x\n2\n", "a.csv, line 3, has 1 columns, and 'text' is number 2"),
        ('id,text\n1,"' + "no end\n" * 9, "is not CSV"),
    ],
)
def test_a_bad_csv_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert said in refused(path)


def test_a_parquet_file_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", TEXTS)
    assert "has no column 'body' (columns: text, n)" in refused(tmp_path / "a.parquet", text_key="body")
    assert "the column 'n' holds int64, not text" in refused(tmp_path / "a.parquet", text_key="n")


@pytest.mark.parametrize("content", [b"no parquet at all", b"PAR1" + bytes(50) + b"PAR1"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "a.parquet is damaged or not Parquet" in refused(path)


# places


def test_a_folder_is_read_with_all_below_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b/deep/2.txt", "a.txt", "b/1.jsonl", ".hidden/x.txt", "notes.md", "empty.txt"):
        content = '{"text": "b/1"}' if name.endswith("jsonl") else "" if "empty" in name else name
        (tmp_path / name).write_text(content)
    assert read(tmp_path) == ["a.txt", "b/1", "b/deep/2.txt"]


def test_globs_and_repeated_places_give_each_file_once(tmp_path: Path) -> None:
    for name in ("x1.txt", "x2.txt", "y.txt", "x.tsv"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path / "x*", tmp_path / "x2.txt", tmp_path) == ["x1.txt", "x2.txt", "y.txt"]
    assert read(tmp_path / "**" / "y.*") == ["y.txt"]


def test_places_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "table.xlsx").write_text("x")
    assert "nowhere.txt does not exist" in refused(tmp_path / "nowhere.txt")
    assert "*.txt.gz matches no file" in refused(tmp_path / "*.txt.gz")
    assert "empty holds no file that sctd can read: give .txt, .jsonl" in refused(tmp_path / "empty")
    assert "empty.txt is empty" in refused(tmp_path / "empty.txt")
    assert "table.xlsx is of a kind that sctd cannot read: give .txt, .jsonl" in refused(tmp_path / "table.xlsx")
    assert "x matches no file that sctd can read" in refused(tmp_path / "*.xlsx")
    assert "nothing to read" in refused()


def test_files_of_other_kinds_are_counted(tmp_path):
    for name in ("a.txt", "b.md", "deeper/c.pdf", "deeper/d.jsonl", ".hidden.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    for places, others in (([str(tmp_path)], 2), ([str(tmp_path / "*")], 2), ([str(tmp_path / "*.txt")], 0)):
        assert passed_over(places, find_sources(places)) == others


# files that ask for more memory than they have bytes


def zeros(window: int, blocks: int) -> bytes:
    """A zstd frame of so many blocks of 128 KiB of zeros, four bytes each."""
    head = 2**17 << 3 | 1 << 1
    block, last = (number.to_bytes(3, "little") + b"\0" for number in (head, head | 1))
    return b"\x28\xb5\x2f\xfd\0" + bytes([window]) + block * (blocks - 1) + last


def test_a_zstd_file_of_64_kib_that_unpacks_to_2_gib_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zeros(0x38, 2**14))
    tracemalloc.start()
    assert "line 1, is longer than 16 MiB" in refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_a_header_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    from fuzz_damage import large_dictionary

    (tmp_path / "a.txt.xz").write_bytes(large_dictionary(b"text\n", 40))
    assert "Memory usage limit exceeded" in refused(tmp_path / "a.txt.xz")
    (tmp_path / "a.txt.zst").write_bytes(zeros(0xF8, 1))
    assert "a.txt.zst is damaged" in refused(tmp_path / "a.txt.zst")


@pytest.mark.parametrize("packing", [".gz", ".xz", ".zst"])
def test_zeros_after_a_compressed_stream_are_padding_and_other_bytes_are_damage(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACKERS[packing](b"one\n") + b"\0" * 512)
    assert read(path) == ["one"]
    path.write_bytes(PACKERS[packing](b"one\n") + b"something else")
    assert f"a.txt{packing} is damaged" in refused(path)
