"""One run of one task: claimed, carried out, and kept in a file of its own, so that none is made twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.errors import UserError
from sctd.files import disk_errors, write_json
from sctd.json_text import NUMBER, differs
from sctd.scores.baselines import bag_of_words, majority
from sctd.scores.finetuning import BUDGETS, FineTuning, default_lr, subset
from sctd.scores.heads import HEADS
from sctd.scores.kept import read_object, refuse_other
from sctd.scores.metrics import score
from sctd.scores.tasks.load import load_split, notes, splits_of
from sctd.scores.tasks.task import Example, Task, checksum_of

if TYPE_CHECKING:
    from sctd.scores.encoder import Encoder

Arm = Literal["majority", "bag-of-words", "random-init", "model"]
SETTINGS = "settings.json"
TUNED = ("random-init", "model")
ARMS: tuple[Arm, ...] = ("majority", "bag-of-words", "random-init", "model")
RANDOM_ENCODER_SEED = 1_000_003  # added to the run's seed: not the stream that the head is drawn from


@dataclass(frozen=True)
class Job:
    """A run: the task, what is scored on it, and the seed of its fine-tuning."""

    task: Task
    arm: Arm
    seed: int

    def file(self, folder: Path) -> Path:
        """Where its result is kept."""
        return folder / "runs" / self.task.name / f"{self.arm}-{self.seed}.json"


@dataclass(frozen=True)
class LoadedTask:
    """A task with its examples, after the budget.

    Args:
        task: the task.
        train: training examples.
        scored: split -> examples.
        notes: what a table must say of them.
        epochs: passes by the budget, or the task's.
        of: checksum of the examples, by which a result is known to be of these.
        whole: scored split -> checksum of all of its examples, before the budget.
    """

    task: Task
    train: list[Example]
    scored: dict[str, list[Example]]
    notes: list[str]
    epochs: int
    of: str
    whole: dict[str, str]


def load_task(task: Task, data: str | None, budget: str) -> LoadedTask:
    """Read a task's splits, from a folder or the hub, and choose the budget's fixed subsets."""
    limits = BUDGETS[budget]
    remarks: list[str] = []
    checksums: dict[str, str] = {}

    def read(split: str, most: int | None) -> list[Example]:
        whole = load_split(task, data, split)
        checksums[split] = checksum_of(whole)
        remarks.extend(f"{split}: {remark}" for remark in notes(task, split, len(whole), checksums[split]))
        chosen = subset(task, split, whole, most)
        if len(chosen) < len(whole):
            remarks.append(f"{split}: {budget} takes {len(chosen):,} of {len(whole):,}")
        return chosen

    train = read("train", limits.train)
    if task.kind in ("text", "score", "word_pair") and len({getattr(example, "label", None) for example in train}) == 1:
        remarks.append("train: one label alone, so that there is nothing to learn")
    scored = {split: read(split, limits.scored) for split in splits_of(task, data)}
    of = checksum_of([*train, *(example for examples in scored.values() for example in examples)])
    return LoadedTask(task, train, scored, remarks, limits.epochs or task.epochs, of, checksums)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Wait until no other process looks over all of OUT's results."""
    from filelock import FileLock

    lock = FileLock(out / ".lock")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_results(out: Path, encoder: Encoder, settings: dict[str, Any]) -> Path:
    """The results' folder, new or of the same model and settings; UserError for any other."""
    path = out / SETTINGS
    mine = {"model": str(encoder.folder), "fingerprint": encoder.fingerprint(), **settings}
    # names that begin with a dot are of another process that begins just now
    foreign = out.exists() and (not out.is_dir() or any(not each.name.startswith(".") for each in out.iterdir()))
    if foreign and not path.exists():
        raise UserError(f"{out} exists and holds no results of sctd evaluate: give another --out.")
    with alone(out):
        if path.exists():
            refuse_other(path, mine, read_object(path))
        else:
            write_json(path, mine)
    return out


