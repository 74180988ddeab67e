"""The verb `blimp`: which sentence of a minimal pair a masked language model finds likelier."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.errors import UserError
from sctd.json_text import NUMBER

if TYPE_CHECKING:
    from sctd.scores.blimp_data import MinimalPairs
    from sctd.scores.encoder import Encoder

RANDOM_PAIRS = 100  # of a set, for the encoder with random weights: chance is known, and this shows it


def blimp(
    model: str,
    data: str | None = None,
    out: str | None = None,
    pairs: int | None = None,
    sets: list[str] | None = None,
    within_word: Literal["none", "l2r"] = "none",
    random_init: bool = True,
    seed: int = 1,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> dict[str, Any]:
    """Score a masked language model on BLiMP's minimal pairs (Warstadt et al., 2020).

    A pair is right where the good sentence has the larger pseudo-log-likelihood (Salazar et al., 2020); a tie is
    wrong. Chance is 50 %. With --out, the same command goes on where it was stopped.

    Args:
        model: a Hugging Face folder with a masked language model, a finished run of `sctd pretrain`, or `hf:NAME`.
        data: folder with BLiMP's .jsonl files, plain or compressed; null: from the Hugging Face hub.
        out: folder in which to write blimp.json; null: print the table alone.
        pairs: take the first so many pairs of each set; null: all.
        sets: names of sets or phenomena; null: all.
        within_word: `l2r` masks, with each token, the later tokens of its word too (Kauf and Ivanova, 2023); `none`
            does not.
        random_init: also score the same shape with random weights, on the first 100 pairs of each set at most.
        seed: of the random weights.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16`, `fp16` or `auto`.

    Returns:
        What blimp.json holds: `settings`; `model` and `random_init`, each {`sets`: name -> {phenomenon, field, pairs,
        correct, accuracy}, `phenomena`, `fields`: name -> mean accuracy over its sets, `overall`: mean over sets};
        `cut`: sentences that were cut at the model's length; `parts`: of each pair the margin, good minus bad, in nats.

    Raises:
        UserError: a model, file or name that cannot be used.
    """
    if pairs is not None and pairs < 1:
        raise UserError(f"--pairs is {pairs}; it must be 1 or more.")

    from sctd.console import Counter, progress_bar, say, show_line
    from sctd.scores.blimp_data import load_pairs
    from sctd.scores.encoder import load_encoder
    from sctd.scores.kept import Kept, checksum, kept_precision

    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is a file: give a folder.")
    chosen = load_pairs(data, sets, pairs)
    path = None if out is None else Path(out) / "blimp.json"
    encoder = load_encoder(model, device, kept_precision(path, precision))
    settings = {"within_word": within_word, "pairs": pairs, "seed": seed, "precision": encoder.precision}
    kept = Kept(path, encoder, settings, {"of": str, "margins": [NUMBER], "cut": int})
    arms: dict[str, tuple[Callable[[], Any], int | None]] = {
        "model": (lambda: encoder.network("AutoModelForMaskedLM"), None)
    }
    if random_init:
        arms["random_init"] = (lambda: encoder.random_network(seed, "AutoModelForMaskedLM"), RANDOM_PAIRS)
    for arm, (load, most) in arms.items():
        todo = [each for each in chosen if not kept.has(f"{arm}/{each.name}", checksum(each.pairs))]
        if not todo:
            continue
        network = load()
        with progress_bar() as bar:
            total = sum(2 * len(each.pairs[:most]) for each in todo)
            counter = Counter(bar, "random weights" if arm == "random_init" else "minimal pairs", "sentences", total)
            for each in todo:
                margins, cut = score_set(encoder, network, each, within_word, most, counter)
                kept.add(
                    f"{arm}/{each.name}",
                    checksum(each.pairs),
                    {"margins": [float(f"{m:.6g}") for m in margins], "cut": cut},
                )
    results: dict[str, Any] = {"settings": settings}
    for arm in arms:
        parts = {each.name: kept.parts[f"{arm}/{each.name}"] for each in chosen}
        results[arm] = summarise(chosen, {name: part["margins"] for name, part in parts.items()})
    results["cut"] = sum(kept.parts[f"model/{each.name}"]["cut"] for each in chosen)
    kept.finish(results)
    print_table(results, encoder)
    if path is not None:
        show_line(f"Written: {path}.")
    if results["cut"]:
        say(f"{results['cut']:,} sentences were cut at {encoder.max_length} tokens.")
    return results


def score_set(
    encoder: Encoder,
    network: Any,
    pairs: MinimalPairs,
    within_word: str = "none",
    most: int | None = None,
    advance: Callable[[int], None] = lambda sentences: None,
) -> tuple[list[float], int]:
    """Of each pair, the good sentence's pseudo-log-likelihood minus the bad one's; and how many sentences were cut."""
    from sctd.scores.pseudo_likelihood import pseudo_log_likelihoods

    chosen = pairs.pairs[:most]
    sentences = [good for good, _ in chosen] + [bad for _, bad in chosen]
    sums, cut = pseudo_log_likelihoods(encoder, network, sentences, within_word, advance)
    return (sums[: len(chosen)] - sums[len(chosen) :]).tolist(), cut


def summarise(sets: Sequence[MinimalPairs], margins: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Accuracies of sets, phenomena, fields, and overall; the last three are means over sets, as in the paper."""
    found: dict[str, Any] = {"sets": {}, "phenomena": {}, "fields": {}}
    for each in sets:
        differences = margins[each.name]
        if not 0 < len(differences) <= len(each.pairs):
            raise UserError(f"The results of {each.name} are damaged, of another number of pairs: give another --out.")
        correct = sum(difference > 0 for difference in differences)
        accuracy = correct / len(differences)
        found["sets"][each.name] = {
            "phenomenon": each.phenomenon,
            "field": each.field,
            "pairs": len(differences),
            "correct": correct,
            "accuracy": accuracy,
        }
    for group, of in (("phenomena", "phenomenon"), ("fields", "field")):
        for name in sorted({entry[of] for entry in found["sets"].values()}):
            found[group][name] = statistics.fmean(e["accuracy"] for e in found["sets"].values() if e[of] == name)
    found["overall"] = statistics.fmean(entry["accuracy"] for entry in found["sets"].values())
    return found


def print_table(results: Mapping[str, Any], encoder: Encoder) -> None:
    """To standard output: a row a phenomenon."""
    from rich.table import Table

    from sctd.console import as_text, show

    settings, model, random_init = results["settings"], results["model"], results.get("random_init")
    some = "" if settings["pairs"] is None else f", the first {settings['pairs']} pairs of each set"
    correction = "" if settings["within_word"] == "none" else ", later tokens of a word masked with each"
    title = f"BLiMP, accuracy in %{some}{correction}; chance is 50. {encoder.folder}"
    table = Table(title=as_text(title), title_justify="left")
    table.add_column("phenomenon")
    for name in ("accuracy", "random\nencoder", "sets", "pairs"):
        table.add_column(name, justify="right", no_wrap=True)

    def row(name: str, accuracy: float, by_chance: float | None, phenomenon: str | None) -> None:
        of = [e for e in model["sets"].values() if phenomenon in (None, e["phenomenon"])]
        chance = "" if by_chance is None else f"{100 * by_chance:.1f}"
        cells = (name, f"{100 * accuracy:.1f}", chance, f"{len(of)}", f"{sum(e['pairs'] for e in of):,}")
        table.add_row(*map(as_text, cells))

    for name, accuracy in model["phenomena"].items():
        row(name, accuracy, random_init["phenomena"][name] if random_init else None, name)
    row("overall", model["overall"], random_init["overall"] if random_init else None, None)
    show(table)
