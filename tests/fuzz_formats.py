"""Every file that is read: how a whole one is made, how it is damaged, and the call by which a verb reads it."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random

import fuzz_damage as damage
from helpers import make_prepared, tiny_encoder, words, write_tokenizer
from sctd.files import sha256_file
from small_runs import config

TEXTS = ["One document of words.\nIts second paragraph.", "Zwei: äöü, 漢字.", 'A "third", with a comma']
ENDINGS = (".gz", ".xz", ".zst")


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        name: as in the table.
        make: writes whole files below a folder, from what `make_base` wrote.
        change: damages them.
        read: what a verb does with the folder; a UserError is a good answer.
        may_write: what below the folder it may write.
        quick: inputs of the quick test.
    """

    name: str
    make: Callable[[Path, Path], None]
    change: Callable[[Random, Path], None]
    read: Callable[[Path], None]
    may_write: tuple[str, ...] = ()
    quick: int = 25


def make_base(place):
    """Small whole things, made by the verbs themselves: data, a run, an encoder, scores, a comparison."""
    make_prepared(place, vocab_size=80, sequences=24, validation_sequences=8, seq_len=16)
    data = place / "data"
    _make_comparison(place / "comparison", data)
    shutil.copytree(place / "comparison/runs/drop/steps-4/seed-1", place / "run")
    tiny_encoder(place / "encoder", max_length=24, vocab_size=80)
    _make_tasks(place / "tasks")
    _make_scores(place)
    (place / "overlap").mkdir()
    of = {"flagged": ["0"], "of": _checksum_of_cola(place), "examples": 2}
    (place / "overlap/overlap.json").write_text(json.dumps({"settings": {"n": 8}, "tasks": {"cola": {"dev": of}}}))
    _make_partial(place / "prepare")


def _checksum_of_cola(place):
    from sctd.scores.jobs import load_task
    from sctd.scores.tasks.table import TASKS

    return load_task(TASKS["cola"], str(place / "tasks"), "quick").whole["dev"]


def _make_comparison(folder, data):
    from sctd.compare.arms import parse_arms
    from sctd.compare.kept_plan import read_or_make_plan
    from sctd.pretrain import pretrain
    from sctd.recipe import build_config
    from sctd.scores.drift import drift

    settings = common()
    _, runs = read_or_make_plan(folder, asked(data), settings, parse_arms(["dense", "drop"]), data, 2, [])
    for run in runs:
        pretrain(str(data), str(folder / run.folder), build_config(dict(run.settings)))
    place = folder / "scores/drop/steps-4/seed-1/drift"
    drift(str(folder / runs[1].folder), str(data), str(place), 8)


def common():
    small = {"model__num_layers": 4, "model__hidden_size": 16, "batch__size": 4, "eval__sequences": 8}
    steps = {"schedule__steps": 4, "checkpoint__every": 2, "eval__every": 2, "log__every": 1}
    return config(**small, **steps, device="cpu")


def asked(data):
    from sctd.tokens.prepared import load_prepared
    from sctd.train.trainer import data_fingerprint

    wanted = {"config": asdict(common()), "data": data_fingerprint(load_prepared(data)), "seeds": [1], "budgets": [1.0]}
    return json.loads(json.dumps(wanted | {"arms": [["dense", {}], ["drop", {}]], "equal": "steps", "init_from": {}}))


def _rows(count):
    word = words(20, 80)
    return [(f"{word[i % 20]} {word[(3 * i + 1) % 20]} {word[i % 7]}.", i % 2) for i in range(count)]


