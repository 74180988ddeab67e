"""The model card (README.md) of an exported run: its data, method, losses, time and settings, all read from the run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from sctd.config import DroppingConfig, resolve_middle
from sctd.hf.origin import Origin
from sctd.json_text import NUMBER, read_json
from sctd.markdown import escaped, fenced
from sctd.recipe import build_config
from sctd.text.hub import PREFIX
from sctd.train.checkpoint import TrainState
from sctd.train.metrics import read_metrics

INPUTS_NAMED = 20
EVALUATIONS_NAMED = 12

ENVIRONMENT = {
    **dict.fromkeys(("sctd", "device", "cpu"), str),
    "cores": (int, type(None)),
    "packages": {"torch": str, "transformers": str, "*": str},
}

FRONT = """\
---
library_name: transformers
pipeline_tag: fill-mask
license: unknown  # to be filled in: see "Licence" below
tags:
- bert
- fill-mask
- sctd
---
"""

USE = """\
## Use

It is a plain BERT; `sctd`, which made it, is not needed.

```python
from transformers import pipeline

fill = pipeline("fill-mask", model="PATH/TO/THIS/FOLDER")
print(fill({sentence}))
```
"""

FINE_TUNING = """
For fine-tuning, `config.json` states a dropout of {hidden_dropout_prob:g}, on the attention weights \
{attention_probs_dropout_prob:g}; in pretraining they were {dropout:g} and {attention_dropout:g}.
"""

LIMITS = """\
## Licence

Not known to the program that wrote this card: it follows from the licences of the texts above. To be filled in by
whoever publishes the model, with the languages of the texts.

## Limits

