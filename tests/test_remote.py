"""Addresses (s3://, memory://, file://): texts are read there, data folders written there and cached from there."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from sctd.errors import UserError
from sctd.remote import (
    cache_folder,
    delete_folder,
    download,
    file_system,
    read_bytes,
    remote_files,
    remote_matches,
    upload_folder,
    without_secrets,
)
from sctd.tokens.prepare import prepare
from sctd.tokens.prepared import load_prepared
from test_prepare import ROOT, corpus, files_of, run, small_blocks, write_corpus
from test_prepare_continue import encoded_blocks

__all__ = ["corpus", "encoded_blocks", "small_blocks"]  # fixtures


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real S3 server on loopback; its address."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place at an address."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return "memory://store"
    use_s3(request.getfixturevalue("s3"), monkeypatch)
    bucket = f"bucket-{abs(hash(tmp_path))}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/store"


def use_s3(endpoint: str, monkeypatch: pytest.MonkeyPatch, key: str | None = "key") -> None:
    settings = {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    settings |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, key) if key else monkeypatch.delenv(name, raising=False)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCTD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of the files that are downloaded."""
    from sctd.tokens import remote_data

    seen: list[str] = []

    def counted(address: str, path: Path) -> None:
        seen.append(address)
        download(address, path)

    monkeypatch.setattr(remote_data, "download", counted)
    return seen


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(folder).items() if name.endswith(".npy") or "tokenizer" in name}


def test_texts_at_an_address_make_the_shards_that_they_make_on_a_disk(store: str, corpus: Path, tmp_path: Path) -> None:
    with gzip.open(corpus / "c.txt.gz", "wt") as file:
        file.write("la le li lo lu\n" * 5000)
    (corpus / "notes.md").write_text("passed over")
    (corpus / ".hidden.txt").write_text("passed over too")
    upload_folder(corpus, f"{store}/texts")
    run(corpus, tmp_path / "here")
    for number, places in enumerate(
        (
            [f"{store}/texts"],
            [f"{store}/texts/*.txt", f"{store}/texts/*.jsonl", f"{store}/texts/c.txt.gz"],
            [f"{store}/texts/"],
        )
    ):
        manifest = run(places, tmp_path / f"there-{number}")
        assert shards(tmp_path / f"there-{number}") == shards(tmp_path / "here")
        assert [Path(source["path"]).name for source in manifest.provenance["inputs"]] == [
            "a.txt",
            "b.jsonl",
            "c.txt.gz",
        ]


def test_parquet_at_an_address_is_read(store: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"text number {i} of {'many ' * (i % 9)}" for i in range(2000)]
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet")
    upload_folder(tmp_path, f"{store}/texts", ["a.parquet"])
    assert run([f"{store}/texts/a.parquet"], tmp_path / "out").splits["train"].documents > 1900


def test_texts_that_were_changed_do_not_continue_the_work_on_what_they_were(
    store: str, corpus: Path, tmp_path: Path
) -> None:
    upload_folder(corpus, f"{store}/texts")
    run([f"{store}/texts"], tmp_path / "out", part="1/2")
    text = (corpus / "a.txt").read_text()
    (corpus / "a.txt").write_text(text.replace("ba", "bo"))  # of the same size
    os.utime(corpus / "a.txt", (1, 1))
    upload_folder(corpus, f"{store}/texts")
    with pytest.raises(UserError, match="unfinished work with other input files"):
        run([f"{store}/texts"], tmp_path / "out", part="1/2")


def test_data_written_to_an_address_are_what_is_written_to_a_disk(
    store: str, corpus: Path, tmp_path: Path, downloads: list[str], cache: Path
) -> None:
    run(corpus, tmp_path / "here")
    manifest = prepare([str(corpus)], f"{store}/data", seq_len=32, vocab_size=200)
    assert manifest is not None
    upload_folder(tmp_path, f"{store}/elsewhere", [])
    written = remote_files(f"{store}/data")
    assert {name: read_bytes(f"{store}/data/{name}") for name in written} == files_of(tmp_path / "here")
    there, here = load_prepared(f"{store}/data"), load_prepared(tmp_path / "here")
    assert not downloads
    assert there.manifest == here.manifest
    everything = np.arange(len(here.train))
    assert np.array_equal(there.train.rows(everything), here.train.rows(everything))
    assert there.path.parent == cache


