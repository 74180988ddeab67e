"""Which words are dropped: the importance table as a list that a person can read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctd.files import write_text

if TYPE_CHECKING:
    from sctd.batches.batch import Batch
    from sctd.method.objectives import Objective
    from sctd.tokens.prepared import PreparedData

SHOWN = 15
FREQUENT = 100.0  # occurrences per million from which on a token is shown
SEEN = 20  # held-out occurrences from which on the share that is kept says something


@dataclass(frozen=True)
class Word:
    """One token of the vocabulary.

    Args:
        token: as the tokenizer writes it.
        special: it is always kept, or always dropped.
        count, per_million: occurrences in the training split.
        score: what the keep rule gives it; the importance in nats, for that rule.
        seen, kept: occurrences in the held-out inputs, and how many of them were kept.
    """

    token: str
    special: bool
    count: int
    per_million: float
    score: float
    seen: int
    kept: int

    @property
    def share(self) -> float | None:
        """Of the held-out occurrences, those kept."""
        return self.kept / self.seen if self.seen else None


def words_table(objective: Objective, data: PreparedData, batches: Sequence[Batch], device: Any) -> list[Word]:
    """The tokens that occur in training split or held-out inputs, the highest score first, special ones last."""
    import torch

    from sctd.tokens.tokenizer import load_tokenizer

    assert objective.keep_rule is not None
    size = len(data.unigram)
    seen, kept = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64)
    with torch.no_grad():
        for on_host in batches:
            for rows in objective.select(on_host.to(device)):
                seen += torch.bincount(on_host.input_ids.flatten(), minlength=size)[:size]
                kept += torch.bincount(on_host.input_ids.gather(1, rows.cpu()).flatten(), minlength=size)[:size]
        scores = objective.keep_rule.scores(torch.arange(size, device=device)[None])[0].cpu().tolist()
    tokenizer = load_tokenizer(data.tokenizer_dir)
    tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
    special = set(data.manifest.special.all()) | set(tokenizer.all_special_ids)
    million = max(int(data.unigram.sum()), 1) / 1e6
    words = [
        Word(tokens[i], i in special, count, count / million, scores[i], int(seen[i]), int(kept[i]))
        for i, count in enumerate(data.unigram.tolist())
        if count or seen[i]
    ]
    return sorted(words, key=lambda word: (word.special, -word.score))


def write_words(path: Path, words: Sequence[Word]) -> None:
    """A tab-separated file with a header, one token a line, whole or not at all.

    Special tokens have no rank and no importance: they are kept or dropped whatever the table says.
    """
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")  # quotes a token that holds a tab, a line's end or "
    table.writerow(["rank", "token", "special", "count", "per_million", "importance", "seen", "kept_share"])
    for rank, word in enumerate(words, start=1):
        share = "" if word.share is None else f"{word.share:.4f}"
        ranked, score = ("", "") if word.special else (rank, f"{word.score:.4f}")
        special = "yes" if word.special else ""
        table.writerow([ranked, word.token, special, word.count, f"{word.per_million:.2f}", score, word.seen, share])
    write_text(path, text.getvalue())


def correlation(words: Sequence[Word]) -> float | None:
    """Spearman's correlation of score and frequency over ordinary tokens; null where one of them is constant.

    Tokens that were never predicted still have the starting value, which special tokens keep for ever: they are left
    out, as they would rank above all that was learned.
    """
    from scipy.stats import spearmanr

    starting = {word.score for word in words if word.special}
    ordinary = [word for word in words if not word.special and word.count and word.score not in starting]
    if len({word.score for word in ordinary}) < 2 or len({word.count for word in ordinary}) < 2:
        return None
    return float(spearmanr([word.score for word in ordinary], [word.count for word in ordinary])[0])


def extremes(words: Sequence[Word]) -> dict[str, list[Word]]:
    """Of the frequent tokens, those `dropped` most and those `kept` most, each list from its extreme on."""
    frequent = [w for w in words if not w.special and w.per_million >= FREQUENT and w.seen >= SEEN]
    by_share = sorted(frequent, key=lambda word: (word.kept / word.seen, word.score))
    half = min(SHOWN, len(by_share) // 2)
    return {"dropped": by_share[:half], "kept": by_share[::-1][:half]}


def print_words(words: Sequence[Word], keep_rule: str) -> None:
    """To standard output: the frequent tokens that are dropped most, and those that are kept most."""
    from rich.table import Table

    from sctd.console import as_text, say, show

    for title, chosen in extremes(words).items():
        table = Table(title=f"Frequent tokens that are {title} most", title_justify="left")
        for name in ("token", "per million", keep_rule, "kept"):
            table.add_column(name, justify="left" if name == "token" else "right")
        for word in chosen:
            cells = (word.token, f"{word.per_million:,.0f}", f"{word.score:.3f}", f"{word.kept / word.seen:.1%}")
            table.add_row(*map(as_text, cells))
        if chosen:
            show(table)
    found = correlation(words) if keep_rule == "importance" else None
    if found is not None:
        say(f"Rank correlation of importance and frequency: {found:.3f}.")
