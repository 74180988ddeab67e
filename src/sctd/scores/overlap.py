"""The verb `overlap`: how much of the text that models are scored on stands in the text they were pretrained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.scores.tasks.task import Example, TextExample
    from sctd.tokens.prepared import PreparedData

# Tokens of the shortest text that is looked up. Short ones stand in any large corpus by chance: of MultiRC's answers,
# in 91 million tokens of Wikipedia and books, 80% of those of 3 tokens, 45% of 4, 6% of 7, 1% of 8.
SHORTEST = 4


def overlap(
    data: str,
    tasks: list[str] | None = None,
    tasks_data: str | None = None,
    texts: list[str] | None = None,
    n: int = 8,
    threshold: float = 0.5,
    out: str | None = None,
) -> dict[str, Any]:
    """Count how much evaluation text stands in the training split of a data folder.

    Texts are compared as tokens of the folder's own tokenizer, which is what its shards hold; no match crosses a
    document's end, and an unknown token matches nothing. An example is flagged where one of its texts stands there
    whole, or enough of the text's n-grams do; examples that are scored together (MultiRC's of one question) are
    flagged together. Texts of fewer than n tokens are looked up whole, from 4 tokens on; as these are often no more
    than common phrases, they are counted apart too.

    Args:
        data: the folder that `sctd prepare` wrote.
        tasks: names of tasks, or glue, superglue, paper or all: what is scored of them is looked up.
        tasks_data: folder with a folder for each task, in the official file forms; null: from the Hugging Face hub.
        texts: text files, a sentence a line, to look up likewise; the line's number is the example's id.
        n: tokens of an n-gram; 8 are five or six words.
        threshold: share of a text's n-grams that flags it, above 0, at most 1. At 0.5 a sentence of 24 tokens is still
            known when one of them was changed: 9 of its 17 8-grams are left.
        out: folder in which to write overlap.json, which `sctd evaluate --without` reads; null: print the table alone.

    Returns:
        What overlap.json holds: `settings`; `data` {`path`, `manifest_sha256`, `tokens`}; `tasks`: name -> split ->
        counts; `texts`: file -> counts. See `count` for the counts.

    Raises:
        UserError: a folder, file, task or flag that cannot be used.
    """
    if n < 2:
        raise UserError(f"--n is {n}; it must be 2 or more.")
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold is {threshold}; it must be above 0 and at most 1.")
    if not tasks and not texts:
        raise UserError("There is nothing to look up: give --tasks NAMES or --texts FILES.")

    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is a file: give a folder.")

    from sctd.console import say
    from sctd.files import disk_errors, sha256_file, write_json
    from sctd.tokens.manifest import MANIFEST
    from sctd.tokens.prepared import load_prepared

    lines = {file: read_lines(Path(file)) for file in texts or []}
    splits: dict[str, dict[str, list[Example]]] = read_tasks(tasks, tasks_data) if tasks else {}
    prepared = load_prepared(data)
    if out is not None:
        with disk_errors(Path(out)):
            Path(out).mkdir(parents=True, exist_ok=True)

    sets: list[Sequence[Example]] = [*lines.values(), *(found for by in splits.values() for found in by.values())]
    matches = look_up([text for examples in sets for example in examples for text in sides(example)], prepared, n)
    results = {
        "settings": {"tasks": list(splits), "tasks_data": tasks_data, "n": n, "threshold": threshold},
        "data": {
            "path": str(prepared.path),
            "manifest_sha256": sha256_file(prepared.path / MANIFEST),
            "tokens": prepared.manifest.splits["train"].tokens,
        },
        "tasks": {
            name: {split: count(examples, matches, threshold) for split, examples in by_split.items()}
            for name, by_split in splits.items()
        },
        "texts": {file: count(examples, matches, threshold) for file, examples in lines.items()},
    }
    if out is not None:
        write_json(Path(out) / "overlap.json", results)
    print_table(results)
    if out is not None:
        say(f"Written to {Path(out) / 'overlap.json'}.")
    return results


@dataclass(frozen=True)
class Match:
    """What of a text stands in the training split.

    Args:
        grams, grams_found: the text's n-grams, and those of them that stand there.
        whole: the text itself does.
        too_short: it was not looked up.
    """

    grams: int
    grams_found: int
    whole: bool
    too_short: bool

    @property
    def share(self) -> float:
        """Of the n-grams, those found; 0 without any."""
        return self.grams_found / self.grams if self.grams else 0.0


def read_tasks(names: list[str], folder: str | None) -> dict[str, dict[str, list[Example]]]:
    """Task -> scored split -> examples."""
    from sctd.scores.tasks.load import load_split, splits_of
    from sctd.scores.tasks.table import choose_tasks

    return {
        task.name: {split: load_split(task, folder, split) for split in splits_of(task, folder)}
        for task in choose_tasks(names)
    }


def read_lines(file: Path) -> list[TextExample]:
    """A text file's lines that are not blank, called by their numbers; UserError where there are none."""
    from sctd.scores.tasks.task import TextExample
    from sctd.text.lines import text_lines

    try:
        with file.open("rb") as stream:
            lines = [
                TextExample(str(number), line, 0) for number, line in text_lines(stream, str(file)) if line.strip()
            ]
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}; give text files, a sentence a line.") from error
    if not lines:
        raise UserError(f"{file} has no text: give a text file, a sentence a line.")
    return lines