TSV = {
    "cola": ("source\tlabel\tstar\tsentence", "x\t{1}\t\t{0}"),
    "sst2": ("sentence\tlabel", "{0}\t{1}"),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{1}\t1\t2\t{0}\t{0}"),
    "stsb": ("index\tsentence1\tsentence2\tscore", "0\t{0}\t{0}\t{1}.5"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\t{0}\t{0}\t{1}"),
    "qnli": ("index\tquestion\tsentence\tlabel", "0\t{0}\t{0}\tentailment"),
}
SPAN = {"word": "a", "start1": 0, "end1": 2, "start2": 0, "end2": 2, "idx": 1}
JSONL = {
    "boolq": lambda text, label: {"question": text, "passage": text, "label": bool(label)},
    "cb": lambda text, label: {"premise": text, "hypothesis": text, "label": "neutral", "idx": 3},
    "rte": lambda text, label: {"premise": text, "hypothesis": text, "label": "entailment"},
    "copa": lambda text, label: {"premise": text, "choice1": text, "choice2": "b", "question": "cause", "label": label},
    "wic": lambda text, label: {**SPAN, "sentence1": text, "sentence2": text, "label": bool(label)},
    "multirc": lambda text, label: {
        "idx": 0,
        "passage": {
            "text": text,
            "questions": [{"question": text, "idx": 0, "answers": [{"text": text, "label": label, "idx": 0}]}],
        },
    },
}


def _squad(version, text):
    answers = [{"text": text.split()[1], "answer_start": text.index(text.split()[1])}]
    questions = [{"id": "q1", "question": text, "answers": answers}, {"id": "q2", "question": "b?", "answers": answers}]
    if version == 2:
        questions[1] |= {"answers": [], "is_impossible": True}
    return json.dumps({"version": "2", "data": [{"title": "t", "paragraphs": [{"context": text, "qas": questions}]}]})


def _make_tasks(folder):
    def put(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    rows = _rows(6)
    for name, (head, line) in TSV.items():
        for split in ("train", "dev"):
            put(f"{name}/{split}.tsv", "\n".join([head, *(line.format(*row) for row in rows)]) + "\n")
    for name, row in JSONL.items():
        for split in ("train", "dev"):
            put(f"{name}/{split}.jsonl", "".join(json.dumps(row(*each)) + "\n" for each in rows))
    for version in (1, 2):
        for split in ("train", "dev"):
            put(f"squad_v{version}/{split}.json", _squad(version, rows[0][0]))
    for split in ("train", "test"):
        for name in ("neg", "pos"):
            put(f"imdb/{split}/{name}/1.txt", f"{rows[0][0]}<br />\n")
    probe = "".join(f"{split}\t{label}\t{text}\n" for split in ("tr", "va", "te") for text, label in rows)
    put("probing/a.txt", probe)
    pair = {"sentence_good": rows[0][0], "sentence_bad": rows[1][0], "UID": "a", "linguistics_term": "b", "field": "c"}
    put("blimp/a.jsonl", (json.dumps(pair) + "\n") * 2)


SHORT = {"device": "cpu", "precision": "fp32"}


def _make_scores(place):
    from sctd.scores.blimp import blimp
    from sctd.scores.evaluate import evaluate
    from sctd.scores.probe import probe

    with contextlib.redirect_stdout(io.StringIO()):
        given = {"seeds": 1, "baselines": False, "epochs": 1, "budget": "quick"}
        evaluate(str(place / "encoder"), ["cola"], str(place / "results"), str(place / "tasks"), **given, **SHORT)
        blimp(str(place / "encoder"), str(place / "tasks/blimp"), str(place / "parts"), random_init=False, **SHORT)
        probe(str(place / "encoder"), str(place / "tasks/probing"), str(place / "parts"), random_init=False, **SHORT)


def _make_partial(place):
    """A `prepare` that was stopped after its last block."""
    from sctd.tokens import stages
    from sctd.tokens.prepare import prepare

    place.mkdir()
    (place / "corpus.txt").write_text("".join(f"{text}\n" for text, _ in _rows(60)), encoding="utf-8")
    whole, stages.pack_splits = stages.pack_splits, _stop
    try:
        prepare_again(place, prepare)
    except KeyboardInterrupt:
        pass
    finally:
        stages.pack_splits = whole


def _stop(*given, **more):
    raise KeyboardInterrupt


def prepare_again(folder, prepare):
    # a name that holds wherever the folder is copied to: another input would be another job
    with contextlib.chdir(folder):
        prepare(["corpus.txt"], "out", vocab_size=200, seq_len=16, validation_share=0.2, workers=1)


# ---- text


def _documents(folder):
    from sctd.text.blocks import read_blocks
    from sctd.text.options import ReadOptions
    from sctd.text.sources import find_sources
    from sctd.text.survey import Sample, Survey

    survey, sample = Survey(), Sample(10**6, 1)
    for block in read_blocks(find_sources([str(folder)]), ReadOptions(), lambda n: None):
        survey.add(block)
        sample.add(block.documents)
        for document in block.documents:
            document.encode()


def _csv():
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS))])
    return out.getvalue().encode()


