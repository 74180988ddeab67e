"""Duplicates, the held-out split, the sample and the blocks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sctd.text.blocks import Block, read_blocks
from sctd.text.duplicates import SeenDigests, digest
from sctd.text.options import ReadOptions
from sctd.text.sources import find_sources
from sctd.text.survey import Sample, Survey, split_hash


def test_duplicates_are_found_exactly_as_a_set_would() -> None:
    draw = random.Random(0)
    seen, reference = SeenDigests(), set()
    for _ in range(60):
        batch = [digest(str(draw.randrange(3000)).encode()) for _ in range(draw.randrange(1, 200))]
        expected = []
        for value in batch:
            expected.append(value not in reference)
            reference.add(value)
        assert seen.first_seen(batch).tolist() == expected


def test_digests_with_zero_bytes_at_the_end_are_told_apart() -> None:
    seen = SeenDigests()
    batch = [b"a" * 14 + end for end in (b"\0\0", b"\0a", b"a\0", b"aa")]
    assert seen.first_seen(batch).all()
    assert not seen.first_seen(batch).any()


def test_many_digests_take_16_bytes_each() -> None:
    seen = SeenDigests()
    draw = random.Random(0)
    for _ in range(10):
        seen.first_seen([draw.randbytes(16) for _ in range(20_000)])
    assert sum(run.nbytes for run in seen._runs) == 16 * 200_000
    assert len(seen._runs) < 10


def test_blocks_keep_every_first_document_in_order(tmp_path: Path) -> None:
    texts = [f"text number {i % 40}" for i in range(100)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    blocks = list(read_blocks(find_sources([str(tmp_path)]), ReadOptions(), lambda n: None, block_bytes=150))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert len(blocks) > 5
    assert [text for block in blocks for text in block.documents] == texts[:40]
    assert sum(block.duplicates for block in blocks) == 60
    assert all(sum(block.sizes) < 150 + 20 for block in blocks)


def survey_of(texts: list[str]) -> Survey:
    survey = Survey()
    survey.add(Block(0, texts, [digest(t.encode()) for t in texts], [len(t) for t in texts]))
    return survey


def held_out(texts: list[str], share: float) -> set[str]:
    threshold = survey_of(texts).validation_threshold(share)
    return {text for text in texts if split_hash(digest(text.encode())) < threshold}


def test_the_share_that_is_held_out_is_the_one_asked_for() -> None:
    texts = [f"document {i}" for i in range(10_000)]
    assert len(held_out(texts, 0.05)) == pytest.approx(500, abs=70)


def test_what_is_held_out_depends_on_the_text_alone() -> None:
    texts = [f"document {i}" for i in range(2000)]
    backwards = list(reversed(texts))
    assert held_out(texts, 0.02) == held_out(backwards, 0.02)
    assert held_out(texts[:1500], 0.02) == held_out(texts, 0.02) & set(texts[:1500])


@pytest.mark.parametrize("number", [2, 3, 10])
@pytest.mark.parametrize("share", [1e-9, 0.01, 0.5])
def test_each_side_has_a_document_however_small_the_corpus(number: int, share: float) -> None:
    for start in range(0, 200, 10):
        texts = [f"{i}" for i in range(start, start + number)]
        assert 1 <= len(held_out(texts, share)) < number


def test_a_sample_is_bounded_and_taken_from_everywhere() -> None:
    sample = Sample(limit=20_000, seed=1)
    for i in range(1000):
        sample.add([f"{i:04d} some words\n{i:04d} other words"])
    kept = sample.paragraphs()
    assert 8_000 < sum(map(len, kept)) <= 20_000
    quarters = [sum(1 for text in kept if int(text[:4]) // 250 == q) for q in range(4)]
    assert min(quarters) > 0.15 * len(kept)
    assert kept == sorted(kept, key=lambda text: text[:4])


def test_the_seed_decides_the_sample_and_a_small_corpus_is_taken_whole() -> None:
    documents = [f"document {i}" for i in range(300)]

    def drawn(limit: int, seed: int) -> list[str]:
        sample = Sample(limit, seed)
        sample.add(documents)
        return sample.paragraphs()

    assert drawn(1000, 1) == drawn(1000, 1) != drawn(1000, 2)
    assert drawn(10**6, 1) == documents
