"""The reader's side of a data folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import make_prepared
from sctd.errors import UserError
from sctd.files import sha256_file
from sctd.tokens.prepared import TokenSplit, load_prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_prepared(tmp_path, sequences=600)


def test_rows_in_any_order_come_from_all_shards(folder: Path) -> None:
    data = load_prepared(folder)
    files = sorted(folder.glob("train-*.npy"))
    assert len(files) > 1
    everything = np.concatenate([np.load(file) for file in files])
    indices = np.random.default_rng(0).integers(0, 600, size=1000)
    rows = data.train.rows(indices)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, everything[indices])


def test_no_indices_give_no_rows(folder: Path) -> None:
    assert load_prepared(folder).train.rows(np.array([], dtype=np.int64)).shape == (0, 32)


@pytest.mark.parametrize("index", [-1, 600])
def test_an_index_outside_the_split_is_an_index_error(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match=r"0 \.\. 599"):
        load_prepared(folder).train.rows(np.array([0, index]))


def test_an_empty_shard_between_others_does_no_harm() -> None:
    shards = [np.zeros((2, 4), np.uint16), np.zeros((0, 4), np.uint16), np.ones((2, 4), np.uint16)]
    assert TokenSplit(shards, 4).rows(np.array([1, 2]))[:, 0].tolist() == [0, 1]


def test_the_manifest_says_what_is_in_the_folder(folder: Path) -> None:
    data = load_prepared(folder)
    manifest = data.manifest
    assert (manifest.vocab_size, manifest.seq_len) == (200, 32)
    assert (len(data.train), len(data.validation)) == (600, 16)
    assert data.unigram.shape == (200,)
    assert data.unigram.sum() == manifest.splits["train"].tokens
    assert data.unigram[manifest.special.all()].sum() == 0
    share = data.unigram[data.unigram > 0] / data.unigram.sum()
    assert manifest.unigram_entropy == pytest.approx(-(share * np.log(share)).sum())


def test_the_tokenizer_folder_loads_in_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    data = load_prepared(folder)
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_dir)
    special = data.manifest.special
    assert len(tokenizer) == 200
    assert (tokenizer.mask_token_id, tokenizer.pad_token_id) == (special.mask, special.pad)
    assert tokenizer("Baba").input_ids[0] == special.cls


def test_a_large_vocabulary_is_stored_in_32_bits(tmp_path: Path) -> None:
    data = load_prepared(make_prepared(tmp_path, vocab_size=65_537))
    assert data.manifest.dtype == "uint32"
    assert data.train.rows(np.arange(3)).shape == (3, 32)


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        load_prepared(tmp_path / "nowhere")


def test_a_folder_that_prepare_did_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.json: give the folder that sctd prepare wrote"):
        load_prepared(tmp_path)


def test_an_unfinished_folder_says_how_to_continue(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    with pytest.raises(UserError, match="not finished: run the same sctd prepare again"):
        load_prepared(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1}', "sctd_version is missing"),
        ('{"format": 2}', "has format 2, and this sctd reads format 1"),
    ],
)
def test_a_damaged_manifest_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=rf"manifest\.json .*{said}"):
        load_prepared(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "train-00001.npy").unlink()
    with pytest.raises(UserError, match=r"train-00001\.npy is missing"):
        load_prepared(folder)


def test_a_cut_shard_is_named(folder: Path) -> None:
    shard = folder / "train-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train-00000\.npy is damaged"):
        load_prepared(folder, verify=False)


def test_a_shard_of_another_type_is_named(folder: Path) -> None:
    shard = folder / "validation-00000.npy"
    np.save(shard, np.load(shard).astype(np.int32))
    with pytest.raises(UserError, match=r"validation-00000\.npy is damaged \(it holds int32"):
        load_prepared(folder, verify=False)


def test_a_flipped_byte_is_found_by_the_checksum(folder: Path) -> None:
    shard = folder / "train-00000.npy"
    damaged = bytearray(shard.read_bytes())
    damaged[-7] ^= 1
    shard.write_bytes(damaged)
    load_prepared(folder, verify=False)
    with pytest.raises(UserError, match=r"train-00000\.npy is damaged \(its SHA-256"):
        load_prepared(folder)


def test_an_exchanged_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    other = make_prepared(tmp_path / "other", vocab_size=201)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(other / "tokenizer", folder / "tokenizer")
    with pytest.raises(UserError, match="made with another tokenizer"):
        load_prepared(folder)


def test_a_manifest_whose_type_does_not_fit_the_vocabulary_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"dtype": "uint32"}))
    with pytest.raises(UserError, match="dtype 'uint32' for 200 ids"):
        load_prepared(folder)


def test_a_tokenizer_without_an_unknown_token_is_fine(folder: Path) -> None:
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    value["tokenizer"]["special"]["unk"] = None
    path.write_text(json.dumps(value))
    special = load_prepared(folder).manifest.special
    assert special.unk is None
    assert special.all() == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (["seq_len"], float("inf"), "seq_len is missing or of another kind"),
        (["splits", "train", "tokens"], "9" * 3, r"splits\.train\.tokens"),
        (["splits", "train", "shards", 0, "file"], "../other.npy", "a file outside the folder"),
        (["splits", "train", "shards", 0, "file"], "/dev/zero", "a file outside the folder"),
        (["splits", "validation", "sequences"], 10**9, "is not what its shards have"),
        (["tokenizer", "special", "mask"], 10**6, "an id that the tokenizer does not have"),
        (["tokenizer", "vocab_size"], 2**40, "out of range"),
        (["provenance"], {"inputs": [1]}, r"provenance\.inputs\.0"),
    ],
)
def test_a_manifest_of_another_form_is_named(folder: Path, keys: list[Any], value: object, said: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    inside = manifest
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"manifest\.json is damaged \(.*{said}"):
        load_prepared(folder)


@pytest.mark.parametrize("header", ["{'descr': '<u2', 'fortran_order': False, 'shape': (3", "(" * 900, "{'descr': 3}"])
def test_a_shard_whose_header_is_no_header_is_named(folder: Path, header: str) -> None:
    text = header.encode() + b"\n"
    (folder / "train-00000.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(UserError, match=r"train-00000\.npy is damaged"):
        load_prepared(folder, verify=False)


def test_ids_that_the_tokenizer_does_not_have_and_counts_below_0_are_named(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = manifest["splits"]["train"]["shards"][0]
    rows = np.load(folder / shard["file"])
    rows[0, 0] = manifest["tokenizer"]["vocab_size"]
    np.save(folder / shard["file"], rows)
    manifest["splits"]["train"]["shards"][0]["sha256"] = sha256_file(folder / shard["file"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="it holds ids that the tokenizer does not have"):
        load_prepared(folder)
    counts = np.load(folder / "unigram.npy")
    np.save(folder / "unigram.npy", -counts)
    with pytest.raises(UserError, match=r"unigram\.npy is damaged \(it holds counts below 0"):
        load_prepared(folder, verify=False)