@cache
def plain(kind):
    """A whole file of a corpus format."""
    if kind == ".parquet":
        return damage._tables()[1]
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS))
    return {".txt": "\n\n".join(TEXTS).encode(), ".jsonl": lines.encode(), ".csv": _csv()}[kind]


INSIDE = {
    ".txt": damage.text_file,
    ".jsonl": damage.json_lines,
    ".csv": lambda chance, data: damage.table_file(chance, data, ","),
    ".parquet": damage.parquet_file,
}


def _corpus(kind):
    def make(base, folder):
        (folder / f"a{kind}").write_bytes(plain(kind))

    return Format(kind, make, _file(INSIDE[kind], f"a{kind}"), _documents)


def _compressed(ending):
    def make(base, folder):
        (folder / f"a.txt{ending}").write_bytes(damage.PACK[ending](plain(".txt")))

    def change(chance, folder):
        kind = chance.choice(list(INSIDE))
        (folder / f"a.txt{ending}").unlink()
        packed = damage.packed_file(chance, ending, plain(kind), INSIDE[kind])
        (folder / f"a{kind}{ending}").write_bytes(packed)

    return Format(ending, make, change, _documents)


def put(path, content):
    """A file of this content; what still reads the one before keeps that."""
    path.unlink()
    path.write_bytes(content)


def _file(how, *names, after=None):
    """A change of one of the named files (globs), and what must be put right after it."""

    def change(chance, folder):
        path = chance.choice([path for name in names for path in sorted(folder.glob(name))])
        put(path, how(chance, path.read_bytes()))
        if after is not None and chance.random() < 0.8:
            after(folder)

    return change


def _copy(*names):
    """Folders of the base, as they are named there."""

    def make(base, folder):
        for name in names:
            if (base / name).is_dir():
                shutil.copytree(base / name, folder / name, dirs_exist_ok=True)
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(base / name, folder / name)

    return make


# ---- recipes and data folders


def _recipe(folder):
    from sctd.check import check
    from sctd.recipe import build_config, load_recipe

    check(build_config(load_recipe(folder / "run/config.yaml")))


def _prepared(folder):
    from sctd.batches.loader import TrainingBatches, evaluation_batches
    from sctd.compare.facts import facts
    from sctd.config import MaskingConfig
    from sctd.tokens.prepared import load_prepared
    from sctd.tokens.workspace import Workspace
    from sctd.train.setup import bert_config, read_vocabulary

    prepared = load_prepared(folder / "data")
    vocabulary = read_vocabulary(prepared)
    TrainingBatches(prepared.train, vocabulary, MaskingConfig(), 4, 1).at(1)
    for _, batch in evaluation_batches(prepared.validation, vocabulary, 8, 4):
        assert int(batch.input_ids.max()) < prepared.manifest.vocab_size
    bert_config(common(), prepared, _cpu())
    facts(common(), prepared)
    Workspace(folder / "data").finished({}, [{"path": "made by tests", "bytes": 0}])


def _cpu():
    import torch

    return torch.device("cpu")