def sides(example: Example) -> list[str]:
    """Every text of an example, COPA's premise without the question that its reader puts after it."""
    from sctd.scores.tasks.superglue import COPA_QUESTIONS
    from sctd.scores.tasks.task import ChoiceExample, SpanExample

    if isinstance(example, ChoiceExample):
        premise = example.premise
        for question in COPA_QUESTIONS.values():
            premise = premise.removesuffix(f" {question}")
        return [premise, *example.choices]
    if isinstance(example, SpanExample):
        return [example.question, example.context]
    return [example.first] if example.second is None else [example.first, example.second]


def look_up(texts: Sequence[str], data: PreparedData, n: int) -> dict[str, Match]:
    """Each different text's match with the training split.

    Some tokenizers (RoBERTa's) read a word differently after a space and at a paragraph's start: then the text is
    looked up in both readings, and the better match counts.
    """
    import numpy as np

    from sctd.console import Counter, progress_bar
    from sctd.scores.ngram_index import search
    from sctd.text.documents import clean
    from sctd.tokens.encode import encode_documents
    from sctd.tokens.tokenizer import open_encoder

    special, size = data.manifest.special, data.manifest.vocab_size
    plain = np.arange(size)
    plain[special.all()] = size  # an id that the stream does not have: [UNK] may be anything
    tokenizer = open_encoder(data.tokenizer_dir)
    different = list(dict.fromkeys(texts))
    readings: list[Any] = []
    owner = []
    with progress_bar() as bar:
        counter = Counter(bar, "reading", "texts", len(different))
        for number, text in enumerate(different):
            one, other = (encode_documents(tokenizer, [start + clean(text)], special.sep)[:-1] for start in ("", " "))
            chosen = [one] if np.array_equal(one, other) else [one, other]
            readings += [plain[ids] for ids in chosen]
            owner += [number] * len(chosen)
            counter(1)
        counter = Counter(bar, "searching", "tokens", len(data.train) * (data.train.seq_len - 2))
        found = search(readings, data.train, size, n, SHORTEST, counter)
    matches: dict[str, Match] = {}
    for number, ids, grams, grams_found, whole in zip(
        owner, readings, found.grams.tolist(), found.grams_found.tolist(), found.whole.tolist(), strict=True
    ):
        match = Match(grams, grams_found, whole, too_short=len(ids) < min(n, SHORTEST))
        earlier = matches.get(different[number], match)
        matches[different[number]] = max(earlier, match, key=lambda each: (each.whole, each.share))
    return matches


def count(examples: Sequence[Example], matches: Mapping[str, Match], threshold: float) -> dict[str, Any]:
    """The counts of one split or file, as overlap.json holds them.

    Returns:
        `of`: the examples' checksum; `examples`; `texts`: different ones; of these, `too_short`: not looked up,
        `whole_texts`: stand there whole, `whole_short`: do so and have no n-gram; `ngrams`, `ngrams_found`, `share`:
        the latter of the former, null without any; `flagged`: ids of examples; `whole`: ids of those with a text that
        stands there whole.
    """
    from sctd.scores.tasks.task import checksum_of

    texts = [matches[text] for text in {text: None for example in examples for text in sides(example)}]
    grams, grams_found = sum(match.grams for match in texts), sum(match.grams_found for match in texts)
    of = {example.id: [matches[text] for text in sides(example)] for example in examples}
    whole = [name for name, found in of.items() if any(match.whole for match in found)]
    flagged = {name for name, found in of.items() if any(match.whole or match.share >= threshold for match in found)}
    group_of = {example.id: getattr(example, "group", None) for example in examples}
    groups = {group_of[name] for name in flagged} - {None}
    return {
        "examples": len(examples),
        "texts": len(texts),
        "too_short": sum(match.too_short for match in texts),
        "whole_texts": sum(match.whole for match in texts),
        "whole_short": sum(match.whole and not match.grams for match in texts),
        "ngrams": grams,
        "ngrams_found": grams_found,
        "share": grams_found / grams if grams else None,
        "of": checksum_of(examples),
        "flagged": [example.id for example in examples if example.id in flagged or group_of[example.id] in groups],
        "whole": whole,
    }


def print_table(results: Mapping[str, Any]) -> None:
    """To standard output: a row a split or file."""
    from rich.table import Table

    from sctd.console import as_text, show

    n, threshold = results["settings"]["n"], results["settings"]["threshold"]
    title = (
        f"Looked up in {results['data']['tokens']:,} tokens. Flagged: a text of the example stands there whole, or "
        f"{threshold:.4g} of its {n}-grams."
    )
    table = Table(title=as_text(title), title_justify="left")
    table.add_column("", overflow="fold")
    for name in ("examples", "texts", "too\nshort", "whole", "whole,\nshort", f"{n}-grams\nfound", "flagged"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(f"{name} {split}", found) for name, splits in results["tasks"].items() for split, found in splits.items()]
    for name, found in [*rows, *results["texts"].items()]:
        counts = [found[key] for key in ("examples", "texts", "too_short", "whole_texts", "whole_short")]
        share = "" if found["share"] is None else f"{found['share']:.1%}"
        flagged = f"{len(found['flagged']):,}"
        table.add_row(*map(as_text, (name, *(f"{number:,}" for number in counts), share, flagged)))
    show(table)
