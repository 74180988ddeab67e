"""The verb `pretrain`: one run from a data folder to a Hugging Face folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.check import check
from sctd.config import PretrainConfig, given_names
from sctd.errors import UserError, first_line

if TYPE_CHECKING:
    from sctd.tokens.prepared import PreparedData
    from sctd.train.checkpoint import TrainState
    from sctd.train.mirror import Mirror
    from sctd.train.processes import Processes
    from sctd.train.pulse import Pulse
    from sctd.train.trainer import Trainer

IF_BEGUN = "if-begun"
WITHIN = "SCTD_WITHIN"  # in the environment of a run that another verb started, which says itself how to go on


def pretrain(
    data: str, out: str, config: PretrainConfig | None = None, resume: str | None = None, nproc: int = 1
) -> dict[str, float]:
    """Pretrain a BERT on prepared data.

    Writes OUT: config.yaml, environment.json, baselines.json, metrics.jsonl, heartbeat.json, checkpoints/, tb/ and, at
    the end, model/, a Hugging Face folder. Ctrl-C saves; the same command with --resume goes on to the same weights.
    Where the environment has SCTD_WEBHOOK, an address, it is told when the run begins, warns, stops, fails and ends.

    Args:
        data: folder that `sctd prepare` wrote, or its address.
        out: the run's folder, or an address (s3://bucket/run), to which each checkpoint is sent; refused where it holds
            a run already, unless --resume is given.
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
        if config.batch.size % nproc and (resume is None or "batch.size" in given_names(config)):
            raise UserError(f"batch.size {config.batch.size} is not a multiple of the number of processes, {nproc}.")
        return _in_processes(nproc, data, out, config, resume)
    processes.join(choose_device(config.device))

    from sctd.remote import is_remote
    from sctd.train.begun import training_alone
    from sctd.train.mirror import Mirror

    mirror = Mirror(out) if is_remote(out) else None
    run = Path(out) if mirror is None else mirror.folder
    with ExitStack() as held:

        def take() -> None:
            if mirror is not None:
                mirror.check_writable()
            begins = resume in (None, IF_BEGUN) or mirror is not None
            if run.is_dir() or (begins and not run.exists()):  # what else there may be is said below
                held.enter_context(training_alone(run))
            if mirror is not None:
                mirror.fetch(resume)

        processes.on_first(take)
        if mirror is not None and not processes.first:
            mirror.fetch(resume, first=False)
        processes.totals(0)  # nobody clears or moves what another one still fetches
        with _others_gone(processes):
            return _pretrain(run, mirror, out, data, config, resume, processes)


@contextmanager
def _others_gone(processes: Processes) -> Iterator[None]:
    """Where one of several processes ends, the others learn of it in the middle of an exchange, from gloo or NCCL."""
    try:
        yield
    except RuntimeError as error:
        of_the_exchange = any(word in str(error) for word in ("gloo", "Gloo", "NCCL", "Connection closed by peer"))
        if not processes.many or not of_the_exchange:
            raise
        raise UserError(
            f"Process {processes.rank} lost another process of the run ({first_line(error)}), whose reason stands "
            "elsewhere: the run goes on from its newest checkpoint with --resume."
        ) from error