The model repeats what the texts that it read say, their errors and prejudices too. It has not been fine-tuned, and
nothing but the losses above was measured while it was trained.
"""

DENSE = """\
Masked language modelling (Devlin et al., 2019) without next-sentence prediction, in which every layer processed every \
token."""

DROP = """\
Masked language modelling with token dropping (Hou et al., "Token Dropping for Efficient BERT Pretraining", ACL 2022, \
[arXiv 2203.13240](https://arxiv.org/abs/2203.13240)). In training, {layers} processed only {keep:.0%} of each \
sequence's tokens (chosen by the rule `{rule}`, route `{route}`), which takes less time; the others processed all."""

FULL = "Nothing was dropped in the {where} of the steps."

CONSISTENCY = """\
With semantic-consistent learning (Zhong et al., "Revisiting Token Dropping Strategy in Efficient BERT Pretraining", \
ACL 2023, [arXiv 2305.15273](https://arxiv.org/abs/2305.15273)): {when} the batch also ran through the whole network, \
and the two passes were made to agree (weight {weight:g}, variant `{variant}`)."""

NO_DROPPING_NOW = "Dropping is a matter of training alone: in use, every token runs through every layer."


def model_card(run: Path, state: TrainState, origin: Origin, mask_token: str) -> str:
    """README.md, in Markdown.

    Args:
        run: the run's folder.
        state: of the checkpoint that is exported.
        origin: where the model comes from.
        mask_token: as the tokenizer writes it.
    """
    shape = origin.config
    state = replace(state, config=asdict(build_config(state.config)))
    sentence = json.dumps(f"Write {mask_token} where a word is missing.")
    opening = (
        f"# BERT, {shape['num_hidden_layers']} layers of {shape['hidden_size']}\n\n"
        f"A masked language model that reads up to {shape['max_position_embeddings']:,} tokens of a vocabulary of "
        f"{shape['vocab_size']:,}, pretrained by sctd on the texts below.\n"
    )
    use = USE.format(sentence=sentence) + FINE_TUNING.format(**{**state.config["model"], **shape})
    sections = [opening, use, _data(origin), _training(run, state, origin), _losses(run, state)]
    start = state.config["init_from"]
    settings = yaml.safe_dump({**state.config, "init_from": start and _public(start)}, sort_keys=False)
    return FRONT + "\n" + "\n".join([*sections, LIMITS, f"## Settings\n\n{fenced(settings, 'yaml')}\n"])


def _data(origin: Origin) -> str:
    manifest = origin.manifest
    rows = [
        [name, f"{split.documents:,}", f"{split.tokens:,}", f"{split.sequences:,}", f"{split.bytes:,}"]
        for name, split in manifest.splits.items()
    ]
    inputs = manifest.provenance.get("inputs", [])
    named = [f"- `{_public(each['path'])}` ({each['bytes'] or 0:,} bytes)" for each in inputs[:INPUTS_NAMED]]
    if len(inputs) > INPUTS_NAMED:
        named.append(f"- and {len(inputs) - INPUTS_NAMED:,} more")
    return "\n".join(
        [
            "## Data",
            "",
            *_table(["split", "documents", "tokens", f"sequences of {manifest.seq_len}", "bytes of text"], rows),
            "",
            f"{manifest.duplicates_removed:,} duplicates were removed. The tokenizer is a "
            f"{escaped(manifest.tokenizer.kind)} of {manifest.vocab_size:,} tokens. The texts came from:",
            "",
            *named,
            "",
        ]
    )


def _public(path: str) -> str:
    """An input as it was named, but of an absolute path only the last part: a card is read by strangers.

    Without the characters that would end the code in which a card shows it.
    """
    scheme = PREFIX if path.startswith(PREFIX) else ""
    place = Path(path.removeprefix(scheme).removeprefix("file://"))
    shown = scheme + place.name if place.is_absolute() else path
    return _in_code(shown)


def _in_code(text: str) -> str:
    return "".join(character for character in text if character.isprintable() and character != "`")


def _training(run: Path, state: TrainState, origin: Origin) -> str:
    config = state.config
    told = [DENSE if config["method"] == "dense" else _dropping(config, origin)]
    if config["method"] == "sctd":
        consistency = config["consistency"]
        when = f"every {consistency['interval']} steps" if consistency["interval"] else "(here: never)"
        told.append(CONSISTENCY.format(when=when, **consistency))
    if config["method"] != "dense":
        told.append(NO_DROPPING_NOW)
    if config["init_from"]:
        told.append(f"It did not start from scratch, but from the weights of `{_public(config['init_from'])}`.")
    train = origin.manifest.splits["train"]
    epochs = state.tokens / (train.sequences * origin.manifest.seq_len)
    facts = [
        ["steps", f"{state.global_step:,} of {state.choices['steps']:,}"],
        ["tokens read", f"{state.tokens:,} ({epochs:.2f} times the training split)"],
        ["time in training", _duration(state.seconds)],
        ["precision", state.choices["precision"]],
    ]
    environment = _json(run / "environment.json", ENVIRONMENT)
    if environment:
        device = environment["device"]
        machine = f"{environment['cpu']}, {environment['cores']} cores" if device == "cpu" else device
        versions = ", ".join(f"{name} {environment['packages'][name]}" for name in ("torch", "transformers"))
        facts += [["machine", machine], ["made with", f"sctd {environment['sctd']}, {versions}"]]
    return "\n".join(["## Training", "", "\n\n".join(told), "", *_table(["", ""], facts), ""])


def _dropping(config: dict[str, Any], origin: Origin) -> str:
    dropping = DroppingConfig(**config["dropping"])
    start, end = resolve_middle(dropping, origin.config["num_hidden_layers"])
    layers = f"layers {start} to {end - 1}" if end - start > 1 else f"layer {start}"
    told = DROP.format(
        layers=f"{layers} (of 0 to {origin.config['num_hidden_layers'] - 1})",
        keep=dropping.keep_ratio,
        rule=_in_code(dropping.keep_rule),
        route=_in_code(dropping.route),
    )
    shares = {"first": dropping.full_start, "last": dropping.full_tail}
    where = " and the ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)
    return f"{told} {FULL.format(where=where)}" if where else told


def _losses(run: Path, state: TrainState) -> str:
    needed = ("eval_loss", "seconds")
    lines = [line for line in read_metrics(run) if all(line.get(name) is not None for name in needed)]
    lines = [line for line in lines if line["step"] <= state.global_step]
    names = {"eval_loss": "all predicted", "eval_loss_mask": "at [MASK]", "eval_loss_dropped": "with dropping"}
    shown = [name for name in names if any(name in line for line in lines)]
    stride = max(1, -(-len(lines) // EVALUATIONS_NAMED))
    rows = [
        [f"{line['step']:,}", _duration(line["seconds"]), *(_number(line.get(name)) for name in shown)]
        for line in lines[(len(lines) - 1) % stride :: stride]  # the last one always
    ]
    text = [
        "## Losses",
        "",
        "Mean cross-entropy in nats a predicted token, on held-out text, with the whole network unless stated:",
        "",
        *_table(["step", "time", *(names[name] for name in shown)], rows),
        "",
    ]
    baselines = _json(run / "baselines.json", dict.fromkeys(("unigram", "bigram", "bigram_both_sides"), NUMBER))
    if baselines:
        text += [
            f"At the same [MASK] inputs, guessing by frequency reaches {baselines['unigram']:.3f} and a bigram model "
            f"{baselines['bigram']:.3f} (with both neighbours: {baselines['bigram_both_sides']:.3f}).",
            "",
        ]
    return "\n".join(text)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *(map(escaped, row) for row in rows))]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _json(path: Path, form: Any) -> dict[str, Any]:
    """What a JSON file of the run holds; nothing where the run has none of this form."""
    try:
        found: dict[str, Any] = read_json(path, form)
    except (OSError, ValueError):
        return {}
    return found
