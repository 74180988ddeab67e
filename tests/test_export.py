"""A run becomes a Hugging Face folder that strangers' programs load, with a card that tells of this very run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers import make_prepared
from sctd.config import DroppingConfig, LogConfig, ModelConfig, PretrainConfig, ScheduleConfig
from sctd.errors import UserError
from sctd.files import sha256_file, write_json
from sctd.hf import export as export_module
from sctd.hf.card import model_card
from sctd.hf.export import compare, export
from sctd.hf.fill import fill
from sctd.hf.origin import read_origin, write_origin
from sctd.train import checkpoint

STEPS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny model."""
    from sctd.tokens.prepared import load_prepared
    from sctd.train.environment import environment
    from sctd.train.trainer import Trainer

    folder = tmp_path_factory.mktemp("run")
    data = load_prepared(make_prepared(folder))
    run = folder / "run"
    run.mkdir()
    config = PretrainConfig(
        model=ModelConfig(num_layers=4, hidden_size=32, num_heads=2),
        schedule=ScheduleConfig(steps=STEPS),
        dropping=DroppingConfig(keep_ratio=0.25),
        log=LogConfig(tensorboard=False),
        device="cpu",
    )
    config.batch.size = 4
    trainer = Trainer(run, data, config)
    write_origin(run, data, trainer.objective.model.config, None)
    write_json(run / "environment.json", environment(trainer.device))
    write_json(run / "baselines.json", {"unigram": 4.567, "bigram": 3.456, "bigram_both_sides": 2.345})
    trainer.train()
    shutil.rmtree(data.path)  # a run needs its data no longer
    return run


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    folder = run.parent / "exported"
    export(str(run), str(folder))
    return folder


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def trained(run: Path) -> Any:
    """The model of the run's last checkpoint, read without the code under test."""
    from safetensors.torch import load_file

    from sctd.model.bert import Bert, BertConfig

    model = Bert(BertConfig(200, 4, 32, 2, 128, 32, attention="eager"))
    model.load_state_dict(load_file(run / "checkpoints" / f"step-{STEPS}" / "model.safetensors"))
    return model.eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_hugging_faces_logits_are_those_of_the_trained_model(run: Path, exported: Path, attention: str) -> None:
    from transformers import AutoModelForMaskedLM

    theirs, report = AutoModelForMaskedLM.from_pretrained(
        exported, attn_implementation=attention, output_loading_info=True
    )
    assert not any(report.values()), report
    assert type(theirs).__name__ == "BertForMaskedLM"
    input_ids = torch.randint(5, 200, (3, 32), generator=torch.Generator().manual_seed(1))
    attention_mask = (torch.arange(32) < torch.tensor([[32], [20], [5]])).long()
    with torch.no_grad():
        found = theirs.eval()(input_ids=input_ids, attention_mask=attention_mask).logits
        wanted = trained(run)(input_ids, attention_mask)
    real = attention_mask == 1
    assert (found - wanted)[real].abs().max() < 1e-5


