"""A page as a list of blocks, written as Markdown and as one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from dataclasses import dataclass, field

from sctd.markdown import escaped, fenced

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.table { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td.text, th.text, .words td, .words th { text-align: left; }
.words td, .words th { white-space: normal; } thead th { background: var(--soft); vertical-align: bottom; }
pre { overflow-x: auto; background: var(--soft); padding: .7rem; } figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; } .verdict { font-size: 1.15rem; }
@media print {
  body { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } a.data { display: none; }
}
"""


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text; `verdict` is set larger."""

    text: str
    verdict: bool = False


@dataclass(frozen=True)
class Code:
    """Text that keeps its lines."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells as text, the first column to the left; `words`: the others too, and their lines are broken."""

    head: list[str]
    rows: list[list[str]]
    words: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing with its words and its numbers.

    Args:
        name: file name without ending; the Markdown page links name.svg.
        svg: the drawing, whose text has the colour `currentColor`.
        words: what it shows, for those who do not see it.
        data: column names and rows of its numbers.
    """

    name: str
    svg: str
    words: str
    data: list[list[object]] = field(default_factory=list)


Block = Heading | Paragraph | Code | Table | Figure


def to_markdown(title: str, blocks: Iterable[Block]) -> str:
    """The page as Markdown; figures are links to files beside it."""
    page = [f"# {escaped(title)}", ""]
    for block in blocks:
        match block:
            case Heading(text):
                page += [f"## {escaped(text)}", ""]
            case Paragraph(text):
                page += [escaped(text), ""]
            case Code(text):
                page += [fenced(text), ""]
            case Table(head, rows, _):
                sides = ("---" if text else "---:" for text in _are_text(head, rows)[1:])
                page += [_row(head), "|".join(["|---", *sides, ""]), *map(_row, rows), ""]
            case Figure(name, _, words):
                page += [f"![{escaped(words)}]({name}.svg)", ""]
    return "\n".join(page)


def _are_text(head: list[str], rows: list[list[str]]) -> list[bool]:
    """Of each column, whether its cells are words, which stand to the left."""
    cells = [[row[column] for row in rows if row[column]] for column in range(len(head))]
    return [bool(each) and all(cell[0].isalpha() for cell in each) for each in cells]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """The page as one HTML file: style, drawings and their numbers inside, no script."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for block in blocks:
        match block:
            case Heading(text):
                body.append(f"<h2>{html.escape(text)}</h2>")
            case Paragraph(text, verdict):
                kind = ' class="verdict"' if verdict else ""
                body.append(f"<p{kind}>{html.escape(text)}</p>")
            case Code(text):
                body.append(f"<pre>{html.escape(text)}</pre>")
            case Table(head, rows, words):
                body.append(_html_table(head, rows, words))
            case Figure(name, svg, words, data):
                body.append(_html_figure(name, svg, words, data))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _html_table(head: list[str], rows: list[list[str]], words: bool) -> str:
    sides = [' class="text"' if text else "" for text in _are_text(head, rows)]
    top = "".join(f'<th scope="col"{side}>{html.escape(cell)}</th>' for cell, side in zip(head, sides, strict=True))
    kind = ' class="words"' if words else ""
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td{side}>{html.escape(cell)}</td>" for cell, side in zip(rest, sides[1:], strict=True))
        lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="table"><table{kind}><thead><tr>{top}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _html_figure(name: str, svg: str, words: str, data: list[list[object]]) -> str:
    drawing = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(words)}"', 1)
    link = ""
    if data:
        text = "\n".join(",".join(_csv(cell) for cell in row) for row in data) + "\n"
        coded = base64.b64encode(text.encode("utf-8")).decode("ascii")
        link = (
            f' <a class="data" download="{html.escape(name)}.csv" href="data:text/csv;base64,{coded}">its numbers</a>'
        )
    return f"<figure>{drawing}<figcaption>{html.escape(words)}.{link}</figcaption></figure>"


def _csv(cell: object) -> str:
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
