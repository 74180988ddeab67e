"""prepare in parts: any number of processes, in any order, stopped at any moment, and the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sctd.errors import UserError
from sctd.locks import locked
from sctd.tokens.prepared import load_prepared
from test_prepare import ROOT, corpus, files_of, run, small_blocks, write_corpus
from test_prepare_continue import KILLED, encoded_blocks

__all__ = ["corpus", "encoded_blocks", "small_blocks"]  # fixtures

IN_A_PROCESS = """
import sys
from functools import partial
from sctd.text.blocks import read_blocks
from sctd.tokens import stages
from sctd.tokens.prepare import prepare

stages.read_blocks = partial(read_blocks, block_bytes=10_000)
corpus, out, part = sys.argv[1:]
prepare([corpus], out, seq_len=32, vocab_size=200, part=part)
"""


def start(script: str, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def whole(corpus: Path, tmp_path: Path) -> dict[str, bytes]:
    """What prepare writes without parts."""
    run(corpus, tmp_path / "whole")
    return files_of(tmp_path / "whole")


@pytest.mark.parametrize("parts", [[(1, 1)], [(2, 2), (1, 2)], [(3, 3), (1, 3), (2, 3)], [(i, 7) for i in range(1, 8)]])
def test_parts_in_any_number_and_order_make_the_bytes_of_one_process(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], encoded_blocks: list[int], parts: list[tuple[int, int]]
) -> None:
    out = tmp_path / "out"
    for number, of in parts:
        assert run(corpus, out, part=f"{number}/{of}") is None
    with pytest.raises(UserError, match="not finished"):
        load_prepared(out)
    assert sorted(encoded_blocks) == list(range(len(encoded_blocks)))
    done = len(encoded_blocks)
    run(corpus, out)
    assert files_of(out) == whole
    assert len(encoded_blocks) == done > 8


def test_parts_at_the_same_time_read_the_text_for_the_tokenizer_once(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    processes = [start(IN_A_PROCESS, corpus, out, f"{number}/2") for number in (1, 2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("Training a wordpiece tokenizer" in text for text in said) == 1
    assert all(f"Part {number} of 2 is done" in text for number, text in enumerate(said, 1))
    run(corpus, out)
    assert files_of(out) == whole


def test_parts_made_on_separate_disks_are_merged_by_copying_their_blocks(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], encoded_blocks: list[int]
) -> None:
    for number in (1, 2):
        run(corpus, tmp_path / f"disk-{number}", part=f"{number}/2")
    for block in (tmp_path / "disk-2/.partial").glob("block-*.npz"):
        shutil.copy(block, tmp_path / "disk-1/.partial")
    encoded_blocks.clear()
    run(corpus, tmp_path / "disk-1")
    assert files_of(tmp_path / "disk-1") == whole
    assert encoded_blocks == []


def test_a_merge_makes_the_blocks_of_a_part_that_never_ran(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    run(corpus, tmp_path / "out", part="2/3")
    assert "blocks are still missing" in capsys.readouterr().err
    run(corpus, tmp_path / "out")
    assert files_of(tmp_path / "out") == whole


def test_a_part_that_was_killed_goes_on_and_its_blocks_may_be_made_by_other_parts(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    script = KILLED.replace("workers=2)", "workers=2, part='1/2')")
    killed = start(script, "sctd.tokens.encode", "BlockEncoder", "__call__", "4", corpus, out)
    killed.communicate()
    assert killed.returncode == -9
    for part in ("2/3", "1/2", "2/2"):
        run(corpus, out, part=part)
    run(corpus, out)
    assert files_of(out) == whole


def test_blocks_that_are_damaged_or_of_other_text_are_made_anew(
    corpus: Path, tmp_path: Path, whole: dict[str, bytes], encoded_blocks: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(write_corpus(tmp_path / "other", seed=3), tmp_path / "others", part="1/1")
    strange = (tmp_path / "others/.partial/block-000002.npz").read_bytes()
    for wrong in ("strange", "cut", "zeros"):
        out = tmp_path / wrong
        run(corpus, out, part="1/1")
        place = out / ".partial/block-000002.npz"
        place.write_bytes({"strange": strange, "cut": place.read_bytes()[:-1000], "zeros": bytes(100)}[wrong])
        encoded_blocks.clear()
        run(corpus, out)
        assert encoded_blocks == [2]
        assert files_of(out) == whole
    assert "1 blocks were damaged, or of other text" in capsys.readouterr().err


def test_blocks_beyond_the_end_of_the_text_are_left_out(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(corpus, out, part="1/1")
    shutil.copy(out / ".partial/block-000001.npz", out / ".partial/block-000999.npz")
    run(corpus, out)
    assert files_of(out) == whole


def test_a_merge_waits_for_the_part_that_is_at_work_and_names_it(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(corpus, out, part="1/2")
    before = files_of(out)
    with locked(out / ".partial/lock", shared=True), locked(out / ".partial/part-2-of-2.lock"):
        with pytest.raises(UserError, match=r"Another sctd prepare is at work in .*out \(part 2 of 2\): wait for it"):
            run(corpus, out)
        with pytest.raises(UserError, match=r"at work in .*out \(part 2 of 2\)"):
            run(corpus, out, part="2/2")
        run(corpus, out, part="1/2")
    assert before.items() <= files_of(out).items()


def test_a_part_does_not_begin_while_the_whole_is_being_made(corpus: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out/.partial/lock"),
        pytest.raises(UserError, match=r"Another sctd prepare is at work in .*out: wait"),
    ):
        run(corpus, tmp_path / "out", part="1/2")


def test_input_that_one_part_refuses_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    (corpus / "c.jsonl").write_text('{"txt": "no"}\n')
    with pytest.raises(UserError, match="has no key 'text'"):
        run(corpus, tmp_path / "out", part="1/2")
    assert not (tmp_path / "out").exists()


def test_a_part_of_what_is_finished_changes_nothing(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    run(corpus, tmp_path / "whole", part="1/2")
    assert files_of(tmp_path / "whole") == whole


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
def test_a_part_that_is_none_is_one_sentence(tmp_path: Path, part: Any) -> None:
    with pytest.raises(UserError, match=r"is no part: give i/n, from 1/n to n/n"):
        run(tmp_path, tmp_path / "out", part=part)
