"""The verb `pretrain`: one run from a data folder to a Hugging Face folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.check import check
from sctd.config import PretrainConfig
from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.train.checkpoint import TrainState
    from sctd.train.processes import Processes

# what a run that has no checkpoint yet may hold
WRITTEN_BEFORE_A_CHECKPOINT = {
    "config.yaml", "environment.json", "origin", "baselines.json", "metrics.jsonl", "tb", "wandb", "checkpoints",
}  # fmt: skip


IF_BEGUN = "if-begun"
# what a resumed run may have otherwise than it was begun: the weights that it leads to are the same
FREE = ("parallel", "log", "checkpoint")


def pretrain(
    data: str, out: str, config: PretrainConfig | None = None, resume: str | None = None, nproc: int = 1
) -> dict[str, float]:
    """Pretrain a BERT on prepared data.

    Writes OUT: config.yaml, environment.json, baselines.json, metrics.jsonl, checkpoints/, tb/ and, at the end,
    model/, a Hugging Face folder. Ctrl-C saves; the same command with --resume goes on to the same weights.

    Args:
        data: folder that `sctd prepare` wrote.
        out: the run's folder; refused where it holds a run already, unless --resume is given.
        config: the settings; on a resumed run they must be those of the run, or none, but for `parallel` and those of
            `log` and `checkpoint`.
        resume: go on with the run in OUT from its newest whole checkpoint (`auto`), or from the checkpoint folder
            that is named; `if-begun`: as auto where OUT has a checkpoint, else begin, so that one command serves a
            cluster that starts it again and again.
        nproc: processes on this machine that train together, one a GPU; each step's batch is split among them. On
            several machines start `torchrun ... -m sctd pretrain ...` instead.

    Returns:
        The last evaluation's figures: eval_loss, eval_loss_mask, ...

    Raises:
        UserError: settings, data or folders that cannot be used, or training that cannot work.
    """
    config = config or PretrainConfig()
    if resume is None:
        check(config)

    # heavy imports only once the settings are known to be sound
    from sctd.train.device import choose_device
    from sctd.train.processes import Processes

    processes = Processes.from_environment()
    if nproc < 1:
        raise UserError(f"--nproc is {nproc}; it must be 1 or more.")
    if nproc > 1 and not processes.many:
        return _in_processes(nproc, data, out, config, resume)
    processes.join(choose_device(config.device))
    return _pretrain(Path(out), data, config, resume, processes)


def _pretrain(
    run: Path, data: str, config: PretrainConfig, resume: str | None, processes: Processes
) -> dict[str, float]:
    from sctd.train.checkpoint import list_checkpoints

    checkpoint: tuple[Path, TrainState] | None = None
    if resume == IF_BEGUN:
        resume = "auto" if processes.on_first(lambda: bool(list_checkpoints(run))) else None
    if resume is None:
        check(config)
        processes.on_first(lambda: _refuse_or_clear(run))
    else:
        checkpoint = processes.on_first(lambda: _newest(run, resume))
        config = _resumed(run, config, checkpoint)

    from sctd.console import say
    from sctd.files import disk_errors
    from sctd.hf.export import export
    from sctd.hf.load import model_folder
    from sctd.hf.origin import write_origin
    from sctd.tokens.prepared import load_prepared
    from sctd.train.trackers import check_trackers
    from sctd.train.trainer import Interrupted, Trainer, data_fingerprint

    check_trackers(config.log)
    start = None if config.init_from is None or checkpoint else model_folder(config.init_from)
    prepared = load_prepared(data)
    if checkpoint is not None and checkpoint[1].data != data_fingerprint(prepared):
        raise UserError(f"{run} was begun on other data than {data}: give the --data folder that it was begun with.")
    trainer = Trainer(run, prepared, config, checkpoint, _signals(run, config), start, processes)

    def begin() -> float:
        with disk_errors(run):
            run.mkdir(parents=True, exist_ok=True)
        if checkpoint is None:
            _describe(run, config, trainer)
            write_origin(run, prepared, trainer.objective.model.config, start)
        return _baselines(run, prepared, trainer)

    trainer.unigram_loss = processes.on_first(begin)
    try:
        figures = trainer.train()
    except Interrupted as stopped:
        again = f" --nproc {processes.count}" if processes.many else ""
        raise Interrupted(f"{stopped} Go on with: sctd pretrain --data {data} --out {run} --resume{again}") from None

    def finish() -> None:
        model = run / "model"
        if model.exists() and checkpoint is not None and checkpoint[1].global_step == trainer.steps:
            say(f"The run was finished already; its model is in {model}.")
            return
        if model.exists():  # an export from the middle of the run
            shutil.rmtree(model)
        export(str(run), str(model))

    processes.on_first(finish)
    return figures


def _in_processes(nproc: int, data: str, out: str, config: PretrainConfig, resume: str | None) -> dict[str, float]:
    """The same in several processes; the last evaluation's figures, from the run's record."""
    import tempfile

    from sctd.launch import launch
    from sctd.recipe import to_yaml
    from sctd.train.metrics import read_metrics

    with tempfile.TemporaryDirectory(prefix="sctd-") as scratch:
        recipe = Path(scratch) / "recipe.yaml"
        recipe.write_text(to_yaml(config), encoding="utf-8")
        words = ["pretrain", "--data", data, "--out", out, "--config", str(recipe)]
        launch([*words, *([] if resume is None else ["--resume", resume])], nproc)
    lines = [line for line in read_metrics(out) if "eval_loss" in line]
    return {name: value for name, value in lines[-1].items() if name.startswith("eval_")} if lines else {}


def _newest(run: Path, resume: str) -> tuple[Path, TrainState]:
    """The checkpoint to go on from."""
    from sctd.console import say
    from sctd.train.checkpoint import checkpoints_folder, newest_checkpoint, read_state

    if resume == "auto":
        if not run.is_dir():
            raise UserError(f"{run} does not exist: there is no run to resume; start it without --resume.")
        folder, state, damaged = newest_checkpoint(run)
        for sentence in damaged:
            say(f"Passed over: {sentence}")
        return folder, state
    inside = checkpoints_folder(run) / resume
    folder = inside if inside.is_dir() else Path(resume)
    state = read_state(folder)
    if folder.resolve().parent != checkpoints_folder(run).resolve():
        raise UserError(f"{folder} is not a checkpoint of {run}: give the --out folder that it belongs to.")
    return folder, state


def _resumed(run: Path, config: PretrainConfig, checkpoint: tuple[Path, TrainState]) -> PretrainConfig:
    """The settings of the run, which those that were given must be."""
    from sctd.console import say
    from sctd.recipe import build_config

    folder, state = checkpoint
    saved = build_config(state.config)
    check(saved)
    usual = PretrainConfig()
    kept = {name: getattr(config, name) for name in FREE if getattr(config, name) != getattr(usual, name)}
    saved = replace(saved, **kept)
    difference = _first_difference(saved, config, usual)
    if difference:
        raise UserError(
            f"{run} was begun with other settings ({difference}): resume with --resume alone, or start a new run with "
            "another --out."
        )
    say(f"Going on from {folder.name} of {run}.")
    return saved


def _first_difference(saved: Any, given: Any, default: Any, prefix: str = "") -> str | None:
    """'optimizer.lr was 0.001, is 0.002' for the first setting that was given and is not the run's, or null."""
    for name, value in vars(saved).items():
        other, usual = getattr(given, name), getattr(default, name)
        if hasattr(value, "__dataclass_fields__"):
            found = _first_difference(value, other, usual, f"{prefix}{name}.")
            if found:
                return found
        elif other not in (value, usual):
            return f"{prefix}{name} was {value}, is {other}"
    return None