def _pretrain(
    run: Path,
    mirror: Mirror | None,
    out: str,
    data: str,
    config: PretrainConfig,
    resume: str | None,
    processes: Processes,
) -> dict[str, float]:
    from sctd.train.begun import clear, newest, refuse, resumed, set_aside
    from sctd.train.checkpoint import list_checkpoints

    checkpoint: tuple[Path, TrainState] | None = None
    if resume == IF_BEGUN:
        resume = "auto" if processes.on_first(lambda: bool(list_checkpoints(run))) else None
    if resume is None:
        check(config)
        processes.on_first(lambda: refuse(run, config))
        processes.on_first(lambda: clear(run))
    else:
        checkpoint = processes.on_first(lambda: newest(run, resume))
        config = resumed(run, config, checkpoint)

    from sctd.console import say
    from sctd.files import disk_errors
    from sctd.hf.export import export
    from sctd.hf.load import model_folder
    from sctd.hf.origin import write_origin
    from sctd.tokens.prepared import load_prepared
    from sctd.train.pulse import Pulse
    from sctd.train.trackers import check_trackers
    from sctd.train.trainer import Interrupted, Trainer, data_fingerprint

    before = 0 if checkpoint is None else checkpoint[1].global_step
    prepared = load_prepared(data)
    if checkpoint is not None and checkpoint[1].data != data_fingerprint(prepared):
        raise UserError(f"{run} was begun on other data than {data}: give the --data folder that it was begun with.")
    check_trackers(config.log)
    pulse = Pulse(run if processes.first else None, config.log.heartbeat)

    def start() -> Trainer:
        start_from = None if config.init_from is None or checkpoint else model_folder(config.init_from)
        signals, sent = _signals(run, config), mirror.send_checkpoint if mirror else None
        trainer = Trainer(run, prepared, config, checkpoint, signals, start_from, processes, pulse, sent)
        trainer.unigram_loss = processes.on_first(lambda: begin(trainer, prepared, start_from))
        return trainer

    def begin(trainer: Trainer, prepared: PreparedData, start_from: Path | None) -> float:
        with disk_errors(run):
            run.mkdir(parents=True, exist_ok=True)
        if checkpoint is None:
            _describe(run, config, trainer)
            write_origin(run, prepared, trainer.objective.model.config, start_from)
            if mirror is not None:
                mirror.send_record()
        else:
            set_aside(run, before)
            if mirror is not None:
                mirror.set_aside(before)
        return _baselines(run, prepared, trainer)

    def finish(steps: int) -> None:
        pulse.beat(steps, steps, "exporting")
        model = run / "model"
        if model.exists() and before == steps:
            say(f"The run was finished already; its model is in {model}.")
            if mirror is not None and not mirror.has_model():
                mirror.send_model()
            return
        if model.exists():  # an export from the middle of the run
            shutil.rmtree(model)
        export(str(run), str(model))
        if mirror is not None:
            mirror.send_model()

    try:
        pulse.beat(before, 0, "starting")
        trainer = start()
        words = f"{config.method}, from step {before:,} of {trainer.steps:,}."
        pulse.tell("resumed" if before else "begun", words, step=before)
        figures = trainer.train()
        processes.on_first(lambda: finish(trainer.steps))
    except KeyboardInterrupt as stopped:
        text = str(stopped) or _stopped_at_once(run)
        _end(pulse, mirror, processes, "stopped", text)
        if os.environ.get(WITHIN):
            raise
        if not list_checkpoints(run):
            raise Interrupted(f"{text} The same command begins it again.") from None
        again = f" --nproc {processes.count}" if processes.many else ""
        raise Interrupted(f"{text} Go on with: sctd pretrain --data {data} --out {out} --resume{again}") from None
    except BaseException as error:
        _end(pulse, mirror, processes, "failed", first_line(error))
        raise
    _end(pulse, mirror, processes, "finished", f"Finished; held-out loss {figures['eval_loss']:.3f}.")
    return figures


def _stopped_at_once(run: Path) -> str:
    """Where the run was not in the middle of steps, after one of which it would have saved itself."""
    from sctd.train.checkpoint import list_checkpoints

    newest = next(iter(list_checkpoints(run)), None)
    return f"Stopped; the newest checkpoint is {newest.name}." if newest else "Stopped before the first checkpoint."


def _end(pulse: Pulse, mirror: Mirror | None, processes: Processes, event: str, text: str) -> None:
    """The last beat, and the last message."""
    pulse.beat(pulse.step, pulse.steps, event)
    if mirror is not None and processes.first:
        with suppress(UserError):  # whatever is wrong with the address has been said
            mirror.send_record()
    pulse.tell(event, text, step=pulse.step)


def _in_processes(nproc: int, data: str, out: str, config: PretrainConfig, resume: str | None) -> dict[str, float]:
    """The same in several processes; the last evaluation's figures, from the run's record."""
    import tempfile

    from sctd.launch import launch
    from sctd.recipe import to_yaml
    from sctd.remote import is_remote
    from sctd.train.begun import given_or_changed
    from sctd.train.metrics import read_metrics
    from sctd.train.mirror import Mirror

    with tempfile.TemporaryDirectory(prefix="sctd-") as scratch:
        recipe = Path(scratch) / "recipe.yaml"
        recipe.write_text(to_yaml(config, given_or_changed(config)), encoding="utf-8")
        words = ["pretrain", "--data", data, "--out", out, "--config", str(recipe)]
        launch([*words, *([] if resume is None else ["--resume", resume])], nproc)
    run = Mirror(out).folder if is_remote(out) else Path(out)
    lines = [line for line in read_metrics(run) if "eval_loss" in line]
    return {name: value for name, value in lines[-1].items() if name.startswith("eval_")} if lines else {}


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
