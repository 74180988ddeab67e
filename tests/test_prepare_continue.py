"""prepare, stopped at any moment, continues, and ends with the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sctd.errors import UserError
from sctd.tokens.encode import BlockEncoder
from sctd.tokens.prepared import load_prepared
from test_prepare import ROOT, corpus, files_of, run, small_blocks, write_corpus

__all__ = ["corpus", "small_blocks"]  # fixtures

# prepare in a process of its own, which kills itself with SIGKILL at the n-th call of a function
KILLED = """
import os, signal, sys
from functools import partial
from importlib import import_module
from sctd.text.blocks import read_blocks
from sctd.tokens import stages
from sctd.tokens.prepare import prepare

stages.read_blocks = partial(read_blocks, block_bytes=10_000)
module, owner, name, number, corpus, out = sys.argv[1:]
place = getattr(import_module(module), owner) if owner else import_module(module)
original, calls = getattr(place, name), 0

def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(place, name, kill)
prepare([corpus], out, seq_len=32, vocab_size=200, workers=2)
"""

MOMENTS = {
    "reading": ("sctd.text.survey", "Survey", "add", "3"),
    "training the tokenizer": ("sctd.tokens.stages", "", "train_tokenizer", "1"),
    "tokenising": ("sctd.tokens.encode", "BlockEncoder", "__call__", "5"),
    "packing": ("sctd.tokens.shards", "ShardWriter", "close", "2"),
    "writing the manifest": ("sctd.tokens.manifest", "Manifest", "write", "1"),
    "clearing up": ("sctd.tokens.workspace", "Workspace", "clear", "1"),
}


@pytest.fixture
def encoded_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the blocks that were tokenised."""
    numbers: list[int] = []
    original = BlockEncoder.__call__

    def call(self: BlockEncoder, block: Any) -> None:
        numbers.append(block.number)
        original(self, block)

    monkeypatch.setattr(BlockEncoder, "__call__", call)
    return numbers


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_the_same_command_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, encoded_blocks: list[int], moment: str
) -> None:
    run(corpus, tmp_path / "whole")
    total = len(encoded_blocks)
    encoded_blocks.clear()
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, *MOMENTS[moment], str(corpus), str(out)]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    if moment != "clearing up":
        with pytest.raises(UserError, match="not finished: run the same sctd prepare again"):
            load_prepared(out)
    finished = len(list((out / ".partial").glob("block-*.npz")))
    run(corpus, out)
    assert files_of(out) == files_of(tmp_path / "whole")
    assert len(encoded_blocks) == (0 if moment == "clearing up" else total - finished)
    assert total > 8
    if moment == "tokenising":
        assert finished >= 2


def interrupt(corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the fourth block of the second reading."""
    from sctd.tokens import stages

    original = stages.encode_blocks

    def interrupted(blocks: Any, *arguments: Any) -> Any:
        def until_ctrl_c() -> Any:
            for block in blocks:
                if block.number == 4:
                    raise KeyboardInterrupt
                yield block

        return original(until_ctrl_c(), *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "encode_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, out)


def test_after_ctrl_c_the_same_command_continues_and_tokenises_nothing_twice(
    corpus: Path, tmp_path: Path, encoded_blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(corpus, tmp_path / "out", monkeypatch)
    run(corpus, tmp_path / "out")
    assert sorted(encoded_blocks) == list(range(max(encoded_blocks) + 1))
    run(corpus, tmp_path / "whole")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_another_command_or_changed_input_does_not_continue_this_work(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    interrupt(corpus, out, monkeypatch)
    with pytest.raises(UserError, match="unfinished work with vocab_size 200 instead of 300: run the command"):
        run(corpus, out, vocab_size=300)
    write_corpus(corpus, seed=1)
    with pytest.raises(UserError, match="unfinished work with other input files"):
        run(corpus, out)
    assert list((out / ".partial").glob("block-*.npz"))


def test_a_full_disk_is_one_sentence_and_what_was_done_is_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded_blocks: list[int]
) -> None:
    import errno

    import numpy as np

    original, calls = np.savez, []

    def savez(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(*arguments, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        with pytest.raises(UserError, match=r"The disk is full at .*run the same command again"):
            run(corpus, out, workers=1)
    assert len(list((out / ".partial").glob("block-*.npz"))) == 3
    encoded_blocks.clear()
    run(corpus, out)
    assert 0 not in encoded_blocks
    run(corpus, tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "name",
    ["job.json", "survey.json", "block-000000.npz", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"],
)
def test_what_is_damaged_of_the_work_that_was_stopped_is_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = tmp_path / "out"
    interrupt(corpus, out, monkeypatch)
    path = out / ".partial" / name
    path.write_bytes(path.read_bytes()[:-40] + b"\xff" * 40)
    if not name.startswith("block"):  # which is made again unasked
        with pytest.raises(UserError, match="is damaged"):
            run(corpus, out)
    if name.startswith(("survey", "block")):
        path.unlink()
        run(corpus, out)
        run(corpus, tmp_path / "whole")
        assert files_of(out) == files_of(tmp_path / "whole")


def test_a_block_of_other_arrays_or_that_grows_when_it_is_read_is_named(tmp_path: Path) -> None:
    import numpy as np

    from sctd.tokens.encode import read_block

    path = tmp_path / "block-000000.npz"
    np.savez_compressed(path, train=np.zeros(9, dtype=np.uint32))
    with pytest.raises(UserError, match=r"is damaged \(it is compressed"):
        read_block(path, "train", 100)
    for array in (np.zeros(9), np.zeros((3, 3), dtype=np.uint32), np.full(3, 100, dtype=np.uint32)):
        np.savez(path, train=array)
        with pytest.raises(UserError, match=r"block-000000\.npz is damaged"):
            read_block(path, "train", 100)
