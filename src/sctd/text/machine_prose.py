"""The English prose that every machine with Python holds already: the corpus of `sctd demo`, without a download.

It comes from Python's own manual topics, from the docstrings of the standard library and of the installed packages,
and from the packages' descriptions. Sources are parsed, never imported. A document is one module, topic or
description; what generated or copied documentation repeats is written once.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sctd.errors import UserError
from sctd.files import write_text

SKIPPED_FOLDERS = frozenset({"__pycache__", "_vendor", "dist-packages", "site-packages", "test", "tests", "sctd"})
LARGEST_FILE = 1_000_000  # bytes; a longer source is generated
FEWEST_WORDS = 8  # in a paragraph
SHINGLE = 5  # words; a paragraph that has more than half of its runs of five words from earlier ones is a repetition

STOP_WORDS = frozenset(
    """a about all also an and any are as at be because been before but by can could do does each for from had has
    have how if in into is it its may more must no not of on one only or other should so some such than that the
    their them then there these they this to used using was we were when where which while will with would you
    your""".split()  # noqa: SIM905
)
WORD = re.compile(r"[\"'(]*[A-Za-z]+(?:[-'/][A-Za-z]+)*[\"')]*[.,;:!?]*[\"')]*")
LOWER_CASE_WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
STARTS_LIKE_A_SENTENCE = re.compile(r"[\"'(]*[A-Z]")
ENDS_LIKE_A_SENTENCE = re.compile(r"[.!?][\"')]*$")
NOT_PROSE = re.compile(r"://|www\.|:math:|[\\{}|<>=@#$^~`]|\S {3,}\S|--\w")
# "as shown in [3]." would have a hole once the footnote's number is gone
SPOKEN_FOOTNOTE = re.compile(r"\b(?:and|by|from|in|of|on|per|[sS]ee|to|with) \[\d")
# Python's strings and comments; possessive, so that a scan of 200 MB of sources takes seconds
STRING_OR_COMMENT = re.compile(
    r'"""(?P<double>(?:[^"\\]++|\\.|"(?!""))*+)"""'
    r"|'''(?P<single>(?:[^'\\]++|\\.|'(?!''))*+)'''"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'(?:[^'\\\n]++|\\.)*+'"
    r"|\#[^\n]*+",
    re.DOTALL,
)
ITEM = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)]|\(?[a-z]\)) +")
CODE_LINE = re.compile(r">>>|\.\.\. |In \[|\$ |[:@]\w")
TITLE_LINE = re.compile(r"([-=~^*#+`\"'.])\1{2,}$")
DIRECTIVE = re.compile(r"\.\. ")
PROSE_DIRECTIVE = re.compile(
    r"\.\. (attention|caution|deprecated|hint|important|note|seealso|tip|version\w+|warning)::"
)
# (a character that it takes, pattern, replacement)
INLINE_MARKUP = (
    ("`", re.compile(r"(?::(?!math)[\w+-]+)+:`~?!?\.?([^`<]+?)(?:\s*<[^>`]*>)?`"), r"\1"),  # :class:`~a.B`
    ("`", re.compile(r"`{1,3}([^`<]+?)(?:\s*<[^>`]*>)?`{1,3}_{0,2}"), r"\1"),  # ``code``, `link <address>`_
    ("[", re.compile(r"!?\[([^\]]+)\]\([^)]*\)"), r"\1"),  # [link](address)
    ("[", re.compile(r"\s?\[\d+\]_?"), ""),  # a footnote's number
    ("*", re.compile(r"(?<![\w*])(\*{1,2})(?=\S)(.+?)(?<=\S)\1(?![\w*])"), r"\2"),  # **strong**, *emphasis*
    ("-", re.compile(r" -{2,3} "), " - "),
)


@dataclass
class ProseStats:
    """What `gather_machine_prose` wrote.

    Args:
        documents: modules, topics and descriptions that had prose.
        paragraphs: lines of text.
        bytes: size of the file.
        repeated: paragraphs left out because earlier ones say the same.
        sources: bytes of text by where it is from (`python` or a package's name), the largest first.
    """

    documents: int = 0
    paragraphs: int = 0
    bytes: int = 0
    repeated: int = 0
    sources: dict[str, int] = field(default_factory=dict)


def gather_machine_prose(out: Path, max_bytes: int = 64_000_000, *, roots: Sequence[Path] | None = None) -> ProseStats:
    """Write this machine's English prose to one text file: a paragraph a line, a blank line between documents.

    The same installed packages give the same file, byte for byte.

    Args:
        out: the text file (UTF-8) to write, whole or not at all.
        max_bytes: stop before the document that would make the file longer.
        roots: folders to read instead of the standard library and the installed packages.

    Raises:
        UserError: there is no prose at all (an installation without sources).
    """
    stats, seen = ProseStats(), set[int]()
    written: list[str] = []
    for source, document in documents(installed_folders() if roots is None else roots):
        fresh = [paragraph for paragraph in document if not _is_repetition(paragraph, seen)]
        stats.repeated += len(document) - len(fresh)
        if not fresh:
            continue
        text = "".join(f"{paragraph}\n" for paragraph in fresh) + "\n"  # ASCII: a character is a byte
        if stats.bytes + len(text) > max_bytes:
            break
        written.append(text)
        stats.documents += 1
        stats.paragraphs += len(fresh)
        stats.bytes += len(text)
        stats.sources[source] = stats.sources.get(source, 0) + len(text)
    if not written:
        raise UserError(
            "No documentation is left in the sources of this Python and its packages: "
            "give text of your own to sctd prepare."
        )
    stats.sources = dict(sorted(stats.sources.items(), key=lambda item: (-item[1], item[0])))
    write_text(out, "".join(written))
    return stats


def installed_folders() -> list[Path]:
    """The standard library and the folders of installed packages of the running Python."""
    return [Path(path) for path in dict.fromkeys(map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))]


def source_files(root: Path) -> list[tuple[str, Path]]:
    """(source, file) for what may hold prose below a folder, always in the same order."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("sctd-")]
        found += [
            Path(folder, name)
            for name in names
            if name.endswith((".py", ".rst", ".md")) or (name == "METADATA" and folder.endswith(".dist-info"))
        ]
    standard_library = Path(os.__file__).parent
    return [
        ("python" if root == standard_library else re.split(r"-\d|\.", path.relative_to(root).parts[0])[0], path)
        for path in sorted(found, key=lambda path: path.relative_to(root).as_posix())
    ]


def documents(roots: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """(source, paragraphs) of every document with prose below these folders."""
    for root in roots:
        for source, file in source_files(root):
            for texts in texts_in(file):
                paragraphs = [paragraph for text in texts for block in blocks(text) if (paragraph := as_prose(block))]
                if paragraphs:
                    yield source, paragraphs


def texts_in(file: Path) -> list[list[str]]:
    """The texts of each document in a file; what cannot be read or parsed has none."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            return []
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if file.name == "METADATA":
        return [[text.partition("\n\n")[2]]]
    if file.suffix != ".py":
        return [[text]]
    if file.parent.name == "pydoc_data" and file.stem == "topics":
        try:
            return [[topic] for topic in ast.literal_eval(text.partition("=")[2].strip()).values()]
        except (ValueError, SyntaxError):  # another form, in another version of Python
            return []
    return [list(docstrings(text))]


def docstrings(source: str) -> Iterator[str]:
    """The triple-quoted strings of a Python source that stand first on their line, in order.

    These are the docstrings, and the documentation that some packages attach by a call. Reading them this way takes
    a tenth of the time of parsing, and a source of any Python version will do.
    """
    for match in STRING_OR_COMMENT.finditer(source):
        text = match["double"] or match["single"]
        before = source[source.rfind("\n", 0, match.start()) + 1 : match.start()]
        if text and before.strip() in ("", "r", "R"):
            yield text


def blocks(text: str) -> Iterator[str]:
    """A text's candidate paragraphs, each on one line: runs of lines of one indentation, without code and titles."""
    block: list[str] = []
    indentation = 0
    fenced = False
    code_below: int | None = None  # what is indented deeper than this is code
    for line in [*inspect.cleandoc(text).splitlines(), ""]:
        content = line.strip()
        depth = len(line) - len(line.lstrip())
        item = ITEM.match(content)
        ends_here = not content or item or depth != indentation or CODE_LINE.match(content)
        directive = DIRECTIVE.match(content)
        fence = content.startswith(("```", "~~~"))
        if block and (ends_here or directive or fence):
            yield " ".join(block)
            block = []
        if fence:
            fenced = not fenced
            continue
        if content and code_below is not None and depth <= code_below:
            code_below = None
        if not content or fenced or code_below is not None:
            continue
        if TITLE_LINE.match(content):
            block = []  # the line above was a title
        elif directive:
            if not PROSE_DIRECTIVE.match(content):
                code_below = depth
        else:
            if item:
                depth, content = depth + item.end(), content[item.end() :]
            if not block:
                indentation = depth
            block.append(content)
            if content.endswith("::"):
                code_below = depth


def as_prose(block: str) -> str | None:
    """A candidate paragraph without inline markup, or None where it is not English sentences."""
    if block[0].islower() or block[-1] in ":,;" or SPOKEN_FOOTNOTE.search(block):  # most code ends here
        return None
    for character, pattern, replacement in INLINE_MARKUP:
        if character in block:
            block = pattern.sub(replacement, block)
    if not (STARTS_LIKE_A_SENTENCE.match(block) and ENDS_LIKE_A_SENTENCE.search(block)):
        return None
    words = block.split()
    if len(words) < FEWEST_WORDS or NOT_PROSE.search(block) or not block.isascii():
        return None
    if sum(WORD.fullmatch(word) is not None for word in words) < 0.85 * len(words):
        return None
    if sum(word.strip("\"'(),.:;!?").lower() in STOP_WORDS for word in words) < 0.2 * len(words):
        return None
    return " ".join(words)


def _is_repetition(paragraph: str, seen: set[int]) -> bool:
    """Whether earlier paragraphs have more than half of this one's runs of words; if not, remembers them.

    Names (what is not a lower-case word) count as one and the same word: generated documentation says the same of
    one class after another.
    """
    words = [word.strip("\"'(),.:;!?") for word in paragraph.split()]
    words[0] = words[0].lower()
    words = [word if LOWER_CASE_WORD.fullmatch(word) else "X" for word in words]
    runs = {zlib.crc32(" ".join(words[first : first + SHINGLE]).encode()) for first in range(len(words) - SHINGLE + 1)}
    if 2 * len(runs & seen) > len(runs):
        return True
    seen |= runs
    return False