def _reseal(folder):
    """The checksums of shards that were exchanged."""
    path = folder / "data/manifest.json"
    manifest = json.loads(path.read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            shard["sha256"] = sha256_file(folder / "data" / shard["file"])
    path.write_text(json.dumps(manifest))


def _reseal_tokenizer(folder):
    from sctd.tokens.manifest import folder_sha256

    path = folder / "data/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["tokenizer"]["sha256"] = folder_sha256(folder / "data/tokenizer")
    path.write_text(json.dumps(manifest))


def _given_tokenizer(folder):
    from sctd.files import whole_folder
    from sctd.tokens.encode import encode_documents
    from sctd.tokens.tokenizer import copy_tokenizer, describe_tokenizer, load_tokenizer, open_encoder

    with whole_folder(folder / "out") as aside:
        copy_tokenizer(str(folder / "tokenizer"), aside, 16)
    info = describe_tokenizer(folder / "out")
    encode_documents(open_encoder(folder / "out"), TEXTS, info.special.sep)
    if (folder / "tokenizer/tokenizer.json").exists():
        load_tokenizer(folder / "tokenizer")


def _vocab(base, folder):
    write_tokenizer(folder / "made", 80)
    vocabulary = json.loads((folder / "made/tokenizer.json").read_text())["model"]["vocab"]
    shutil.rmtree(folder / "made")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/vocab.txt").write_text("\n".join(vocabulary) + "\n")


def _tokenizer(base, folder):
    shutil.copytree(base / "data/tokenizer", folder / "tokenizer")


def _partial(folder):
    from sctd.tokens.prepare import prepare
    from sctd.tokens.prepared import load_prepared

    prepare_again(folder / "prepare", prepare)
    load_prepared(folder / "prepare/out")


def _change_partial(chance, folder):
    place = folder / "prepare/out/.partial"
    path = chance.choice(
        [place / "job.json", place / "survey.json", *place.glob("block-*.npz")] * 2 + [*place.glob("tokenizer/*")]
    )
    how = damage.npz_file if path.suffix == ".npz" else damage.json_file
    put(path, how(chance, path.read_bytes()))


def _dataset(base, folder):
    import datasets

    datasets.Dataset.from_dict({"text": TEXTS, "n": [1, 2, 3]}).save_to_disk(folder / "set")


def _read_dataset(folder):
    from sctd.text.blocks import read_blocks
    from sctd.text.options import ReadOptions
    from sctd.text.sources import find_sources

    for block in read_blocks(find_sources([f"hf:{folder / 'set'}"]), ReadOptions(), lambda n: None):
        assert block.sizes


def _change_dataset(chance, folder):
    path = chance.choice(sorted(each for each in (folder / "set").iterdir()))
    put(path, (damage.json_file if path.suffix == ".json" else damage.damaged)(chance, path.read_bytes()))


# ---- runs


def _seal(folder):
    """Checksums of a checkpoint that was exchanged as a whole."""
    from sctd.train.checkpoint import _checksum

    for place in (folder / "run/checkpoints").iterdir():
        try:
            content = json.loads((place / "state.json").read_text())
            content.pop("checksum", None)
            content["files"] = {file.name: sha256_file(file) for file in place.glob("*.safetensors")}
            (place / "state.json").write_text(json.dumps({**content, "checksum": _checksum(content)}))
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass


def _seal_state(folder):
    """As `_seal`, but leaves the list of files as it was damaged."""
    from sctd.train.checkpoint import _checksum

    for place in (folder / "run/checkpoints").iterdir():
        try:
            content = json.loads((place / "state.json").read_text())
            content.pop("checksum", None)
            (place / "state.json").write_text(json.dumps({**content, "checksum": _checksum(content)}))
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass


def _read_settings_once():
    """Settings that are not what is damaged are read by jsonargparse, which takes its time, once."""
    from sctd import recipe

    if "_read_once" in vars(recipe):
        return
    recipe._read_once, whole, known = True, recipe.check_settings, {}

    def check_settings(mapping):
        key = repr(mapping)
        if key not in known:
            known[key] = whole(mapping)
        return dict(known[key])

    recipe.check_settings, recipe.parse_yaml = check_settings, cache(recipe.parse_yaml)


def _card(folder):
    """As `export` and `pretrain --resume` read a run, up to its weights."""
    from sctd.config import CheckpointConfig, PretrainConfig
    from sctd.hf.card import model_card
    from sctd.hf.export import _for_fine_tuning
    from sctd.hf.origin import Origin, read_origin
    from sctd.model.hf import build_bert, from_hf_config
    from sctd.train.begun import newest, resumed
    from sctd.train.checkpoint import kept_checkpoints
    from sctd.watch import look, table

    _read_settings_once()
    run = folder / "run"
    table([look(run)])
    kept_checkpoints(run, CheckpointConfig(keep_best=True))
    checkpoint, state = newest(run, "auto")
    config = resumed(run, PretrainConfig(), (checkpoint, state))
    origin = read_origin(run, state.data)
    origin = Origin(_for_fine_tuning(origin.config), origin.manifest, origin.tokenizer)
    model_card(run, state, origin, "[MASK]")
    return checkpoint, state, config, build_bert(from_hf_config(origin.config, attention="eager"))


def _weights(folder):
    """As `pretrain --resume` reads a run, up to its next step."""
    from sctd.tokens.prepared import load_prepared
    from sctd.train.trainer import Trainer

    checkpoint, state, config, _ = _card(folder)
    Trainer(folder / "run", load_prepared(folder / "data"), config, (checkpoint, state))


def _record(folder):
    from sctd.compare.scoring import held_out

    run = folder / "run"
    try:
        held_out(run)
    finally:
        _card(folder)


def _resealed_origin(folder):
    """The fingerprint that the checkpoint states of a manifest that was exchanged."""
    try:
        fingerprint = sha256_file(folder / "run/origin/manifest.json")
        for state in (folder / "run/checkpoints").glob("*/state.json"):
            state.write_text(json.dumps(json.loads(state.read_text()) | {"data": fingerprint}))
    finally:
        _seal(folder)


# ---- encoders


def _encoder(folder):
    """As scores and `--init-from` read a folder."""
    from sctd.hf.load import MASKED_LM
    from sctd.scores.encoder import load_encoder

    refused = []
    _refusing(lambda: _continued_from(folder), refused)
    _refusing(lambda: load_encoder(folder / "encoder", **SHORT).network(MASKED_LM), refused)
    if refused:
        raise refused[0]


def _encoder_weights(folder):
    """Likewise, where the configuration and the tokenizer are whole."""
    from sctd.hf.load import MASKED_LM

    refused = []
    _refusing(lambda: _continued_from(folder), refused)
    _refusing(lambda: _whole_encoder(str(folder / "encoder")).network(MASKED_LM), refused)
    if refused:
        raise refused[0]


def _continued_from(folder):
    from sctd.model.hf import build_bert, from_hf_config, load_hf_state, read_hf_config, read_hf_weights

    place = folder / "encoder"
    model = build_bert(from_hf_config(read_hf_config(place), attention="eager"))
    load_hf_state(model, read_hf_weights(place), str(place))


def _refusing(call, refused):
    from sctd.errors import UserError

    try:
        call()
    except UserError as error:
        refused.append(error)


def _bin(base, folder):
    import torch
    from safetensors.torch import load_file

    _copy("encoder")(base, folder)
    torch.save(load_file(folder / "encoder/model.safetensors"), folder / "encoder/pytorch_model.bin")
    (folder / "encoder/model.safetensors").unlink()


@cache
def _whole_encoder(place):
    from sctd.scores import encoder

    return encoder.load_encoder(place, **SHORT)


def _encoder_kept(folder):
    """The encoder of the folder, loaded once for all inputs: it is not what is damaged."""
    from sctd.scores import encoder

    kept = _whole_encoder(str(folder / "encoder"))
    encoder.load_encoder = lambda *given: kept
    return kept


# ---- task files and results


def _tasks(names):
    def change(chance, folder):
        name = chance.choice(names)
        path = chance.choice([path for path in sorted((folder / "tasks" / name).rglob("*")) if path.is_file()])
        data = path.read_bytes()
        how = {
            ".tsv": lambda chance, data: damage.table_file(chance, data, "\t"),
            ".jsonl": damage.json_lines,
            ".json": damage.json_file,
            ".txt": damage.text_file,
        }[path.suffix]
        if chance.random() < 0.15:
            ending = chance.choice(ENDINGS)
            path.unlink()
            path.with_name(path.name + ending).write_bytes(damage.packed_file(chance, ending, data, how))
        else:
            put(path, how(chance, data))
        (folder / "name").write_text(name)

    def read(folder):
        from sctd.scores.heads import HEADS
        from sctd.scores.jobs import load_task
        from sctd.scores.tasks.table import TASKS

        task = TASKS[(folder / "name").read_text()]
        loaded = load_task(task, str(folder / "tasks"), "quick")
        encoder = _encoder_kept(folder)
        for examples in (loaded.train, *loaded.scored.values()):
            HEADS[task.kind].features(encoder, task, examples, 24, examples is loaded.train)

    def make(base, folder):
        _copy("encoder", *(f"tasks/{name}" for name in names))(base, folder)
        (folder / "name").write_text(names[0])

    return make, change, read


def _imdb_jsonl(base, folder):
    _copy("encoder")(base, folder)
    for split in ("train", "test"):
        (folder / "tasks/imdb").mkdir(parents=True, exist_ok=True)
        rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in _rows(4))
        (folder / f"tasks/imdb/{split}.jsonl").write_text(rows)
    (folder / "name").write_text("imdb")


