"""The verb `drift`: how far the pass with dropping is from the full one through a run, and which words are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.errors import UserError

if TYPE_CHECKING:
    from sctd.config import PretrainConfig

BATCH = 32
MEASURES = ("cosine", "kl_cls", "cka")
RULE_OF_DENSE = "frequency"  # a dense run has learned no importance; this rule learns nothing


def drift(
    run: str,
    data: str,
    out: str | None = None,
    sequences: int = 256,
    keep_rule: str | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> dict[str, Any]:
    """Compare the pass with dropping with the full pass, layer by layer, through all checkpoints of a run.

    Both passes read the same held-out sequences, masked as in evaluation, without dropout. The layers before L/2 are
    the same in both, as dropping is published. Writes OUT/drift.json and, where the run has learned an importance,
    OUT/importance.tsv, which lists the tokens from the one that is kept first to the one that is dropped first.

    Args:
        run: folder that `sctd pretrain` wrote.
        data: the data folder that it was begun with.
        out: folder to write to; null: RUN.
        sequences: held-out sequences to compare on.
        keep_rule: `importance`, `random` or `frequency`; null: the run's own, or `frequency` for a dense run, which
            has none.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16`, `fp16` or `auto`.

    Returns:
        What drift.json holds: `settings`; `checkpoints`: [{step, cosine, kl_cls, cka: a figure a layer, as
        `sctd.method.drift.DriftMeter.read` explains them; mean: of each from the first layer that can differ on}];
        `words`: {dropped, kept}: of the frequent tokens the most dropped and kept, [{token, per_million, share that is
        kept}]; `spearman`, with the rule importance: see `dropped_words.correlation`.

    Raises:
        UserError: a run, data folder or setting that cannot be used.
    """
    if sequences < 1:
        raise UserError(f"--sequences is {sequences}; it must be 1 or more.")
    source = Path(run)
    if not source.is_dir():
        raise UserError(f"{source} is not a folder: give the folder of a run that sctd pretrain wrote.")
    target = Path(out) if out is not None else source
    if target.exists() and not target.is_dir():
        raise UserError(f"--out {target} is a file: give a folder.")

    from sctd.extras import check_installed

    check_installed("scipy", extra="evaluate")

    from sctd.batches.loader import evaluation_batches
    from sctd.config import resolve_middle
    from sctd.console import Counter, progress_bar, say, show_line
    from sctd.files import disk_errors, write_json
    from sctd.recipe import build_config
    from sctd.scores.dropped_words import correlation, extremes, print_words, words_table, write_words
    from sctd.tokens.prepared import load_prepared
    from sctd.train.checkpoint import fitting, list_checkpoints, load_tensors, read_state
    from sctd.train.device import choose_device, choose_precision
    from sctd.train.evaluate import measure_drift
    from sctd.train.metrics import without_nan
    from sctd.train.setup import ORIGIN, bert_config, build_objective, read_vocabulary
    from sctd.train.trainer import data_fingerprint

    whole = []
    for folder in reversed(list_checkpoints(source)):
        try:
            whole.append((folder, read_state(folder)))
        except UserError as error:
            say(f"Passed over: {error}")
    if not whole:
        raise UserError(f"{source} has no whole checkpoint: give the folder of a run that sctd pretrain wrote.")
    prepared = load_prepared(data)
    if whole[0][1].data != data_fingerprint(prepared):
        raise UserError(f"{source} was begun on other data than {data}: give the --data folder that it was begun with.")
    config = with_rule(build_config(whole[0][1].config), keep_rule)
    where = choose_device(device)
    chosen_precision = choose_precision(precision, where)[0]
    vocabulary = read_vocabulary(prepared)
    layers = bert_config(config, prepared, where, source / ORIGIN).num_layers
    try:
        resolve_middle(config.dropping, layers)
    except UserError:
        raise UserError(f"{source} has {layers} layers, of which none can drop tokens: there is no drift.") from None
    objective = build_objective(config, prepared, vocabulary, where, source / ORIGIN, resumed=True)
    say(f"Compared by the rule {config.dropping.keep_rule!r}, keeping {config.dropping.keep_ratio:g} of the tokens.")
    batches = [batch for _, batch in evaluation_batches(prepared.validation, vocabulary, sequences, BATCH)]
    first = objective.route.first_difference
    checkpoints: list[dict[str, Any]] = []
    with progress_bar() as bar:
        counter = Counter(bar, "drift", "sequences", len(whole) * sum(map(len, batches)))
        for folder, state in whole:
            with fitting(folder):
                objective.model.load_state_dict(load_tensors(folder, "model.safetensors"))
                if config.dropping.keep_rule == "importance":
                    assert objective.keep_rule is not None
                    objective.keep_rule.load_state_dict(load_tensors(folder, "method.safetensors"))
            measures = measure_drift(objective, batches, chosen_precision, where)
            counter(sum(map(len, batches)))
            mean = {name: sum(figures[first:]) / (layers - first) for name, figures in measures.items()}
            checkpoints.append({"step": state.global_step, **measures, "mean": mean})
    results: dict[str, Any] = {
        "settings": {
            "method": whole[0][1].config["method"],
            "keep_rule": config.dropping.keep_rule,
            "keep_ratio": config.dropping.keep_ratio,
            "sequences": sum(map(len, batches)),
            "precision": chosen_precision,
            "first_layer_that_differs": first,
        },
        "checkpoints": checkpoints,
    }
    words = words_table(objective, prepared, batches, where)
    results["words"] = {
        side: [{"token": word.token, "per_million": word.per_million, "share": word.share} for word in chosen]
        for side, chosen in extremes(words).items()
    }
    if config.dropping.keep_rule == "importance":
        results["spearman"] = correlation(words)
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    write_json(target / "drift.json", without_nan(results))
    if config.dropping.keep_rule == "importance":
        write_words(target / "importance.tsv", words)
    print_table(results)
    print_words(words, config.dropping.keep_rule)
    tokens = " and importance.tsv" if config.dropping.keep_rule == "importance" else ""
    show_line(f"Written: drift.json{tokens} in {target}.")
    return results


def with_rule(config: PretrainConfig, keep_rule: str | None) -> PretrainConfig:
    """The run's settings with the keep rule to compare by; UserError for a rule that it cannot have."""
    from dataclasses import replace

    from sctd.method.keep_rules import KEEP_RULES

    own = None if config.method == "dense" else config.dropping.keep_rule
    rule = keep_rule or own or RULE_OF_DENSE
    if rule not in KEEP_RULES:
        raise UserError(f"--keep-rule: there is no {rule!r}; choose one of {', '.join(KEEP_RULES)}.")
    if rule == "importance" and own != "importance":
        raise UserError("--keep-rule: this run has learned no importance; choose random or frequency.")
    method = "drop" if config.method == "dense" else config.method
    return replace(config, method=method, dropping=replace(config.dropping, keep_rule=rule))


def print_table(results: Mapping[str, Any]) -> None:
    """To standard output: the cosine through the checkpoints, and the last one by every measure."""
    from rich.table import Table

    from sctd.console import as_text, show

    last = results["checkpoints"][-1]
    first = results["settings"]["first_layer_that_differs"]
    layers = range(first, len(last["cosine"]))
    title = f"Cosine of the pass with dropping to the full pass, by layer; those before {first} are the same"
    table = Table("step", *map(str, layers), title=as_text(title), title_justify="left")
    for each in results["checkpoints"]:
        table.add_row(f"{each['step']:,}", *(f"{figure:.4f}" for figure in each["cosine"][first:]))
    show(table)
    table = Table("measure", *map(str, layers), title=f"Step {last['step']:,}, by layer", title_justify="left")
    for name in MEASURES:
        table.add_row(name, *(f"{figure:.4g}" for figure in last[name][first:]))
    show(table)