def test_data_at_an_address_are_downloaded_once_and_compared_again(
    store: str, corpus: Path, tmp_path: Path, downloads: list[str]
) -> None:
    run(corpus, tmp_path / "here")
    upload_folder(tmp_path / "here", f"{store}/data", last="manifest.json")
    data = load_prepared(f"{store}/data")
    assert files_of(data.path) == files_of(tmp_path / "here")
    assert {address.removeprefix(f"{store}/data/") for address in downloads} == {*files_of(tmp_path / "here")} - {
        "manifest.json"
    }
    downloads.clear()
    load_prepared(f"{store}/data")
    load_prepared(f"{store}/data/")
    assert not downloads
    (data.path / "unigram.npy").write_bytes((data.path / "unigram.npy").read_bytes()[:-8] + bytes(8))
    (data.path / "train-00000.npy").write_bytes(b"damaged")
    load_prepared(f"{store}/data")
    assert {address.rpartition("/")[2] for address in downloads} <= {"train-00000.npy", "unigram.npy"}
    assert files_of(data.path) == files_of(tmp_path / "here")


def test_other_data_at_the_address_replace_the_copy(store: str, corpus: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_corpus(corpus, seed=seed)
        run(corpus, tmp_path / f"here-{seed}")
        upload_folder(tmp_path / f"here-{seed}", f"{store}/data", last="manifest.json")
        assert files_of(load_prepared(f"{store}/data").path) == files_of(tmp_path / f"here-{seed}")


def test_what_arrives_damaged_is_one_sentence_and_no_data_folder(
    store: str, corpus: Path, tmp_path: Path, cache: Path
) -> None:
    run(corpus, tmp_path / "here")
    (tmp_path / "here/validation-00000.npy").write_bytes(b"damaged")
    upload_folder(tmp_path / "here", f"{store}/data")
    with pytest.raises(UserError, match=r"store/data/validation-00000.npy is damaged"):
        load_prepared(f"{store}/data")
    assert not list(cache.rglob("manifest.json"))
    assert not list(cache.rglob(".partial-*"))


def test_an_upload_that_was_interrupted_is_no_data_folder_and_goes_on_without_tokenising(
    store: str, corpus: Path, monkeypatch: pytest.MonkeyPatch, encoded_blocks: list[int]
) -> None:
    system = file_system(store)[0]
    put_file, paused = system.put_file, []

    def fails(local: str, path: str) -> None:
        if path.endswith("validation-00000.npy"):
            raise ConnectionResetError("reset by peer")
        put_file(local, path)

    with monkeypatch.context() as patch:
        patch.setattr(system, "put_file", fails)
        patch.setattr(time, "sleep", paused.append)
        with pytest.raises(UserError, match=r"store/data cannot be reached \(reset by peer\): check the address"):
            prepare([str(corpus)], f"{store}/data", seq_len=32, vocab_size=200)
    assert "train-00000.npy" in remote_files(f"{store}/data")
    with pytest.raises(UserError, match=r"store/data has no manifest.json"):
        load_prepared(f"{store}/data")
    encoded_blocks.clear()
    prepare([str(corpus)], f"{store}/data", seq_len=32, vocab_size=200)
    assert not encoded_blocks
    load_prepared(f"{store}/data")


def test_parts_meet_at_an_address(
    store: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded_blocks: list[int]
) -> None:
    run(corpus, tmp_path / "here")
    encoded_blocks.clear()
    for number in (2, 1):
        monkeypatch.setenv("SCTD_CACHE", str(tmp_path / f"machine-{number}"))
        assert prepare([str(corpus)], f"{store}/data", seq_len=32, vocab_size=200, part=f"{number}/2") is None
    done = sorted(encoded_blocks)
    monkeypatch.setenv("SCTD_CACHE", str(tmp_path / "machine-3"))
    prepare([str(corpus)], f"{store}/data", seq_len=32, vocab_size=200)
    assert sorted(encoded_blocks) == done == list(range(len(done)))
    written = remote_files(f"{store}/data")
    assert {name: read_bytes(f"{store}/data/{name}") for name in written} == files_of(tmp_path / "here")


def test_an_address_that_is_finished_or_holds_other_things_is_left_alone(
    store: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoded_blocks: list[int]
) -> None:
    settings: dict[str, Any] = {"seq_len": 32, "vocab_size": 200}
    upload_folder(corpus, f"{store}/data")
    with pytest.raises(UserError, match=r"store/data holds other files \(a.txt\): choose a new or empty address"):
        prepare([str(corpus)], f"{store}/data", **settings)
    delete_folder(f"{store}/data")
    assert not remote_files(f"{store}/data")
    prepare([str(corpus)], f"{store}/data", **settings)
    encoded_blocks.clear()
    prepare([str(corpus)], f"{store}/data", **settings)
    assert "is finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="already holds finished data made with seq_len 32 instead of 64"):
        prepare([str(corpus)], f"{store}/data/", **settings | {"seq_len": 64})
    delete_folder(f"{store}/data")
    prepare([str(corpus)], f"{store}/data", **settings | {"seq_len": 64})
    assert load_prepared(f"{store}/data").manifest.seq_len == 64


def test_the_last_file_is_taken_away_first_and_written_last(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    for name in ("a/x", "b", "state.json", "z"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    upload_folder(folder, f"{store}/run", last="state.json")
    assert remote_files(f"{store}/run") == {"a/x": 3, "b": 1, "state.json": 10, "z": 1}
    system = file_system(store)[0]
    put_file, order = system.put_file, []

    def put(local: str, path: str) -> None:
        order.append(path.partition("/run/")[2])
        assert "state.json" not in remote_files(f"{store}/run")
        put_file(local, path)

    monkeypatch.setattr(system, "put_file", put)
    upload_folder(folder, f"{store}/run", last="state.json")
    assert order == ["a/x", "b", "z", "state.json"]
    download(f"{store}/run/a/x", tmp_path / "new/x")
    assert (tmp_path / "new/x").read_text() == "a/x"
    delete_folder(f"{store}/run")
    delete_folder(f"{store}/run")
    assert remote_files(f"{store}/run") == {}


def test_nothing_at_an_address_is_one_sentence(store: str, tmp_path: Path) -> None:
    for place in (f"{store}/no.txt", f"{store}/none"):
        with pytest.raises(UserError, match=r"/store/no.* does not exist"):
            run([place], tmp_path / "out")
    with pytest.raises(UserError, match=r"/store/\*.txt holds or matches no file that sctd can read"):
        run([f"{store}/*.txt"], tmp_path / "out")
    with pytest.raises(UserError, match=r"/store/none has no manifest.json: give the address"):
        load_prepared(f"{store}/none")
    with pytest.raises(UserError, match=r"/store/none/x does not exist"):
        download(f"{store}/none/x", tmp_path / "x")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*x*"))


def test_a_name_that_leads_out_of_the_cache_is_refused(corpus: Path, tmp_path: Path, cache: Path) -> None:
    run(corpus, tmp_path / "here")
    upload_folder(tmp_path / "here", "memory://evil/data", last="manifest.json")
    fsspec.filesystem("memory").pipe_file("/evil/data/tokenizer/../../../out.txt", b"out")
    with pytest.raises(UserError, match=r"evil/data has an object .* whose name leads out of its folder"):
        load_prepared("memory://evil/data")
    assert not cache.exists()


def test_a_scheme_without_its_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_s3fs(address: str, **options: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", without_s3fs)
    with pytest.raises(UserError, match=r"s3://a/b needs a package .* \(Install s3fs .*pip install 'sctd\[remote\]'"):
        load_prepared("s3://a/b")
    with pytest.raises(UserError, match="nowhere://a/b is of a kind that fsspec does not know"):
        run(["nowhere://a/b"], tmp_path / "out")


def test_a_connection_that_breaks_while_text_is_read_is_no_damaged_file(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_folder(corpus, "memory://broken")
    from fsspec.implementations.memory import MemoryFile

    def breaks(self: Any, size: int = -1) -> bytes:
        raise ConnectionResetError("reset")

    monkeypatch.setattr(MemoryFile, "read", breaks, raising=False)
    with pytest.raises(UserError, match=r"broken/a.txt cannot be reached \(reset\): check the address"):
        run(["memory://broken"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_bucket_is_met_before_any_work(
    s3: str, corpus: Path, monkeypatch: pytest.MonkeyPatch, encoded_blocks: list[int], cache: Path
) -> None:
    use_s3(s3, monkeypatch)
    with pytest.raises(UserError, match=r"s3://no-such-bucket/data does not exist .*: check the bucket"):
        prepare([str(corpus)], "s3://no-such-bucket/data", seq_len=32, vocab_size=200)
    assert not encoded_blocks
    assert not cache.exists()


def test_no_credentials_and_no_server_are_one_sentence(
    s3: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(s3, monkeypatch, key=None)
    with pytest.raises(UserError, match=r"s3://a/b cannot be accessed \(Unable to locate cred.*: check the cred"):
        load_prepared("s3://a/b")
    use_s3("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(UserError, match=r"s3://a/b cannot be reached \(Could not connect .*: check the address"):
        prepare([str(corpus)], "s3://a/b", seq_len=32, vocab_size=200)


@pytest.mark.slow
def test_the_command_line_prepares_and_pretrains_at_addresses_of_a_server(
    s3: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(s3, monkeypatch)
    fsspec.filesystem("s3").mkdir("commands")
    upload_folder(corpus, "s3://commands/texts")
    tiny = "--model.num_layers 4 --model.hidden_size 32 --model.num_heads 2 --schedule.steps 3 --batch.size 4"
    for line in (
        "prepare --input s3://commands/texts/* --out s3://commands/data --seq-len 32 --vocab-size 200",
        f"pretrain --data s3://commands/data --out run --eval.sequences 8 --log.tensorboard false {tiny}",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sctd", *line.split()],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/model/model.safetensors").exists()
    assert cache_folder("s3://commands/data").is_dir()


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://bob:secret@host/t.txt?token=secret", "https://host/t.txt"),
        ("ftp://bob:secret@host/a@b.txt", "ftp://host/a@b.txt"),
        ("s3://bucket/what?.txt", "s3://bucket/what?.txt"),
        ("/home/a@b/t.txt", "/home/a@b/t.txt"),
    ],
)
def test_what_is_secret_in_an_address_is_not_stored(place, shown):
    assert without_secrets(place) == shown


def test_a_relative_address_has_a_copy_for_each_folder_that_it_is_relative_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.append(cache_folder("file://runs/x"))
    assert found[0] != found[1]
    assert found[1] == cache_folder(f"file://{tmp_path}/two/runs/x/")


def test_the_host_of_an_address_stays_with_the_files_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Files:
        """As fsspec's ftp: its paths are without the host, and `unstrip_protocol` cannot know it."""

        def invalidate_cache(self) -> None: ...

        def info(self, path: str) -> dict[str, Any]:
            return {"type": "directory"}

        def find(self, path: str, detail: bool) -> dict[str, dict[str, Any]]:
            return {f"{path}/a.txt": {"type": "file", "size": 1}}

        def unstrip_protocol(self, name: str) -> str:
            return f"ftp://{name}"

    monkeypatch.setattr("sctd.remote.file_system", lambda address: (Files(), "/texts"))
    assert list(remote_matches("ftp://some.host/texts")) == ["ftp://some.host/texts/a.txt"]


def test_ids_that_the_tokenizer_does_not_have_are_met_at_an_address_too(corpus: Path, tmp_path: Path) -> None:
    prepare([str(corpus)], out=str(tmp_path / "data"), vocab_size=200, seq_len=16)
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())
    shard = manifest["splits"]["train"]["shards"][0]
    file = tmp_path / "data" / shard["file"]
    rows = np.load(file)
    rows[:] = 60_000
    np.save(file, rows)
    shard["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "data/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="ids that the tokenizer does not have"):
        load_prepared(f"file://{tmp_path}/data")


def test_an_upload_that_breaks_off_is_tried_again(
    store: str, corpus: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    system, _ = file_system(store)
    put_file, tries, paused = system.put_file, [], []

    def breaks_twice(local: str, path: str) -> None:
        tries.append(path)
        if len(tries) < 3:
            raise ConnectionResetError("reset by peer")
        put_file(local, path)

    monkeypatch.setattr(system, "put_file", breaks_twice)
    monkeypatch.setattr(time, "sleep", paused.append)
    upload_folder(corpus, store)
    assert paused == [5, 30]
    assert set(remote_files(store)) == set(files_of(corpus))
    assert "could not be sent (reset by peer); once more in 5 s." in capfd.readouterr().err