def _probing(folder):
    from sctd.scores.probe_data import load_probes, subset

    for each in load_probes(str(folder / "tasks/probing")):
        subset(each, 4, 1)


def _pairs(folder):
    from sctd.scores.blimp_data import load_pairs

    encoder = _encoder_kept(folder)
    for each in load_pairs(str(folder / "tasks/blimp"), None, 2):
        encoder.encode([good for good, _ in each.pairs])


def _overlap(folder):
    from sctd.scores.flagged import read_flagged
    from sctd.scores.jobs import load_task
    from sctd.scores.results import looked_up_in
    from sctd.scores.tasks.table import TASKS

    looked_up_in(load_task(TASKS["cola"], str(folder / "tasks"), "quick"), read_flagged(folder / "overlap"))


def _overlap_lines(folder):
    from sctd.scores.overlap import count, look_up, read_lines, sides
    from sctd.tokens.prepared import load_prepared

    lines = read_lines(folder / "lines.txt")
    found = look_up([text for each in lines for text in sides(each)], load_prepared(folder / "data", False), 8)
    count(lines, found, 0.5)


def _lines(base, folder):
    _copy("data")(base, folder)
    (folder / "lines.txt").write_text("\n".join(text for text, _ in _rows(4)) + "\n")


def _results(folder):
    """As `evaluate` goes on with what is finished."""
    from sctd.scores import jobs
    from sctd.scores.evaluate import evaluate

    _encoder_kept(folder)
    jobs.run_job = _would_run
    given = {"seeds": 1, "baselines": False, "epochs": 1, "budget": "quick"}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate(str(folder / "encoder"), ["cola"], str(folder / "results"), str(folder / "tasks"), **given, **SHORT)