def _refuse_or_clear(run: Path) -> None:
    """Refuse a folder that holds something; clear a run of ours that ended before its first checkpoint."""
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    names = {path.name for path in run.iterdir()} if run.is_dir() else set()
    begun = {"config.yaml", "environment.json"} <= names <= WRITTEN_BEFORE_A_CHECKPOINT
    if not begun or any((run / "checkpoints").glob("step-*")):
        if "config.yaml" not in names:
            raise UserError(f"{run} exists already and is no run: give another --out.")
        raise UserError(f"{run} exists already: add --resume to go on with it, or give another --out.")
    shutil.rmtree(run)


def _signals(run: Path, config: PretrainConfig) -> Any:
    """What eval.probes asks for, with its data read, or null."""
    if not config.eval.probes:
        return None
    from sctd.extras import check_installed
    from sctd.scores.signals import Signals

    check_installed("sklearn", "accelerate", extra="evaluate")
    return Signals(config.eval.probes, config.eval.probes_data, run)


def _describe(run: Path, config: PretrainConfig, trainer: Any) -> None:
    """config.yaml and environment.json."""
    from sctd.files import write_json, write_text
    from sctd.recipe import to_yaml
    from sctd.train.environment import environment

    write_text(run / "config.yaml", to_yaml(config))
    write_json(run / "environment.json", environment(trainer.device))


def _baselines(run: Path, prepared: Any, trainer: Any) -> float:
    """baselines.json, made once; the loss that counts as the unigram level at [MASK] inputs, in nats."""
    from dataclasses import asdict

    from sctd.console import say
    from sctd.files import write_json
    from sctd.json_text import NUMBER, read_json
    from sctd.train.ngram import ngram_baselines

    path = run / "baselines.json"
    if not path.exists():
        if not trainer.config.eval.baselines:
            return float(prepared.manifest.unigram_entropy)
        say("Counting the unigram and bigram baselines ...")
        found = ngram_baselines(prepared, trainer.eval_pairs, mask_id=trainer.vocabulary.mask_id)
        write_json(path, asdict(found))
        say(f"At [MASK] inputs a unigram model reaches {found.unigram:.3f} nats, a bigram model {found.bigram:.3f}.")
    try:
        return float(read_json(path, {"unigram": NUMBER})["unigram"])
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, and the same command makes it again.") from error
