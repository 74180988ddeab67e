"""The demonstration's corpus: English prose from the machine's own Python sources, clean and without repetitions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sctd.errors import UserError
from sctd.text.machine_prose import as_prose, blocks, docstrings, gather_machine_prose, installed_folders, texts_in

SENTENCE = "The quick brown fox jumps over the lazy dog, and it does so again."
OTHER = "Nobody in this old house remembers who has left that lamp burning."


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def prose(text: str) -> list[str]:
    return [paragraph for block in blocks(text) if (paragraph := as_prose(block))]


def test_a_paragraph_a_line_and_a_blank_line_between_documents(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "alpha" / "one.py", f'"""{SENTENCE}\n\n{OTHER}\n"""\n')
    write(tmp_path / "lib" / "beta.py", '"""What is written here stands in no other file of the two.\n"""\n')
    stats = gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"])
    text = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert text == f"{SENTENCE}\n{OTHER}\n\nWhat is written here stands in no other file of the two.\n\n"
    assert (stats.documents, stats.paragraphs, stats.bytes) == (2, 3, len(text))
    assert stats.sources == {"alpha": len(SENTENCE) + len(OTHER) + 3, "beta": 58}


def test_docstrings_are_those_that_ast_finds() -> None:
    source = '''r"""Module's "own" docstring.

    Two lines \\d."""
# a comment with """ in it, and an apostrophe: don't
x = "a \\" string with \\"\\"\\""  # and ' more
class A:
    \'\'\'Class docstring, "quoted".\'\'\'
    text = """not a docstring"""
    def f(self):
        """Method docstring \\"escaped\\" here."""
'''
    tree = ast.parse(source)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    expected = [ast.get_docstring(node, clean=False) for node in nodes]
    assert [text.replace('\\"', '"') for text in docstrings(source)] == expected


def test_code_titles_tables_and_parameter_names_are_left_out() -> None:
    text = f"""
    Title of the whole page which is not a sentence at all
    ======================================================
    {SENTENCE}

    >>> print("This is how the code of a doctest looks like.")
    This is how the output of the doctest looks like.

    An example follows::

        This indented line is code and not a sentence of the text.

    .. code-block:: python

        This directive holds what the reader is to type, and no prose.

    ```
    The text between such fences is to be taken for code as well.
    ```

    Parameters
    ----------
    name : str, optional
        {OTHER}

    ====  ====    =========================================
    This  is a    table with the columns that are wide apart.
    """
    assert prose(text) == [SENTENCE, OTHER]


def test_inline_markup_is_taken_off() -> None:
    text = (
        "Use the :class:`~package.Thing` with ``code`` and **strong** or *weak* words -- as [the manual](page.html) "
        "says it [3]_."
    )
    assert prose(text) == ["Use the package.Thing with code and strong or weak words - as the manual says it."]


def test_items_of_a_list_are_paragraphs() -> None:
    first, second = OTHER.split(" has ")
    text = f"- {SENTENCE}\n- {first} has\n  {second}\n1. {SENTENCE}"
    assert prose(text) == [SENTENCE, OTHER, SENTENCE]


@pytest.mark.parametrize(
    "text",
    [
        "too short to be of any use.",
        "This one of all the lines has an address: see https://example.org for it.",
        "The value of x is = 3 for all of the rows in the table.",
        "this begins in the middle of what was a longer sentence.",
        "This is the heading of a section that goes on below the line",
        "Der schnelle braune Fuchs springt immer wieder gern hinweg, sagt Hans.",
        "The formula is :math:`x_i` and we use it for all of the rows.",
        "As is shown in [3], this is the best that one can do for it.",
        "foo.bar baz_qux a1 b2 c3 d4 the of and to in is.",
    ],
)
def test_what_is_not_english_prose_is_left_out(text: str) -> None:
    assert prose(text) == []


def test_what_generated_documentation_repeats_is_written_once(tmp_path: Path) -> None:
    template = "The bare {} model, which gives raw hidden states without any specific head on top of it."
    for name in ("Alpha", "BetaNet", "gamma_2"):
        write(tmp_path / "lib" / name / "model.py", f'"""{template.format(name)}\n\n{SENTENCE}"""\n')
    stats = gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"])
    assert (tmp_path / "out.txt").read_text() == f"{template.format('Alpha')}\n{SENTENCE}\n\n"
    assert stats.repeated == 4


def test_tests_vendored_copies_and_sctd_itself_are_not_read(tmp_path: Path) -> None:
    for folder in ("tests", "_vendor", "sctd", "sctd-0.1.0.dist-info", "site-packages"):
        write(tmp_path / "lib" / folder / "module.py", f'"""{OTHER}"""\n')
    write(tmp_path / "lib" / "kept.py", f'"""{SENTENCE}"""\n')
    gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"])
    assert (tmp_path / "out.txt").read_text() == f"{SENTENCE}\n\n"


def test_a_package_is_described_by_its_metadata(tmp_path: Path) -> None:
    metadata = f"Metadata-Version: 2.1\nSummary: {OTHER}\n\n# Title\n\n{SENTENCE}\n"
    write(tmp_path / "lib" / "some_thing-1.2.dist-info" / "METADATA", metadata)
    stats = gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"])
    assert (tmp_path / "out.txt").read_text() == f"{SENTENCE}\n\n"
    assert list(stats.sources) == ["some_thing"]


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_bytes(b'"""\xff\xfe is not UTF-8."""')
    (tmp_path / "lib" / "b.py").symlink_to(tmp_path / "nowhere.py")
    write(tmp_path / "lib" / "c.py", f'"""{SENTENCE}"""\n')
    assert gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"]).documents == 1


def test_the_limit_holds_and_cuts_between_documents(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "a.py", f'"""{SENTENCE}"""\n')
    write(tmp_path / "lib" / "b.py", f'"""{OTHER}"""\n')
    gather_machine_prose(tmp_path / "out.txt", max_bytes=100, roots=[tmp_path / "lib"])
    assert (tmp_path / "out.txt").read_text() == f"{SENTENCE}\n\n"


def test_a_machine_without_prose_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    with pytest.raises(UserError, match="give text of your own"):
        gather_machine_prose(tmp_path / "out.txt", roots=[tmp_path / "lib"])
    assert not (tmp_path / "out.txt").exists()


def test_pythons_manual_gives_a_document_a_topic() -> None:
    topics = texts_in(installed_folders()[0] / "pydoc_data" / "topics.py")
    assert len(topics) > 50
    assert all(len(topic) == 1 for topic in topics)


def test_the_standard_library_alone_gives_enough_to_start_with_and_the_same_twice(tmp_path: Path) -> None:
    library = installed_folders()[0]
    for name in ("one.txt", "two.txt"):
        gather_machine_prose(tmp_path / name, max_bytes=300_000, roots=[library])
    text = (tmp_path / "one.txt").read_bytes()
    assert 290_000 < len(text) <= 300_000
    assert text == (tmp_path / "two.txt").read_bytes()