def _would_run(*given):
    from sctd.errors import UserError

    raise UserError("It would be fine-tuned again.")


def _parts(folder):
    """As `blimp` and `probe` go on with what is finished."""
    from sctd.scores import blimp, probe
    from sctd.scores.encoder import Encoder

    _encoder_kept(folder)
    blimp.score_set = probe.probe_network = Encoder.network = _would_run_or_nothing
    encoder, tasks, out = str(folder / "encoder"), folder / "tasks", str(folder / "parts")
    refused = []
    with contextlib.redirect_stdout(io.StringIO()):
        _refusing(lambda: blimp.blimp(encoder, str(tasks / "blimp"), out, random_init=False, **SHORT), refused)
        _refusing(lambda: probe.probe(encoder, str(tasks / "probing"), out, random_init=False, **SHORT), refused)
    if refused:
        raise refused[0]


def _would_run_or_nothing(*given, **more):
    if len(given) > 1:
        _would_run()


def _plan_again(folder):
    """As `compare` goes on with what is finished, but for drawing."""
    from sctd.compare.arms import parse_arms
    from sctd.compare.facts import dropped_words
    from sctd.compare.kept_plan import read_or_make_plan
    from sctd.compare.results import collect
    from sctd.compare.scoring import held_out
    from sctd.compare.sections import words as words_section

    _read_settings_once()
    place, data = folder / "comparison", folder / "data"
    plan, runs = read_or_make_plan(place, asked(data), common(), parse_arms(["dense", "drop"]), data, 2, [])
    found = {}
    for run in runs:
        if not (place / run.folder / "model/config.json").exists():
            _would_run()
        loss, about = held_out(place / run.folder)
        found[run.folder] = {"scores": loss, "about": about}
    results = collect(plan, runs, found)
    results["words"] = dropped_words(place, plan, runs, data)
    words_section(results)


GLUE, SUPERGLUE, SQUAD, IMDB = tuple(TSV), tuple(JSONL), ("squad_v1", "squad_v2"), ("imdb",)
COMPARED = ("comparison/plan.json", "comparison/scores", "data")
COMPARED += tuple(
    f"comparison/runs/{arm}/steps-4/seed-1/{name}"
    for arm in ("dense", "drop")
    for name in ("metrics.jsonl", "baselines.json", "model/config.json")
)
RUN = ("config.yaml", "environment.json", "baselines.json", "metrics.jsonl", "heartbeat.json", "origin", "checkpoints")
RUN = tuple(f"run/{name}" for name in RUN)
SCORED = ("encoder", "tasks/cola", "tasks/blimp", "tasks/probing")