@contextmanager
def claim(folder: Path, job: Job, of: dict[str, Any]) -> Iterator[bool | None]:
    """True where the job is this process's to run, False where it is done, None where another process runs it.

    Done means on the same examples and in the same way, see `identity`.

    The claim is a lock that the operating system lets go when the process ends, however it ends.
    """
    from filelock import FileLock, Timeout

    file = job.file(folder)
    if read_job(folder, job, of) is not None:
        yield False
        return
    with disk_errors(folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield None
            return
    try:
        yield read_job(folder, job, of) is None  # it may have been finished between the two looks
    finally:
        lock.release()


def settings_of(task: Task, encoder: Encoder, settings: dict[str, Any], epochs: int) -> FineTuning:
    """A task's fine-tuning: what is set, else what is published."""
    longest = min(settings["max_length"] or task.max_length, encoder.max_length)
    return FineTuning(
        lr=settings["lr"] or default_lr(encoder.hidden_size),
        epochs=settings["epochs"] or epochs,
        batch_size=settings["batch_size"],
        max_length=longest,
    )


def identity(job: Job, loaded: LoadedTask, encoder: Encoder, settings: dict[str, Any]) -> dict[str, Any]:
    """What a kept result must have been made of and with: its examples' checksum and, if there was any, its
    fine-tuning."""
    if job.arm not in TUNED:
        return {"of": loaded.of}
    return {"of": loaded.of, "fine_tuning": vars(settings_of(job.task, encoder, settings, loaded.epochs))}


def run_job(
    job: Job,
    loaded: LoadedTask,
    encoder: Encoder,
    settings: dict[str, Any],
    total: Callable[[int], None],
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Carry out a run; what its file holds: scores and predictions of every scored split, settings and time."""
    start = time.perf_counter()
    found: dict[str, list[Any]]
    result: dict[str, Any] = {"task": job.task.name, "arm": job.arm, "seed": job.seed, "of": loaded.of}
    if job.arm == "majority":
        found = {split: majority(job.task, loaded.train, examples) for split, examples in loaded.scored.items()}
    elif job.arm == "bag-of-words":
        found = {
            split: bag_of_words(job.task, loaded.train, examples, job.seed) for split, examples in loaded.scored.items()
        }
    else:
        tuning = settings_of(job.task, encoder, settings, loaded.epochs)
        found, cut = fine_tuned(job, loaded, encoder, tuning, total, advance)
        result |= {"fine_tuning": vars(tuning), "cut": cut}
    splits = {}
    for split, examples in loaded.scored.items():
        splits[split] = {
            "scores": score(job.task, examples, found[split]),
            "predictions": dict(zip([example.id for example in examples], found[split], strict=True)),
        }
    return result | {"splits": splits, "seconds": round(time.perf_counter() - start, 2)}


def fine_tuned(
    job: Job,
    loaded: LoadedTask,
    encoder: Encoder,
    tuning: FineTuning,
    total: Callable[[int], None],
    advance: Callable[[int], None],
) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Predictions of every scored split after fine-tuning, and how many examples of each split were cut."""
    from transformers import set_seed

    from sctd.scores.fit import fine_tune, predict

    head = HEADS[job.task.kind]

    def features(examples: Sequence[Example], training: bool) -> Any:
        return head.features(encoder, job.task, examples, tuning.max_length, training)

    train = features(loaded.train, True)
    scored = {split: features(examples, False) for split, examples in loaded.scored.items()}
    total(len(train) * tuning.epochs + sum(map(len, scored.values())))
    set_seed(job.seed)  # of the head's weights
    random_seed = RANDOM_ENCODER_SEED + job.seed if job.arm == "random-init" else None
    network = head.network(encoder, job.task, random_seed)
    fine_tune(encoder, network, train, tuning, job.seed, advance)
    found = {
        split: head.predictions(job.task, loaded.scored[split], each, predict(encoder, network, each, advance))
        for split, each in scored.items()
    }
    return found, {"train": train.cut, **{split: each.cut for split, each in scored.items()}}


def write_job(folder: Path, job: Job, result: dict[str, Any]) -> None:
    """Keep a run's result."""
    write_json(job.file(folder), result)


def read_job(folder: Path, job: Job, of: dict[str, Any]) -> dict[str, Any] | None:
    """A run's result of this identity, or null where there is none; UserError for a damaged file."""
    path = job.file(folder)
    if not path.exists():
        return None
    found = read_object(path)
    tuned = {"fine_tuning": {"max_length": int}, "cut": {"*": int}} if job.arm in TUNED else {}
    split = {"scores": dict.fromkeys(job.task.metrics, NUMBER), "predictions": dict}
    form = {"of": str, "seed": int, "seconds": NUMBER, "splits": {"*": split}, **tuned}
    if differs(found, form) is not None:
        raise UserError(f"{path} is damaged: remove it, and the same command makes it again.")
    return found if all(found[name] == value for name, value in of.items()) else None
