"""The verb `evaluate`: fine-tune an encoder on downstream tasks and score it, beside what less than it would reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.scores.jobs import Job, LoadedTask
    from sctd.scores.tasks.task import Task

SHORTEST = 16  # tokens of the longest sequence


def evaluate(
    model: str,
    tasks: list[str],
    out: str,
    data: str | None = None,
    seeds: int = 3,
    budget: Literal["full", "quick"] = "full",
    baselines: bool = True,
    without: str | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    max_length: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> dict[str, Any]:
    """Fine-tune an encoder on downstream tasks and score it.

    Writes OUT: results.json, results.md, and a file for each finished (task, seed) under runs/. The same command goes
    on where it was stopped; run at the same time by several processes, one for each GPU, they share the work.

    Args:
        model: a Hugging Face folder with an encoder and its tokenizer, a finished run of `sctd pretrain`, or `hf:NAME`.
        tasks: some of cola, sst2, mrpc, stsb, rte, qnli, qqp, mnli, boolq, cb, copa, wic, multirc, squad_v1, squad_v2
            and imdb, or glue, superglue, paper (twelve, a guess at the ScTD paper's own) or all.
        out: folder of the results; finished ones in it are not made again.
        data: folder with a folder for each task, in the official file forms; null: from the Hugging Face hub.
        seeds: fine-tuning runs of each task, with the seeds 1, 2, ...
        budget: `full`, or `quick`: 2,000 examples and 10 epochs a task, scored on 1,000: for a small machine, and not
            to be compared with published figures.
        baselines: also score the majority label, a bag of words, and an encoder of the same shape with random
            weights (with seed 1).
        without: folder that `sctd overlap` wrote, or its overlap.json: also report scores without the examples that it
            flags.
        lr: peak learning rate; null: 3e-5 at a hidden size of 768, more for narrower encoders.
        epochs: passes over the training examples; null: the task's published number.
        batch_size: examples a step.
        max_length: longest sequence in tokens; null: the task's, or what the model was trained on where that is less.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16`, `fp16` or `auto`.

    Returns:
        What results.json holds.

    Raises:
        UserError: a model, task folder or setting that cannot be used; results already there stay.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more.")
    for name, number in (
        ("--lr", lr),
        ("--epochs", epochs),
        ("--batch-size", batch_size),
    ):
        if number is not None and not number > 0:
            raise UserError(f"{name} is {number}; it must be above 0.")
    if max_length is not None and max_length < SHORTEST:
        raise UserError(
            f"--max-length is {max_length}; it must be {SHORTEST} or more, for words beside special tokens."
        )

    from sctd.extras import check_installed
    from sctd.scores.tasks.table import choose_tasks

    check_installed("sklearn", "accelerate", extra="evaluate")
    chosen = choose_tasks(tasks)

    from sctd.console import say, show_line
    from sctd.scores.encoder import load_encoder
    from sctd.scores.flagged import read_flagged
    from sctd.scores.jobs import SETTINGS, alone, claim, identity, load_task, open_results, read_job
    from sctd.scores.kept import kept_precision
    from sctd.scores.results import collect, looked_up_in, write_results
    from sctd.scores.tables import print_results
    from sctd.train.memory import keep_freed_memory

    keep_freed_memory()
    encoder = load_encoder(model, device, kept_precision(Path(out) / SETTINGS, precision))
    flagged = None if without is None else read_flagged(Path(without))
    settings = {
        "budget": budget,
        "lr": lr,
        "epochs": epochs,
        "batch_size": batch_size,
        "max_length": max_length,
        "precision": encoder.precision,
    }
    # all data is read before the first run, so that a broken file ends the command now and not at night
    loaded = [load_task(task, data, budget) for task in chosen]
    for each in loaded:
        looked_up_in(each, flagged or {})
    folder = open_results(Path(out), encoder, settings)
    say(
        f"{encoder.folder}: {encoder.num_layers} layers of {encoder.hidden_size}, sequences of up to "
        f"{encoder.max_length} tokens, {encoder.device.type}, {encoder.precision}."
    )
    if max_length is not None and max_length > encoder.max_length:
        say(f"--max-length {max_length} is more than the model can take: it is {encoder.max_length}.")
    jobs = _jobs(chosen, seeds, baselines)
    elsewhere = []
    for number, job in enumerate(jobs, start=1):
        examples = loaded[chosen.index(job.task)]
        of = identity(job, examples, encoder, settings)
        with claim(folder, job, of) as mine:
            if mine:
                _run(job, examples, encoder, settings, folder, f"{number}/{len(jobs)}")
            elif mine is None:
                elsewhere.append((job, of))
    with alone(folder):
        left = [job for job, of in elsewhere if not read_job(folder, job, of)]
        results = collect(folder, loaded, encoder, settings, flagged)
        write_results(folder, results)
    print_results(results)
    if left:
        names = ", ".join(f"{job.task.title} {job.arm} seed {job.seed}" for job in left)
        say(f"Under way in other processes: {names}; the same command later shows all.")
    show_line(f"Written: {folder / 'results.json'} and {folder / 'results.md'}.")
    return results


def _jobs(chosen: list[Task], seeds: int, baselines: bool) -> list[Job]:
    """All runs, task by task: what is cheap, the model, and last the encoder that read nothing."""
    from sctd.scores.jobs import Job

    jobs = []
    for task in chosen:
        cheap = [Job(task, "majority", 1), Job(task, "bag-of-words", 1)] if baselines else []
        jobs += [*cheap, *(Job(task, "model", seed) for seed in range(1, seeds + 1))]
        jobs += [Job(task, "random-init", 1)] if baselines else []
    return jobs


def _run(job: Job, loaded: LoadedTask, encoder: Any, settings: dict[str, Any], folder: Path, count: str) -> None:
    from sctd.console import Counter, progress_bar
    from sctd.scores.jobs import run_job, write_job

    with progress_bar() as bar:
        counter = Counter(bar, f"{count} {job.task.title} {job.arm} seed {job.seed}", "examples")
        write_job(folder, job, run_job(job, loaded, encoder, settings, counter.set_total, counter))
