"""The verb `prepare`: text to a data folder of packed token shards. See docs/design.md for what it writes."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sctd import __version__
from sctd.console import say
from sctd.errors import UserError
from sctd.text.options import DocumentsMode
from sctd.tokens.parts import Part, parse_part

if TYPE_CHECKING:
    from sctd.tokens.manifest import Manifest

FEW_SEQUENCES, FEW_DOCUMENTS = 100, 10  # held out, below which it is said
FEW_BYTES = 2**20  # of text, below which a rate says nothing


def prepare(
    input: list[str],
    out: str,
    tokenizer: str | None = None,
    vocab_size: int = 8192,
    seq_len: int = 128,
    kind: Literal["wordpiece", "bpe"] = "wordpiece",
    lowercase: bool = True,
    text_key: str = "text",
    documents: DocumentsMode = "auto",
    split: str = "train",
    validation_share: float = 0.01,
    workers: int | None = None,
    seed: int = 1,
    part: str | None = None,
) -> Manifest | None:
    """Turn text into packed token shards for `sctd pretrain`, with a validation split held out.

    Everything is read twice: once to check it, to find duplicates and to sample it for the tokenizer, and once to
    tokenise it. Stopped at any moment, the same command continues. The result is the same, byte for byte, whatever
    the stops, the number of workers and the number of parts.

    Args:
        input: files, folders (with all below), globs, each also as an address (s3://bucket/texts, gs://, hf://, ...),
            or `hf:NAME` (a Hugging Face data set; also hf:NAME:CONFIG and hf:FOLDER). Formats: .txt .jsonl .csv
            .parquet, plain or .gz .xz .zst.
        out: folder to write, or address; it must be new, empty, or left by the same command.
        tokenizer: a Hugging Face tokenizer (a folder, one with only a vocab.txt too, or a name); null: train one.
        vocab_size: tokens of the tokenizer that is trained.
        seq_len: tokens in a row, [CLS] and [SEP] among them.
        kind: the tokenizer that is trained: `wordpiece` (as BERT's) or `bpe` (byte-level).
        lowercase: fold case in the tokenizer that is trained (WordPiece: strip accents too).
        text_key: the JSON key, CSV column, Parquet column or data set column that holds the text.
        documents: what a document is in a .txt file: `blank-line` (blank lines stand between documents), `line`
            (each line is one), `file` (each file is one), or `auto`: blank-line if the file has a blank line
            between texts, else line.
        split: the split of an `hf:` data set to read.
        validation_share: share of the documents held out, chosen by a hash of their text; at least one.
        workers: threads that tokenise; null: one for each core.
        seed: of the sample on which a tokenizer is trained.
        part: `i/n`: tokenise only this one of n parts of the text, beside n - 1 other processes or machines; then
            the same command without --part puts them together.

    Returns:
        What manifest.json says; None for a part.

    Raises:
        UserError: the input, a flag or the out folder will not do; one sentence says which, and what to do.
    """
    if not 8 <= seq_len <= 32768:
        raise UserError(f"--seq-len {seq_len} is out of range: give 8 to 32768 (128 or 512 is usual).")
    if not 0 < validation_share <= 0.5:
        raise UserError(f"--validation-share {validation_share} is out of range: give more than 0, at most 0.5.")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} is out of range: give 1 or more.")
    mine = None if part is None else parse_part(part)

    from sctd.remote import is_remote, without_secrets
    from sctd.text.options import ReadOptions
    from sctd.text.sources import KNOWN, find_sources, passed_over
    from sctd.tokens.manifest import FORMAT, Manifest, dtype_for
    from sctd.tokens.remote_data import fetch_blocks, finished_at, publish, send_blocks, working_folder
    from sctd.tokens.shards import entropy
    from sctd.tokens.stages import encode, pack_splits, survey_and_tokenizer
    from sctd.tokens.train_tokenizer import check_vocab_size
    from sctd.tokens.workspace import Workspace

    trained = {"kind": kind, "vocab_size": vocab_size, "lowercase": lowercase, "seed": seed}
    if tokenizer is None:
        check_vocab_size(kind, vocab_size)
    sources = find_sources(input)
    others = passed_over(input, sources)
    if others:
        say(f"{others:,} files of other kinds are passed over; read are {KNOWN}.")
    settings = {
        "seq_len": seq_len,
        "tokenizer": tokenizer,
        **(trained if tokenizer is None else {}),
        "text_key": text_key,
        "documents": documents,
        "split": split,
        "validation_share": validation_share,
    }
    inputs = [{"path": without_secrets(source.path), "bytes": source.bytes} for source in sources]
    out = out.rstrip("/") if is_remote(out) else out
    finished = finished_at(out, settings, inputs) if is_remote(out) else None
    if finished is None:
        place = working_folder(out, settings, inputs) if is_remote(out) else Path(out).expanduser()
        workspace = Workspace(place, mine)
        finished = workspace.finished(settings, inputs)
        if finished is not None and is_remote(out):
            publish(workspace.out, out)
            say(f"What was finished before is uploaded to {out}.")
            return finished
    if finished is not None:
        say(f"{out} is finished already, made with the same settings from the same input.")
        return finished

    continued = workspace.partial.is_dir()
    started = time.monotonic()
    options = ReadOptions(text_key, documents, split)
    job = {
        "settings": settings | {"sctd_version": __version__},
        "inputs": [asdict(source) for source in sources],
    }
    with workspace.claimed(job):
        if continued:
            say(f"Continuing what was begun in {out}.")
        with workspace.first_reading(job):
            survey = survey_and_tokenizer(
                workspace,
                sources,
                options,
                seq_len=seq_len,
                tokenizer=tokenizer,
                kind=kind,
                vocab_size=vocab_size,
                lowercase=lowercase,
                seed=seed,
            )
        if is_remote(out) and mine is None:
            fetch_blocks(out, workspace.partial)
        info, blocks = encode(
            workspace,
            sources,
            options,
            survey,
            validation_share=validation_share,
            workers=workers or _cores(),
        )
        if mine is not None:
            there = send_blocks(workspace.partial, out) if is_remote(out) else {f.name for f in blocks if f.exists()}
            _say_what_remains(mine, sum(f.name not in there for f in blocks), len(blocks), out)
            return None
        splits, unigram = pack_splits(workspace, info, survey, blocks, seq_len=seq_len)
        manifest = Manifest(
            format=FORMAT,
            sctd_version=__version__,
            seq_len=seq_len,
            dtype=dtype_for(info.vocab_size),
            tokenizer=info,
            splits=splits,
            duplicates_removed=survey.duplicates,
            unigram_entropy=entropy(unigram),
            provenance={"inputs": inputs, "settings": settings},
        )
        manifest.write(workspace.out)
        workspace.clear()
    if is_remote(out):
        publish(workspace.out, out)
    seconds = time.monotonic() - started
    _closing_sentences(manifest, out, None if continued else seconds)
    return manifest


def _say_what_remains(part: Part, missing: int, blocks: int, out: str) -> None:
    mine = sum(map(part.makes, range(blocks)))
    say(f"{str(part).capitalize()} is done: {mine:,} of the {blocks:,} blocks of the text.")
    if missing:
        say(
            f"{missing:,} blocks are still missing in {out}: when the other parts have ended, run the same command "
            "without --part to put them together (of parts made on other disks, copy OUT/.partial/block-*.npz first)."
        )
    else:
        say("No block is missing: run the same command without --part to put them together.")


def _closing_sentences(manifest: Manifest, out: str, seconds: float | None) -> None:
    """`seconds` is None where an earlier run did part of the work, and a rate would say nothing."""
    train, validation = manifest.splits["train"], manifest.splits["validation"]
    size = train.bytes + validation.bytes
    rate = "" if seconds is None else f", in {seconds:,.1f} s"
    if rate and size >= FEW_BYTES:  # of less it would be the rate of starting up
        rate += f" ({size / 1e6 / max(seconds or 0, 1e-3):.1f} MB/s)"
    say(
        f"{train.documents + validation.documents:,} documents, {size / 1e6:,.1f} MB of text "
        f"({manifest.duplicates_removed:,} duplicates removed){rate}."
    )
    say(
        f"{manifest.tokenizer.kind} tokenizer of {manifest.vocab_size:,} tokens. What knows the tokens' frequencies "
        f"alone reaches a loss of about {manifest.unigram_entropy:.2f} nats at [MASK] inputs: training must get below "
        "that."
    )
    for name, split in (("Training", train), ("Validation", validation)):
        say(
            f"{name}: {split.documents:,} documents, {split.tokens:,} tokens, "
            f"{split.sequences:,} sequences of {manifest.seq_len}."
        )
    if validation.documents < FEW_DOCUMENTS <= validation.sequences // 10:
        say(
            f"All held-out sequences are of {validation.documents:,} documents, which may not be like the others: "
            "give more text, or a larger --validation-share."
        )
    if validation.sequences < FEW_SEQUENCES:
        say(
            f"{validation.sequences:,} held-out sequences are few to judge a model by, and fewer to judge two: "
            "give more text, or a larger --validation-share."
        )
    say(f"Written to {out}.")


def _cores() -> int:
    """Cores that this process may use, fewer than the machine has in a container or a batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