def test_the_folder_loads_where_sctd_cannot_be_imported(exported: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['sctd'] = None\n"
        "from transformers import pipeline\n"
        f"found = pipeline('fill-mask', model={str(exported)!r})('bada [MASK] bafe')\n"
        "print(len(found), found[0]['token_str'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "5"


def test_sentence_transformers_loads_the_folder(exported: Path) -> None:
    SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer
    encoder = SentenceTransformer(str(exported), device="cpu")
    assert encoder.encode(["bada babe", "bafe " * 500]).shape == (2, 32)


def test_the_tokenizer_cuts_texts_where_the_model_ends(exported: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.model_max_length == 32
    assert len(tokenizer("bada " * 100, truncation=True).input_ids) == 32


def test_the_tokenizer_bears_a_name_that_older_versions_of_transformers_know(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run / "origin" / "tokenizer", tmp_path / "tokenizer"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "TokenizersBackend"}))
    assert export_module._fit_tokenizer(folder, 32) == "[MASK]"
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_card_tells_of_this_run(run: Path, exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    front, _, body = card.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(front)["pipeline_tag"] == "fill-mask"
    assert yaml.safe_load(front)["license"] == "unknown"
    assert "# BERT, 4 layers of 32" in body
    assert "made by tests" in body
    manifest = json.loads((run / "origin" / "manifest.json").read_text())
    assert f"{manifest['splits']['train']['tokens']:,}" in body
    assert "processed only 25% of each sequence's tokens" in body
    assert "every 10 steps the batch also ran through the whole network" in body
    assert f"| steps | {STEPS} of {STEPS} |" in body
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{last['eval_loss']:.3f} | {last['eval_loss_mask']:.3f} | {last['eval_loss_dropped']:.3f} |" in body
    assert "guessing by frequency reaches 4.567 and a bigram model 3.456" in body
    assert "To be filled in" in body
    settings = yaml.safe_load(body.partition("```yaml\n")[2].partition("```")[0])
    assert settings["model"]["hidden_size"] == 32
    assert str(run) not in card


def newest_checkpoint_says(monkeypatch: pytest.MonkeyPatch, run: Path, data: str = "", **settings: str) -> None:
    """Let the run's newest checkpoint state other settings, or another manifest of the data."""
    found = checkpoint.newest_checkpoint(run)
    found[1].config |= settings
    found[1].data = data or found[1].data
    monkeypatch.setattr(checkpoint, "newest_checkpoint", lambda _: found)


def test_a_run_of_another_method_is_described_as_such(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest_checkpoint_says(monkeypatch, own_run, method="dense")
    (own_run / "environment.json").unlink()
    (own_run / "baselines.json").unlink()
    export(str(own_run), str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "every layer processed every token" in card
    assert "token dropping" not in card
    assert "bigram" not in card


def test_the_card_shows_strangers_no_folders_and_lets_no_name_write_markdown(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = json.loads((own_run / "origin" / "manifest.json").read_text())
    names = ["/home/someone/a.txt", "hf:/home/someone/set", "a`\n\n# [Click](https://example.org)<b>`.txt", "a/ä b.txt"]
    manifest["provenance"]["inputs"] = [{"path": name, "bytes": 1} for name in names]
    write_json(own_run / "origin" / "manifest.json", manifest)
    fingerprint = sha256_file(own_run / "origin" / "manifest.json")
    newest_checkpoint_says(monkeypatch, own_run, fingerprint, init_from="/home/someone/start")
    export(str(own_run), str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "someone" not in card
    assert "from the weights of `start`" in card
    assert yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])["init_from"] == "start"
    for shown in ("a.txt", "hf:set", "a# [Click](https://example.org)<b>.txt", "a/ä b.txt"):
        assert f"\n- `{shown}` (1 bytes)\n" in card


def test_the_card_lets_nothing_of_a_run_write_markdown_or_code(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "a\n\n```\n# [Click](https://example.org) | <b>\n---\nlicense: mit\n"
    newest_checkpoint_says(monkeypatch, own_run, eval={"probes_data": hostile})
    state = checkpoint.newest_checkpoint(own_run)[1]
    packages = {"torch": "1", "transformers": "1"}
    environment = {"sctd": "1", "device": hostile, "cpu": "", "cores": 1, "packages": packages}
    write_json(own_run / "environment.json", environment)
    write_json(own_run / "baselines.json", {"unigram": hostile, "bigram": 1, "bigram_both_sides": 1})
    origin = read_origin(own_run, state.data)
    tokenizer = replace(origin.manifest.tokenizer, kind=hostile)
    origin = replace(origin, manifest=replace(origin.manifest, tokenizer=tokenizer))
    card = model_card(own_run, state, origin, f'[MASK]")\nimport os\n{hostile}')
    lines = card.splitlines()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert lines.count("---") == 2
    assert [line for line in lines if line.startswith("# ")] == [lines[lines.index("---", 1) + 2]]
    assert [line for line in lines if line.startswith("import")] == []
    settings = card.partition("## Settings\n\n")[2]
    assert settings.startswith("````yaml\n")
    assert yaml.safe_load(settings[8:].rpartition("````")[0])["eval"]["probes_data"] == hostile
    assert "guessing by frequency" not in card


@pytest.mark.parametrize(("trained_with", "stated"), [(0.0, 0.1), (0.2, 0.2)])
def test_the_config_states_a_dropout_for_fine_tuning(
    own_run: Path, tmp_path: Path, trained_with: float, stated: float
) -> None:
    place = own_run / "origin" / "config.json"
    config = json.loads(place.read_text())
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == 0
    write_json(place, config | {"hidden_dropout_prob": trained_with})
    export(str(own_run), str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (found["hidden_dropout_prob"], found["attention_probs_dropout_prob"]) == (stated, 0.1)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"`config.json` states a dropout of {stated:g}, on the attention weights 0.1; in pretraining" in card


@pytest.mark.parametrize("lines", [1, 12, 13, 30])
def test_the_card_names_some_evaluations_and_always_the_last(own_run: Path, lines: int) -> None:
    from sctd.hf.card import EVALUATIONS_NAMED, _losses
    from sctd.train.checkpoint import TrainState

    written = [json.dumps({"step": step, "seconds": 1.0, "eval_loss": 2.0}) for step in range(1, lines + 1)]
    (own_run / "metrics.jsonl").write_text("\n".join(written) + "\n")
    rows = [row for row in _losses(own_run, TrainState(global_step=lines)).splitlines() if row.startswith("| ")][2:]
    assert rows[-1].startswith(f"| {lines} |")
    assert 0 < len(rows) <= EVALUATIONS_NAMED


def test_a_damaged_checkpoint_is_passed_over(own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = own_run / "checkpoints" / "step-9"
    shutil.copytree(own_run / "checkpoints" / f"step-{STEPS}", newest)
    (newest / "model.safetensors").write_bytes(b"damaged")
    export(str(own_run), str(tmp_path / "out"))
    said = capsys.readouterr().err
    assert "Passed over" in said
    assert f"step {STEPS} of {STEPS}" in said


def test_an_existing_folder_is_refused_and_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already: give another --out"):
        export(str(run), str(tmp_path / "out"))
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_place_that_is_no_run_is_refused(own_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        export(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no checkpoint"):
        export(str(tmp_path / "empty"), str(tmp_path / "out"))
    shutil.rmtree(own_run / "origin")
    with pytest.raises(UserError, match="origin is missing"):
        export(str(own_run), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["manifest.json", "tokenizer/tokenizer.json"])
def test_an_exchanged_tokenizer_or_manifest_is_refused(own_run: Path, tmp_path: Path, file: str) -> None:
    path = own_run / "origin" / file
    path.write_text(path.read_text() + " ")
    with pytest.raises(UserError, match="is not what the run wrote"):
        export(str(own_run), str(tmp_path / "out"))


def test_whoever_may_read_the_config_may_read_the_weights(exported: Path) -> None:
    assert (exported / "model.safetensors").stat().st_mode == (exported / "config.json").stat().st_mode


def test_nothing_is_written_where_hugging_face_disagrees(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(model: Any, folder: Path) -> float:
        with torch.no_grad():
            model.head_bias[7] += 1e-3
        return compare(model, folder)

    monkeypatch.setattr(export_module, "compare", spoiled)
    with pytest.raises(RuntimeError, match=r"differ from ours by 1\.0e-03"):
        export(str(run), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_fill_prints_the_likeliest_tokens_with_their_probabilities(
    run: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    fill(str(exported), "bada [MASK] bafe", top_k=3)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(exported)
    input_ids = tokenizer("bada [MASK] bafe", return_tensors="pt").input_ids
    with torch.no_grad():
        row = trained(run)(input_ids)[0, input_ids[0].tolist().index(tokenizer.mask_token_id)]
    best = row.softmax(-1).topk(3)
    assert [token for _, token in lines] == tokenizer.convert_ids_to_tokens(best.indices.tolist())
    assert [share for share, _ in lines] == [f"{value:.2%}" for value in best.values.tolist()]


def test_fill_numbers_the_masks_where_there_are_several(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(str(exported), "[MASK] bada [MASK]", top_k=1)
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["[MASK] 1 of 2:", "[MASK] 2 of 2:"]


def test_fill_takes_a_finished_run(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="is a run without a model yet: sctd export"):
        fill(str(own_run), "bada [MASK]")
    export(str(own_run), str(own_run / "model"))
    fill(str(own_run), "bada [MASK]", top_k=500)
    assert len(capsys.readouterr().out.splitlines()) == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no mask here", r"The text has no \[MASK\]: write \[MASK\] where a word is missing"),
        ("[MASK] " + "bada " * 100, "The text has 103 tokens and the model reads 32"),
    ],
)
def test_fill_refuses_a_text_without_a_mask_or_too_long(exported: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fill(str(exported), text)


def test_fill_refuses_what_is_no_model(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        fill(str(tmp_path / "nowhere"), "[MASK]")
    with pytest.raises(UserError, match=r"has no config\.json"):
        fill(str(tmp_path), "[MASK]")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has no tokenizer"):
        fill(str(tmp_path), "[MASK]")
    with pytest.raises(UserError, match="--top-k is 0"):
        fill(str(exported), "[MASK]", top_k=0)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_with_code_of_its_own_is_never_asked_about(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    from sctd.tokens.tokenizer import copy_tokenizer

    folder = Path(shutil.copytree(exported, tmp_path / "folder"))
    (folder / "theirs.py").write_text("raise SystemExit('was run')")
    content = json.loads((folder / file).read_text())
    code = {
        "AutoConfig": "theirs.Config",
        "AutoModelForMaskedLM": "theirs.Model",
        "AutoTokenizer": [None, "theirs.Tokenizer"],
    }
    unknown = {"model_type": "theirs", "tokenizer_class": "TheirTokenizer"}
    write_json(folder / file, content | unknown | {"auto_map": code})
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append("".join(question)) or "n")
    for use in (lambda: fill(str(folder), "bada [MASK]"), lambda: copy_tokenizer(str(folder), tmp_path / "copy", 32)):
        with suppress(UserError):
            use()
    assert not asked
