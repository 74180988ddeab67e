"""How much of a text stands in it more than once."""

import numpy as np
import pytest

from sctd.tokens.repeats import WINDOW, Repeats, window_hashes


def text(tokens, seed=0):
    return np.random.default_rng(seed).integers(0, 8000, tokens).astype(np.uint32)


def share_of(*streams, **more):
    repeats = Repeats(**more)
    for ids in streams:
        repeats.add(ids)
    return repeats.share()


def test_the_share_is_that_of_all_windows_counted_one_by_one():
    ids = np.concatenate([text(3000), text(1000), text(500, seed=1)])
    windows = [tuple(ids[start : start + WINDOW]) for start in range(len(ids) - WINDOW + 1)]
    assert share_of(ids, share=1) == pytest.approx(1 - len(set(windows)) / len(windows))


def test_text_without_repetition_has_none_and_a_copy_is_half_of_the_whole():
    assert share_of(text(300_000)) == 0
    assert share_of(text(300_000), text(300_000)) == 0.5


def test_a_sample_that_is_cut_down_says_nearly_the_same():
    streams = [text(100_000), text(50_000), text(100_000, seed=1)]
    assert share_of(*streams, share=1, limit=2_000) == pytest.approx(share_of(*streams, share=1), abs=0.03)


def test_a_stream_shorter_than_a_window_has_no_windows():
    assert len(window_hashes(text(WINDOW - 1))) == 0
    assert share_of(text(3), np.zeros(0, dtype=np.uint32)) == 0


def test_prepare_names_a_text_that_repeats_itself(tmp_path, capfd):
    from sctd.tokens.prepare import prepare

    boilerplate = " ".join(f"all rights reserved by company number {n}" for n in range(40))
    for name, more in (("plain", ""), ("repeating", boilerplate)):
        pages = [f"page {n} " + " ".join(f"word{(n * 7919 + i * i) % 5003}" for i in range(80)) for n in range(200)]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(f"{page}\n{more}" for page in pages))
        prepare([str(tmp_path / f"{name}.txt")], str(tmp_path / name), vocab_size=400, seq_len=32)
        said = capfd.readouterr().err
        assert ("of the training text stands in it more than once" in said) == (name == "repeating")
