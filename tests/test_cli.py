"""The command line, with stand-ins for the verbs: what words mean, and what is said of wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from sctd import cli
from sctd.cli import Verb, main
from sctd.config import PretrainConfig
from sctd.errors import UserError

REAL_VERBS = dict(cli.VERBS)
CALLS: list[dict] = []


def prepare(
    input: list[str],
    out: str,
    tokenizer: str | None = None,
    seq_len: int = 128,
    kind: Literal["wordpiece", "bpe"] = "wordpiece",
    lowercase: bool = False,
    shares: tuple[float, float] = (0.5, 0.5),
    widths: list[int] | None = None,
) -> None:
    """Text to a data folder.

    Args:
        input: files, 100 % of them.
        out: the data
            folder.
        seq_len: tokens a row.
    """
    CALLS.append(dict(locals()))


def pretrain(data: str, out: str, config: PretrainConfig, resume: str | None = None) -> None:
    """Train.

    Args:
        data: a data folder.
        out: a run folder.
        resume: a checkpoint, or `auto`.
    """
    CALLS.append(dict(locals()))


def fill(model: str, text: str, top: int = 5) -> None:
    """Fill the masks."""
    CALLS.append(dict(locals()))


def compare(runs: list[str], out: str) -> None:
    """Compare runs."""
    CALLS.append(dict(locals()))


def fail(how: str) -> None:
    """Raise something."""
    raise {
        "user": UserError("The moon is full:\nwait."),
        "stop": KeyboardInterrupt("step 7 is saved"),
        "silent": KeyboardInterrupt(),
        "bug": ZeroDivisionError("a bug"),
    }[how]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verbs = {
        "prepare": Verb(f"{__name__}:prepare", "text to data"),
        "pretrain": Verb(f"{__name__}:pretrain", "data to a model", bare={"resume": "auto"}),
        "fill": Verb(f"{__name__}:fill", "fill masks", positional=("model", "text")),
        "compare": Verb(f"{__name__}:compare", "compare runs", positional=("runs", "out")),
        "fail": Verb(f"{__name__}:fail", "raise", positional=("how",), stopped="the same command goes on"),
    }
    monkeypatch.setattr(cli, "VERBS", verbs)
    monkeypatch.chdir(tmp_path)
    CALLS.clear()


def call(*words: str) -> dict:
    assert main(words) == 0
    return CALLS.pop()


TRAIN = ("pretrain", "--data", "D", "--out", "R")


def test_flags_become_arguments_of_their_types() -> None:
    assert call("prepare", "--input", "a", "b", "c", "--out", "1") == {
        "input": ["a", "b", "c"],
        "out": "1",
        "tokenizer": None,
        "seq_len": 128,
        "kind": "wordpiece",
        "lowercase": False,
        "shares": (0.5, 0.5),
        "widths": None,
    }
    given = call(
        *(
            "prepare",
            "--input",
            "a",
            "--input=b",
            "--out=x=y",
            "--seq-len",
            "512",
            "--kind",
            "bpe",
            "--lowercase",
        ),
        *("--tokenizer", "null", "--shares", "0.1", "9e-1", "--widths", "1", "2"),
    )
    assert given["input"] == ["a", "b"]
    assert given["out"] == "x=y"
    assert (given["seq_len"], given["kind"], given["lowercase"]) == (512, "bpe", True)
    assert (given["tokenizer"], given["shares"], given["widths"]) == (None, (0.1, 0.9), [1, 2])


@pytest.mark.parametrize("flag", ["--seq-len", "--seq_len"])
def test_dashes_and_underscores_are_the_same(flag: str) -> None:
    assert call("prepare", "--input", "a", "--out", "b", flag, "7")["seq_len"] == 7
    assert call(*TRAIN, "--init-from", "M")["config"] == call(*TRAIN, "--init_from", "M")["config"]
    assert call(*TRAIN, "--model.num-layers", "6")["config"].model.num_layers == 6


@pytest.mark.parametrize(
    "words",
    [
        ("M", "[MASK] --a", "--top", "3"),
        ("--top=3", "M", "[MASK] --a"),
        ("--top", "3", "--", "M", "[MASK] --a"),
    ],
)
def test_positional_words_stand_anywhere(words: tuple[str, ...]) -> None:
    assert call("fill", *words) == {"model": "M", "text": "[MASK] --a", "top": 3}


def test_a_list_may_be_positional() -> None:
    assert call("compare", "a", "b", "c", "d") == {"runs": ["a", "b", "c"], "out": "d"}


def test_bool_takes_no_word_that_is_not_its_own() -> None:
    assert call("prepare", "--input", "a", "--lowercase", "false", "--out", "b")["lowercase"] is False
    assert call(*TRAIN, "--compile", "--seed", "2")["config"].compile is True


def test_resume_alone_means_auto() -> None:
    assert call(*TRAIN)["resume"] is None
    assert call(*TRAIN, "--resume")["resume"] == "auto"
    assert call(*TRAIN, "--resume", "--seed", "2")["resume"] == "auto"
    assert call(*TRAIN, "--resume", "R/checkpoints/step-5")["resume"] == "R/checkpoints/step-5"


def test_defaults_then_recipe_then_flags(tmp_path: Path) -> None:
    recipe = tmp_path / "my.yaml"
    recipe.write_text("seed: 5\nschedule:\n  steps: 10\n  warmup: 3\nconsistency.interval: 4\n")
    config = call(*TRAIN, "--schedule.steps", "20", "--config", "my.yaml", "--consistency.interval", "null")["config"]
    expected = PretrainConfig(seed=5)
    expected.schedule.steps, expected.schedule.warmup, expected.consistency.interval = 20, 3.0, None
    assert config == expected
    assert call(*TRAIN)["config"] == PretrainConfig()


def test_config_takes_the_name_of_a_shipped_recipe() -> None:
    config = call(*TRAIN, "--config", "mini", "--method", "drop", "--optimizer.betas", "0.9", "0.99")["config"]
    assert (config.model.preset, config.method, config.optimizer.betas) == ("mini", "drop", (0.9, 0.99))


FULL = ["prepare", "--input", "a", "--out", "b"]
BAD_COMMAND_LINES = {
    "": "sctd needs a verb; see `sctd --help`",
    "pretain": 'there is no verb "pretain"; did you mean "pretrain"?',
    "xyzzy": 'there is no verb "xyzzy"; see `sctd --help`',
    "--verson": 'there is no flag "--verson"; did you mean "--version"?',
    "prepare": "sctd prepare needs --input and --out; see `sctd prepare --help`",
    "fill M": "sctd fill needs TEXT; see `sctd fill --help`",
    "fill M T U": 'sctd fill has no place for "U"; see `sctd fill --help`',
    "fill M T -x": 'sctd fill has no place for "-x"; see `sctd fill --help`',
    "compare a": "sctd compare needs OUT; see `sctd compare --help`",
    "prepare --input --out x": "--input: expected at least one argument; see `sctd prepare --help`",
    "prepare --out": "--out: expected one argument; see `sctd prepare --help`",
    "prepare --seqlen 5": 'there is no flag --seqlen; did you mean "--seq-len"?',
    "prepare --zzz": "there is no flag --zzz; see `sctd prepare --help`",
    "prepare --input a --out b --kind bp": (
        "--kind: expected one of 'wordpiece', 'bpe', got \"bp\"; see `sctd prepare --help`"
    ),
    "prepare --input a --out b --seq-len 1.5": '--seq-len: expected int, got "1.5"; see `sctd prepare --help`',
    "prepare --input a --out b --seq-len=": '--seq-len: expected int, got ""; see `sctd prepare --help`',
    "prepare --input a --out b --lowercase=maybe": (
        '--lowercase: expected bool, got "maybe"; see `sctd prepare --help`'
    ),
    "prepare --input a --out b --seq-len null": '--seq-len: expected int, got "None"; see `sctd prepare --help`',
    "prepare --input a --out b --shares 1": "--shares: expected 2 arguments; see `sctd prepare --help`",
    "prepare --input a --out b --shares 1 x": (
        '--shares: expected tuple[float, float], got "x"; see `sctd prepare --help`'
    ),
    "pretrain --data D --out R --schedule.steps many": (
        '--schedule.steps: expected int or null, got "many"; see `sctd pretrain --help`'
    ),
    "pretrain --data D --out R --optimizer.lr .nan": 'optimizer.lr: expected float or null, got "nan"',
    "pretrain --data D --out R --seed null": '--seed: expected int, got "None"; see `sctd pretrain --help`',
    "pretrain --data D --out R --schedule.step 5": 'there is no flag --schedule.step; did you mean "--schedule.steps"?',
    "pretrain --steps 5": 'there is no flag --steps; did you mean "--schedule.steps"?',
    "pretrain --lr 5": 'there is no flag --lr; did you mean "--optimizer.lr"?',
    "pretrain --every 5": (
        'there is no flag --every; did you mean "--eval.every" or "--checkpoint.every" or "--log.every"?'
    ),
    "pretrain --data D --out R --config mni": ('mni: there is no such file and no such recipe; did you mean "mini"?'),
    "pretrain --data D --out R --method drap": (
        "--method: expected one of 'dense', 'drop', 'sctd', got \"drap\"; see `sctd pretrain --help`"
    ),
}


@pytest.mark.parametrize("line", BAD_COMMAND_LINES, ids=lambda line: line or "nothing")
def test_a_wrong_command_line_is_answered_with_one_sentence(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr() == ("", f"error: {BAD_COMMAND_LINES[line]}\n")
    assert not CALLS
    assert list(tmp_path.iterdir()) == []


def test_user_error_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["fail", "user"]) == 2
    assert capsys.readouterr().err == "error: The moon is full: wait.\n"
    monkeypatch.setenv("SCTD_DEBUG", "1")
    assert main(["fail", "user"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fail", "stop"]) == 130
    assert capsys.readouterr().err == "interrupted: step 7 is saved\n"
    assert main(["fail", "silent"]) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["fail", "bug"])


def test_verb_help_shows_types_explanations_and_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    assert main([*FULL, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: sctd prepare --input INPUT --out OUT [--FLAG VALUE ...]\n\nText to a data folder.\n")
    text = " ".join(text.split())
    assert " --input INPUT [INPUT ...] files, 100 % of them. (required, type: str) " in text
    assert " --out OUT the data folder. (required, type: str) " in text
    assert " --seq-len SEQ_LEN tokens a row. (type: int, default: 128) " in text
    assert " --kind {wordpiece,bpe} " in text


def test_pretrain_help_explains_every_setting_under_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    from sctd.recipe import SETTINGS

    assert main(["pretrain", "-h"]) == 0
    text = capsys.readouterr().out
    for key in SETTINGS:
        assert f"\n  --{key if '.' in key else key.replace('_', '-')} " in text, key
    assert text.index("\ndropping:\n  Token dropping (Hou et al., 2022)") < text.index("--dropping.beta")
    assert "--config RECIPE" in text
    assert " --resume [RESUME] a checkpoint, or `auto`. (type: str | null, default: null) " in " ".join(text.split())
    assert CALLS == []


def sctd(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["recipes"], ["recipes", "--show", "mini"], *([verb, "--help"] for verb in REAL_VERBS)],
    ids=" ".join,
)
def test_light_answers_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from sctd.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'transformers', 'tokenizers', 'datasets', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = sctd("-c", code, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_python_m_sctd_is_sctd() -> None:
    assert sctd("-m", "sctd", "--version").stdout.startswith("sctd ")
    assert sctd("-m", "sctd", "nonsense").returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently on Windows")
def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from sctd import cli; sys.exit(cli.main(['recipes', '--show', 'default']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
