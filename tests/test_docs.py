"""The commands and the Python of README and of the docs run, shortened, in order, on a small corpus."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = (
    "--model.num_layers 4 --model.hidden_size 32 --model.num_heads 2 --schedule.steps 3 --batch.size 4 "
    "--eval.sequences 8 --log.tensorboard false"
)
BENCH = (
    "--model.num_layers 4 --model.hidden_size 32 --model.num_heads 2 --batch.size 4 --rounds 2 --vocab-size 100 "
    "--seq-len 32 --device cpu --precision fp32"
)
SHORTER = {
    "bench": BENCH,
    "compare": f"{TINY} --rounds 6 --seeds 1",  # the seeds that a page names are left out by `shortened`
    "prepare": "--seq-len 32",
    "pretrain": TINY,
    "evaluate": "--seeds 1 --epochs 1",
}
LONGER = ("compare", "bench")  # of README; the fast suite runs those of docs/compare.md and docs/benchmarks.md
TINY_RECIPE = (
    "{'model.num_layers': 4, 'model.hidden_size': 32, 'model.num_heads': 2, 'schedule.steps': 3, 'batch.size': 4, "
    "'eval.sequences': 8, 'log.tensorboard': False}"
)


def blocks(page, language):
    """The fenced blocks of a language in a Markdown file."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def commands(page):
    lines = "".join(blocks(page, "sh")).splitlines()
    return [command for line in lines if (command := line.split("#")[0].strip())]


@pytest.fixture
def place(tmp_path):
    """A folder with `my-texts`, a few of Python's own documentation topics, and small things to score on."""
    from pydoc_data.topics import topics

    texts = tmp_path / "my-texts"
    texts.mkdir()
    for name in sorted(topics)[:40]:
        (texts / f"{name}.txt").write_text(topics[name], encoding="utf-8")
    put_scores(tmp_path)
    return tmp_path


def put_scores(place):
    """my-tasks, my-probes and my-pairs, and all of them in my-scores."""
    rows = [(f"the value {i} {'is' if i % 2 else 'are'} given", i % 2) for i in range(12)]
    probe = "".join(f"{split}\t{label}\t{text}\n" for split in ("tr", "va", "te") for text, label in rows)
    pair = {"sentence_good": "it is", "sentence_bad": "it are", "UID": "a", "linguistics_term": "b", "field": "c"}
    for tasks in (place / "my-tasks", place / "my-scores/tasks"):
        for split in ("train", "dev"):
            for name, header, line in (
                ("cola", "source\tlabel\tstar\tsentence", "x\t{1}\t\t{0}"),
                ("rte", "index\tsentence1\tsentence2\tlabel", "0\t{0}\t{0}\tentailment"),
            ):
                path = tasks / name / f"{split}.tsv"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join([header, *(line.format(*row) for row in rows)]) + "\n", encoding="utf-8")
    for folder in (place / "my-probes", place / "my-scores/probing"):
        folder.mkdir(parents=True)
        (folder / "past.txt").write_text(probe, encoding="utf-8")
    for folder in (place / "my-pairs", place / "my-scores/blimp"):
        folder.mkdir(parents=True)
        (folder / "a.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")


def shortened(command):
    # a compiled peer takes minutes to compile
    words = shlex.split(re.sub(r" --schedule.minutes \d+| hf-eager-compiled| --seeds 1 2 3", "", command))
    extra = SHORTER.get(words[1], "")
    if words[1] == "prepare" and "--tokenizer" not in words:
        extra += " --vocab-size 400"
    if words[1] == "pretrain" and "--init-from" in words:
        extra = extra.replace("--model.num_layers 4 --model.hidden_size 32 --model.num_heads 2 ", "")
    return [sys.executable, "-m", "sctd", *words[1:], *extra.split()]


def test_every_command_of_readme_runs(place):
    seen = set()
    for command in commands("README.md"):
        program = command.split()[0]
        seen.add(program)
        if program == "sctd":
            if command.split()[1] not in LONGER:
                run_sctd(command, place)
        elif program == "make":
            # the targets themselves: `test` is what runs this, and tests/test_demo.py runs the demonstration
            done = subprocess.run(["make", "--dry-run", command.split()[1]], cwd=ROOT, capture_output=True, check=False)
            assert done.returncode == 0, command
        else:
            assert command == "pip install '.[evaluate,datasets,bench]'"  # tests/test_package.py installs the wheel
    assert seen == {"sctd", "make", "pip"}
    script = "".join(blocks("README.md", "python"))
    subprocess.run([sys.executable, "-c", script], cwd=place, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


@pytest.mark.slow
def test_the_longer_commands_of_readme_run(place):
    run_sctd("sctd prepare --input my-texts --out data/mine", place)
    longer = [command for command in commands("README.md") if command.split()[1] in LONGER]
    for command in longer:
        run_sctd(command, place)
    assert len(longer) == len(LONGER)


def run_sctd(command, place):
    done = subprocess.run(shortened(command), cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_every_command_of_the_page_on_evaluation_runs(place):
    run_sctd("sctd prepare --input my-texts --out data/mine", place)
    run_sctd("sctd pretrain --data data/mine --out runs/mine", place)
    for command in commands("docs/evaluation.md"):
        run_sctd(command, place)
    assert (place / "scores/mine/results.md").exists()
    assert (place / "scores/mine-drift/importance.tsv").exists()


def test_every_command_of_the_page_on_comparisons_runs(place):
    run_sctd("sctd prepare --input my-texts --out data/mine", place)
    for command in commands("docs/compare.md"):
        if command not in commands("README.md"):
            run_sctd(command, place)
    results = json.loads((place / "scored/results.json").read_text(encoding="utf-8"))
    assert results["tested"] == ["held-out loss", "BLiMP", "probes (mean)", "probes ([CLS])", "CoLA"]
    assert [*results["views"]["steps"]["arms"]["drop"]["scores"]] == results["tested"]
    assert "Probes by layer" in (place / "scored/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_of_the_page_on_data_runs(place, monkeypatch):
    monkeypatch.setenv("SCTD_CACHE", str(place / "cache"))
    for command in commands("docs/data.md"):
        run_sctd(command, place)
    shards = [(place / folder / "train-00000.npy").read_bytes() for folder in ("data/parts", "bucket/data")]
    assert shards[0] == shards[1]


def test_every_command_of_the_page_on_speed_runs(place):
    for command in commands("docs/benchmarks.md"):
        run_sctd(command, place)
    assert {path.name for path in place.glob("bench.*")} == {"bench.json", "bench.md", "bench.svg"}


def test_every_command_of_the_page_on_plans_runs(place):
    run_sctd("sctd prepare --input my-texts --out data/mine", place)
    for command in commands("docs/planning.md"):
        run_sctd(command, place)
    assert json.loads((place / "large.json").read_text(encoding="utf-8"))["about"]["gpus"] == 16


def test_the_python_of_the_docs_runs(place):
    script = "".join(blocks("docs/python.md", "python"))
    script = script.replace("vocab_size=8192, seq_len=128", "vocab_size=400, seq_len=32")
    script = script.replace('{"method": "sctd", "schedule.steps": 20_000}', TINY_RECIPE)
    assert "20_000" not in script
    done = subprocess.run([sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([8, 16])" in done.stdout


def test_every_page_that_is_linked_exists():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "@@" not in page.read_text(encoding="utf-8"), f"{page.name} has a gap"
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_the_figure_is_what_its_script_draws():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from method_figure import figure
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs/method.svg").read_text(encoding="utf-8") == figure()
