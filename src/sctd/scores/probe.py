"""The verb `probe`: what each layer of a frozen encoder knows of a sentence, by a linear classifier."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctd.errors import UserError
from sctd.json_text import NUMBER

if TYPE_CHECKING:
    import numpy as np

    from sctd.scores.encoder import Encoder
    from sctd.scores.probe_data import Probe

# Inverse strengths of the L2 penalty that the validation split chooses from: of vectors, and of the bag of words, whose
# TF-IDF rows have length 1 where standardised vectors have the square root of H.
STRENGTHS = (1e-4, 1e-3, 0.01, 0.1, 1.0)
OF_WORDS = (1.0, 10.0, 100.0, 1000.0)
# lbfgs on standardised features is within a few thousandths of its end by then, whatever the probe; the validation
# split chooses among what it finds, so that a classifier that has not converged is a fair one still.
MOST_ITERATIONS = 100
# Words times labels of the bag of words: lbfgs keeps some 25 copies of its weights, so that word_content's 1,000 labels
# with all of its 23,305 words took 5 GB. Only there are rare words left out.
MOST_WEIGHTS = 5_000_000
_ACCURACIES = dict.fromkeys(("validation", "test"), NUMBER)
_POOLED = {**_ACCURACIES, "best": int, "layers": [{**_ACCURACIES, "layer": int}]}
_ARM = {"cut": int, "best": {"mean", "cls"}, "mean": _POOLED, "cls": _POOLED}
# what probe.json holds of a probe
PART = {
    **{"of": str, "majority": NUMBER, "bag_of_words": _ACCURACIES},
    **{"rows": {**dict.fromkeys(("tr", "va", "te"), int), "*": int}, "model": _ARM, "random_init?": _ARM},
}


def probe(
    model: str,
    data: str,
    out: str | None = None,
    tasks: list[str] | None = None,
    max_train: int | None = None,
    random_init: bool = True,
    seed: int = 1,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> dict[str, Any]:
    """Probe a frozen encoder, layer by layer (Conneau et al., 2018).

    For every layer, 0 being the embeddings, and for the mean over a sentence's tokens as well as for [CLS], a
    logistic regression learns the label from the vector. Its penalty, and the layer that the table shows, are chosen
    on the validation split; the figures are accuracies on the test split. With --out, the same command goes on where
    it was stopped.

    Args:
        model: a Hugging Face folder with an encoder, a finished run of `sctd pretrain`, or `hf:NAME`.
        data: folder with probes in SentEval's form (`tr|va|te TAB label TAB sentence`), a .txt file each, in it or in
            folders below it.
        out: folder in which to write probe.json; null: print the table alone.
        tasks: names of probes, such as `subj_number` or `ud_gold/subj_number`; null: all that are there.
        max_train: learn from so many training sentences, drawn by the seed, each label among them; null: all.
        random_init: also probe the same shape with random weights.
        seed: of the random weights and of max_train's draw.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16`, `fp16` or `auto`.

    Returns:
        What probe.json holds: `belongs_to`, and `parts`: name -> {of: checksum of its file, rows, majority,
        bag_of_words: {strength, validation, test}, model, random_init}, the last two as `probe_network` returns them.

    Raises:
        UserError: a model, file or name that cannot be used.
    """
    if max_train is not None and max_train < 2:
        raise UserError(f"--max-train is {max_train}; it must be 2 or more.")
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is a file: give a folder.")

    from sctd.extras import check_installed

    check_installed("sklearn", extra="evaluate")

    from sctd.console import Counter, progress_bar, say, show_line
    from sctd.scores.encoder import load_encoder
    from sctd.scores.kept import Kept, kept_precision
    from sctd.scores.probe_data import load_probes, subset

    probes = [subset(each, max_train, seed) for each in load_probes(data, tasks or ())]
    path = None if out is None else Path(out) / "probe.json"
    encoder = load_encoder(model, device, kept_precision(path, precision))
    settings = {"max_train": max_train, "random_init": random_init, "seed": seed, "precision": encoder.precision}
    kept = Kept(path, encoder, settings, PART)
    network = encoder.network()
    random = encoder.random_network(seed) if random_init else None
    classifiers = 1 + 2 * (encoder.num_layers + 1) * (1 if random is None else 2)
    with progress_bar() as bar:
        for each in probes:
            if kept.has(each.name, each.sha256):
                continue
            counter = Counter(bar, each.name, "classifiers", classifiers)
            rows = {split: len(of.labels) for split, of in each.splits.items()}
            part = {"rows": rows} | baselines(each)
            counter(1)
            part["model"] = probe_network(encoder, network, each, counter)
            if random is not None:
                part["random_init"] = probe_network(encoder, random, each, counter)
            kept.add(each.name, each.sha256, part)
    results = {"belongs_to": kept.belongs_to, "parts": {each.name: kept.parts[each.name] for each in probes}}
    print_table(results, encoder)
    if path is not None:
        show_line(f"Written: {path}.")
    cut = sum(part["model"]["cut"] for part in results["parts"].values())
    if cut:
        say(f"{cut:,} sentences were cut at {encoder.max_length} tokens.")
    return results


def probe_network(
    encoder: Encoder,
    network: Any,
    probe: Probe,
    advance: Callable[[int], None] = lambda classifiers: None,
    poolings: Sequence[str] = ("mean", "cls"),
) -> dict[str, Any]:
    """Accuracies of a network's layers on a probe.

    Returns:
        pooling -> {layers: [{layer, strength, validation, test}], best: the layer with the largest validation
        accuracy (of equals the lowest), validation and test: its accuracies}; `best`: the pooling whose best layer has
        the larger validation accuracy; `cut`: sentences that were cut.
    """
    from sctd.scores.features import sentence_vectors

    vectors, labels, cut = {}, {}, 0
    for split, of in probe.splits.items():
        vectors[split], cut_here = sentence_vectors(encoder, network, of.sentences, poolings=poolings)
        labels[split] = of.labels
        cut += cut_here
    found: dict[str, Any] = {"cut": cut}
    for pooling in poolings:
        layers = []
        for layer in range(encoder.num_layers + 1):
            parts = {split: vectors[split][pooling][layer] for split in vectors}
            layers.append({"layer": layer, **classify(parts, labels)})
            advance(1)
        best = max(layers, key=lambda each: (each["validation"], -each["layer"]))
        found[pooling] = {
            "layers": layers,
            "best": best["layer"],
            "validation": best["validation"],
            "test": best["test"],
        }
    found["best"] = max(poolings, key=lambda pooling: float(found[pooling]["validation"]))
    return found


def classify(vectors: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """A logistic regression on standardised vectors (n, H) of tr, its strength chosen on va, scored on va and te."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors["tr"])
    return _best_strength({split: scaler.transform(each) for split, each in vectors.items()}, labels, STRENGTHS)


