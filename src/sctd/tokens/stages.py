"""The three stages of `prepare`, each of which leaves what the next one and a continued run can start from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sctd.console import progress_bar, say
from sctd.errors import UserError
from sctd.files import disk_errors, flush_to_disk, whole_folder, write_json
from sctd.json_text import read_json
from sctd.text.blocks import Block, read_blocks
from sctd.text.options import ReadOptions
from sctd.text.sources import Source
from sctd.text.survey import Sample, Survey
from sctd.tokens.encode import BlockEncoder, encode_blocks, read_block
from sctd.tokens.manifest import (
    SPLITS,
    TOKENIZER,
    UNIGRAM,
    SplitInfo,
    TokenizerInfo,
    dtype_for,
)
from sctd.tokens.packing import pack
from sctd.tokens.repeats import MANY_REPEATS, WINDOW, Repeats
from sctd.tokens.shards import ShardWriter, count_ids
from sctd.tokens.tokenizer import copy_tokenizer, describe_tokenizer, open_encoder
from sctd.tokens.train_tokenizer import Kind, train_tokenizer
from sctd.tokens.workspace import Workspace

SAMPLE_BYTES = 64 * 10**6  # of text for a new tokenizer
_SURVEY = "survey.json"


def survey_and_tokenizer(
    workspace: Workspace,
    sources: list[Source],
    options: ReadOptions,
    *,
    seq_len: int,
    tokenizer: str | None,
    kind: Kind,
    vocab_size: int,
    lowercase: bool,
    seed: int,
) -> Survey:
    """Stage 1: read everything once; then `.partial/tokenizer` and `.partial/survey.json` stand.

    Raises:
        UserError: something cannot be read, there are fewer than two documents, or the tokenizer will not do.
    """
    saved = workspace.partial / _SURVEY
    if saved.exists():
        return _read_survey(saved)
    folder = workspace.partial / TOKENIZER
    if tokenizer is not None:  # first, because it may be refused in a second
        with whole_folder(folder) as aside:
            copy_tokenizer(tokenizer, aside, seq_len)
    survey = Survey()
    sample = Sample(SAMPLE_BYTES, seed)
    started = time.monotonic()
    with progress_bar() as bar:
        size = sum(source.bytes for source in sources)
        task = bar.add_task("reading   ", total=size or None, note="")
        for block in read_blocks(sources, options, lambda n: bar.advance(task, n)):
            survey.add(block)
            if tokenizer is None:
                sample.add(block.documents)
            bar.update(task, note=_rate(survey.bytes, started))
    _refuse_too_few(survey, sources, options.documents)
    if tokenizer is None:
        say(f"Training a {kind} tokenizer on {sample.size / 1e6:,.1f} MB of text ...")
        with whole_folder(folder) as aside:
            train_tokenizer(sample.paragraphs(), aside, kind, vocab_size, lowercase, seq_len)
    write_json(saved, asdict(survey))
    return survey


def encode(
    workspace: Workspace,
    sources: list[Source],
    options: ReadOptions,
    survey: Survey,
    *,
    validation_share: float,
    workers: int,
) -> tuple[TokenizerInfo, list[Path]]:
    """Stage 2: every block of documents (of the workspace's part) to `.partial/block-NNNNNN.npz`.

    Finished ones are left as they are; those that are damaged, or of other text or another tokenizer, are made anew.

    Returns:
        The tokenizer, and the files of all blocks of the text, of which another part's may not be there.
    """
    folder = workspace.partial / TOKENIZER
    info = describe_tokenizer(folder)
    encoder = BlockEncoder(
        tokenizer=open_encoder(folder),
        tokenizer_sha256=info.sha256,
        sep=info.special.sep,
        threshold=survey.validation_threshold(validation_share),
        folder=workspace.partial,
    )
    with progress_bar() as bar:
        task = bar.add_task("tokenising", total=survey.bytes, note="")
        started, encoded = time.monotonic(), 0
        files: list[Path] = []
        replaced = 0

        def wanted(block: Block) -> bool:
            nonlocal replaced
            files.append(encoder.path(block.number))
            if (workspace.part is not None and not workspace.part.makes(block.number)) or encoder.has(block):
                return False
            replaced += files[-1].exists()
            return True

        blocks = read_blocks(sources, options, lambda n: None)
        for size, fresh in encode_blocks(blocks, encoder, workers, wanted):
            encoded += size if fresh else 0
            bar.update(task, advance=size, note=_rate(encoded, started))
    if replaced:
        say(f"{replaced:,} blocks were damaged, or of other text or another tokenizer, and were made anew.")
    return info, files


def pack_splits(
    workspace: Workspace, info: TokenizerInfo, survey: Survey, files: list[Path], *, seq_len: int
) -> tuple[dict[str, SplitInfo], np.ndarray]:
    """Stage 3: the blocks' files to shards, `OUT/tokenizer`, `OUT/unigram.npy`; returns the splits and (V,) counts.

    Raises:
        UserError: the training split does not fill one sequence, or the input changed under way.
    """
    totals = {split: _totals(files, split, info) for split in SPLITS}
    if sum(documents for documents, _, _ in totals.values()) != survey.documents:
        workspace.clear()
        raise UserError(f"The input changed while it was read into {workspace.out}: run the same command again.")
    if totals["train"][2] < seq_len - 2:
        workspace.clear()
        raise UserError(
            f"The training text makes {totals['train'][2]:,} tokens, less than one sequence of {seq_len}: "
            "add text to --input, or give a smaller --seq-len."
        )
    unigram = np.zeros(info.vocab_size, dtype=np.int64)
    unknown = 0
    repeats = Repeats()
    splits = {}
    with progress_bar() as bar:
        task = bar.add_task("packing   ", total=len(files) * len(SPLITS), note="")

        def stream(split: str) -> Iterator[np.ndarray]:
            nonlocal unknown
            for file in files:
                ids = read_block(file, split, info.vocab_size)
                if split == "train":
                    unigram[:] += count_ids(ids, info.vocab_size, info.special.all())
                    unknown += int((ids == info.special.unk).sum())
                    repeats.add(ids)
                yield ids
                bar.advance(task)

        for split in SPLITS:
            writer = ShardWriter(workspace.out, split, seq_len, dtype_for(info.vocab_size))
            for rows in pack(stream(split), seq_len, info.special):
                writer.add(rows)
            shards = writer.close()
            documents, size, tokens = totals[split]
            splits[split] = SplitInfo(documents, tokens, sum(s.sequences for s in shards), size, shards)
    if repeats.share() > MANY_REPEATS:
        say(
            f"{repeats.share():.0%} of the training text stands in it more than once (by {WINDOW} tokens at a time): "
            "boilerplate, mirrored pages or quotes. Without them the same steps teach more."
        )
    share = unknown / totals["train"][2]
    if share > 0.01:
        say(f"{share:.1%} of the tokens are unknown to the tokenizer: it was made for another kind of text.")
    with whole_folder(workspace.out / TOKENIZER) as aside:
        shutil.copytree(workspace.partial / TOKENIZER, aside, dirs_exist_ok=True)
    path = workspace.out / UNIGRAM
    with disk_errors(workspace.out):
        np.save(path, unigram)
        flush_to_disk(path)
    return splits, unigram


def _totals(files: list[Path], split: str, info: TokenizerInfo) -> tuple[int, int, int]:
    """(documents, bytes, tokens of text) of a split."""
    documents = size = tokens = 0
    for file in files:
        counts = read_block(file, f"{split}_counts", info.vocab_size)
        documents, size = documents + int(counts[0]), size + int(counts[1])
        tokens += int((read_block(file, split, info.vocab_size) != info.special.sep).sum())
    return documents, size, tokens


def _read_survey(path: Path) -> Survey:
    try:
        return Survey(**read_json(path, dict.fromkeys(asdict(Survey()), int)))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the same command makes it again.") from error


def _refuse_too_few(survey: Survey, sources: list[Source], documents: str) -> None:
    names = ", ".join(source.path for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
    if survey.documents == 0:
        raise UserError(f"There is no text in {names}: give files that hold some.")
    if survey.documents == 1:
        same = survey.duplicates
        others = f", {same:,} more being the same text" if same else ""
        lines = "" if documents == "line" else ", or make every line a document with --documents line"
        raise UserError(
            f"There is only one document in {names}{others}, and one must be held out for validation: "
            f"add another{lines}."
        )


def _rate(size: int, started: float) -> str:
    return f"{size / 1e6 / max(time.monotonic() - started, 1e-3):.1f} MB/s" if size else ""