def _record_file(chance, folder):
    name = chance.choice(("metrics.jsonl", "metrics.jsonl", "baselines.json", "environment.json", "heartbeat.json"))
    how = damage.json_lines if name.endswith("l") else damage.json_file
    _file(how, f"run/{name}")(chance, folder)


FORMATS = {
    each.name: each
    for each in (
        Format("recipe", _copy("run/config.yaml"), _file(damage.yaml_file, "run/config.yaml"), _recipe, quick=6),
        *map(_corpus, INSIDE),
        *map(_compressed, ENDINGS),
        Format("hf:FOLDER", _dataset, _change_dataset, _read_dataset, quick=6),
        Format("manifest.json", _copy("data"), _file(damage.json_file, "data/manifest.json"), _prepared),
        Format("shard", _copy("data"), _file(damage.npy_file, "data/*-0*.npy", after=_reseal), _prepared),
        Format(
            "data's tokenizer",
            _copy("data"),
            _file(damage.json_file, "data/tokenizer/*.json", after=_reseal_tokenizer),
            _prepared,
        ),
        Format("unigram.npy", _copy("data"), _file(damage.npy_file, "data/unigram.npy"), _prepared),
        Format(
            "tokenizer.json", _tokenizer, _file(damage.json_file, "tokenizer/*.json"), _given_tokenizer, ("out",), 8
        ),
        Format("vocab.txt", _vocab, _file(damage.text_file, "tokenizer/vocab.txt"), _given_tokenizer, ("out",), 8),
        Format(".partial", _copy("prepare"), _change_partial, _partial, ("prepare/out",), 6),
        Format(
            "state.json",
            _copy(*RUN, "data"),
            _file(damage.json_file, "run/checkpoints/step-4/state.json", after=_seal_state),
            _weights,
            quick=6,
        ),
        Format(
            "checkpoint",
            _copy(*RUN, "data"),
            _file(damage.safetensors_file, "run/checkpoints/step-4/*.safetensors", after=_seal),
            _weights,
            quick=6,
        ),
        Format("run's record", _copy(*RUN), _record_file, _record),
        Format(
            "run's origin", _copy(*RUN), _file(damage.json_file, "run/origin/*.json", after=_resealed_origin), _card
        ),
        Format("config.json", _copy("encoder"), _file(damage.json_file, "encoder/config.json"), _encoder, quick=6),
        Format(
            "model.safetensors",
            _copy("encoder"),
            _file(damage.safetensors_file, "encoder/model.safetensors"),
            _encoder_weights,
            quick=6,
        ),
        Format(
            "pytorch_model.bin", _bin, _file(damage.damaged, "encoder/pytorch_model.bin"), _encoder_weights, quick=6
        ),
        Format("GLUE", *_tasks(GLUE)),
        Format("SuperGLUE", *_tasks(SUPERGLUE)),
        Format("SQuAD", *_tasks(SQUAD)),
        Format("IMDB, folders", *_tasks(IMDB)),
        Format("IMDB, lines", _imdb_jsonl, *_tasks(IMDB)[1:]),
        Format(
            "probing",
            _copy("tasks/probing"),
            _file(lambda chance, data: damage.table_file(chance, data, "\t"), "tasks/probing/a.txt"),
            _probing,
        ),
        Format("BLiMP", _copy("encoder", "tasks/blimp"), _file(damage.json_lines, "tasks/blimp/a.jsonl"), _pairs),
        Format(
            "overlap.json", _copy("overlap", "tasks/cola"), _file(damage.json_file, "overlap/overlap.json"), _overlap
        ),
        Format("overlap's texts", _lines, _file(damage.text_file, "lines.txt"), _overlap_lines),
        Format(
            "evaluate's results",
            _copy("results", *SCORED),
            _file(damage.json_file, "results/*.json", "results/runs/cola/*.json"),
            _results,
            ("results/results.",),
        ),
        Format(
            "blimp's and probe's parts",
            _copy("parts", *SCORED),
            _file(damage.json_file, "parts/*.json"),
            _parts,
            ("parts/",),
        ),
        Format(
            "plan.json and drift.json",
            _copy(*COMPARED),
            _file(
                damage.json_file,
                "comparison/plan.json",
                "comparison/plan.json",
                "comparison/scores/drop/steps-4/seed-1/drift/drift.json",
            ),
            _plan_again,
            ("comparison/plan.json",),
        ),
    )
}