def _best_strength(
    features: Mapping[str, Any], labels: Mapping[str, Sequence[str]], strengths: Sequence[float]
) -> dict[str, float]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # each strength begins where the one before ended, from the strongest penalty on
    classifier = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True)
    best: dict[str, float] = {}
    for strength in strengths:
        classifier.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features["tr"], labels["tr"])
        validation = float(classifier.score(features["va"], labels["va"]))
        if not best or validation > best["validation"]:
            test = float(classifier.score(features["te"], labels["te"]))
            best = {"strength": strength, "validation": validation, "test": test}
    return best


def baselines(probe: Probe) -> dict[str, Any]:
    """Test accuracy of the training split's most frequent label (of equals the first), and a bag of words' figures."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    labels = {split: of.labels for split, of in probe.splits.items()}
    [(frequent, _)] = Tally(sorted(labels["tr"])).most_common(1)
    most = MOST_WEIGHTS // len(set(labels["tr"]))
    words = TfidfVectorizer(token_pattern=r"(?u)\S+", sublinear_tf=True, max_features=most)
    words.fit(probe.splits["tr"].sentences)
    features = {split: words.transform(of.sentences) for split, of in probe.splits.items()}
    return {
        "majority": labels["te"].count(frequent) / len(labels["te"]),
        "bag_of_words": _best_strength(features, labels, OF_WORDS),
    }


def print_table(results: Mapping[str, Any], encoder: Encoder) -> None:
    """To standard output: a row a probe."""
    from rich.table import Table

    from sctd.console import as_text, show

    title = f"Test accuracy in %; in brackets the layer, chosen on the validation split. {encoder.folder}"
    table = Table(title=as_text(title), title_justify="left")
    table.add_column("probe", overflow="fold")
    for name in ("majority", "bag of\nwords", "random\nencoder", "mean", "[CLS]", "tr\nva\nte"):
        table.add_column(name, justify="right", no_wrap=True)

    def best(found: Mapping[str, Any] | None, pooling: str) -> str:
        return "" if found is None else f"{100 * found[pooling]['test']:.1f} ({found[pooling]['best']})"

    for name, part in results["parts"].items():
        cells = [name, f"{100 * part['majority']:.1f}", f"{100 * part['bag_of_words']['test']:.1f}"]
        random = part.get("random_init")
        cells += [
            best(random, random["best"] if random else ""),
            best(part["model"], "mean"),
            best(part["model"], "cls"),
        ]
        table.add_row(*map(as_text, [*cells, "\n".join(f"{count:,}" for count in part["rows"].values())]))
    show(table)
