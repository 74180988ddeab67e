"""report.md and report.html: the verdict, the tables, the drawings, and all that a reader needs to repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sctd.compare import sections
from sctd.compare.blocks import Block, Code, Figure, Heading, Paragraph, Table, to_html, to_markdown
from sctd.compare.quality import in_words
from sctd.compare.scoring import LOSS
from sctd.compare.statistics import FEWEST, smallest_p
from sctd.compare.step_times import doubtful
from sctd.files import write_text

PLATEAU = 0.1  # nats below the unigram level, at [MASK], from which a model counts as reading context
TITLES = {"steps": "At equal steps", "time": "At equal time"}


def write_report(folder: Path, results: dict[str, Any]) -> None:
    """Write report.md with its figures' files, and report.html."""
    blocks = page(results)
    arms = results["plan"]["arms"]
    title = f"{', '.join(arms[1:])} beside {arms[0]}"
    for block in blocks:
        if isinstance(block, Figure):
            write_text(folder / f"{block.name}.svg", block.svg)
    write_text(folder / "report.md", to_markdown(title, blocks))
    write_text(folder / "report.html", to_html(title, blocks))


def page(results: dict[str, Any]) -> list[Block]:
    """Everything, in order."""
    from sctd.compare import figures

    plan = results["plan"]
    colours = figures.colours_of(plan["arms"])
    blocks: list[Block] = [Paragraph(verdict(results), verdict=True)]
    for view, found in results["views"].items():
        blocks += [Heading(TITLES[view]), scores_table(found), *difference_tables(found, plan["arms"][0])]
        doubt = doubtful(plan["arms"][0], plan["doubts"]) if view == "time" else None
        blocks += [] if doubt is None else [Paragraph(doubt)]
        same = [arm for arm in plan["arms"][1:] if arm not in found["differences"]]
        if same:
            blocks.append(
                Paragraph(f"The runs of {', '.join(same)} and {plan['arms'][0]} are those of the view before.")
            )
        if own_length(results):
            blocks.append(Paragraph(f"With steps of their own, equal in nothing: {', '.join(own_length(results))}."))
        curves = {
            arm: [
                one["about"]["curve"]
                for one in results["runs"].values()
                if one["arm"] == arm and one["steps"] == each["steps"]
            ]
            for arm, each in found["arms"].items()
        }
        blocks.append(figures.curves(view, curves, colours))
    blocks.append(Paragraph(how_sure(results)))
    if results["time_to_quality"]:
        blocks += [
            Heading("Time to quality"),
            quality_table(results),
            figures.time_to_quality(results["time_to_quality"], colours),
        ]
    last = results["views"]["time" if "time" in results["views"] else "steps"]["arms"]
    blocks += [
        *sections.drift(results, last, colours),
        *sections.layers(results, last, colours),
        *sections.words(results),
        *sections.costs(results),
    ]
    blocks += [
        Heading("How it was made"),
        Table(["what", ""], [[*each] for each in (results["facts"] | sections.levels(results)).items()], words=True),
    ]
    own = [[name, ", ".join(f"{k} {v}" for k, v in settings.items())] for name, settings in results["asked"]["arms"]]
    blocks += [Table(["arm", "its own settings"], own, words=True), Code(sections.made(results))]
    blocks += [Paragraph("All settings that the arms have in common:"), Code(sections.settings(results))]
    return [*blocks, *sections.glossary(results)]


def verdict(results: dict[str, Any]) -> str:
    """A sentence a view, lower being better, one on time to quality, and a warning where nothing is learned yet."""
    base = results["plan"]["arms"][0]
    sentences = []
    for view, found in results["views"].items():
        parts = []
        for arm, each in found["differences"].items():
            mine, theirs = (found["arms"][name]["scores"][LOSS]["mean"] for name in (arm, base))
            own = f", with {found['arms'][arm]['steps']:,} steps of its own," if arm in own_length(results) else ""
            size, reach, _ = _sizes(LOSS, each[LOSS])
            sure = f", 95 % interval {reach}" if reach else ""
            sure += "" if each[LOSS]["corrected_p"] is None else f", corrected p {each[LOSS]['corrected_p']:.3f}"
            parts.append(f"{arm}{own} ends at {mine:.3f} ({size}{sure}: {each[LOSS]['words']})")
        if parts:
            sentences.append(
                f"{TITLES[view]}, against a held-out loss (lower is better) of {theirs:.3f} of {base}, "
                f"{'; '.join(parts)}."
            )
    shares = [f"{arm} {in_words(share)}" for arm, share in results["time_to_quality"].items() if arm != base]
    if shares:
        sentences.append(f"Share of {base}'s time for the loss that {base} ends with: {'; '.join(shares)}.")
    doubt = doubtful(base, results["plan"]["doubts"])
    sentences += [] if doubt is None else [doubt]
    for what, added in _added(results).items():
        sentences += [f"{what} {', '.join(map(str, added))} were added later."] if added else []
    return " ".join([*sentences, *_plateau(results)])


def _added(results: dict[str, Any]) -> dict[str, list[Any]]:
    plan = results["plan"]
    return {
        "Seeds": [seed for seed in plan["seeds"] if seed not in plan["first_seeds"]],
        "Arms": [arm for arm in plan["arms"] if arm not in plan["first_arms"]],
    }


def _plateau(results: dict[str, Any]) -> list[str]:
    """A sentence where the models have not begun to read: then their differences are not the methods'."""
    arms = [(arm, each) for found in results["views"].values() for arm, each in found["arms"].items()]
    known = [(arm, each) for arm, each in arms if None not in (each["at_mask"], each["unigram"])]
    stuck = list(dict.fromkeys(arm for arm, each in known if each["at_mask"] > each["unigram"] - PLATEAU))
    if not stuck:
        return []
    return [
        f"At [MASK] inputs {', '.join(stuck)} {'is' if len(stuck) == 1 else 'are'} no better than word frequencies "
        "alone, having not yet begun to read context: these figures say nothing of the methods; give more steps."
    ]


def own_length(results: dict[str, Any]) -> list[str]:
    """The arms beside the first that have a number of steps of their own."""
    return [name for name, settings in results["asked"]["arms"][1:] if "schedule.steps" in settings]


def scores_table(found: dict[str, Any]) -> Table:
    """A row an arm: steps, time, each score's mean."""
    names = list(next(iter(found["arms"].values()))["scores"])
    rows = []
    for arm, each in found["arms"].items():
        cells = [arm, f"{each['steps']:,}", f"{each['tokens']:,}", f"{each['seconds']:,.1f}"]
        cells.append(f"{1000 * each['seconds'] / each['steps']:,.1f}")
        scores = [figure(name, each["scores"][name]["mean"]) for name in names]
        at_mask = "" if each["at_mask"] is None else f"{each['at_mask']:.3f}"
        rows.append([*cells, scores[0], at_mask, *scores[1:]])
    head = [
        "arm",
        "steps",
        "tokens",
        "seconds by the clock (median)",
        "ms a step by the clock",
        names[0],
        "at [MASK]",
        *names[1:],
    ]
    return Table(head, rows)


def figure(name: str, value: float) -> str:
    """A loss in nats, any other score x 100."""
    return f"{value:.3f}" if name == LOSS else f"{100 * value:.1f}"


def difference_tables(found: dict[str, Any], base: str) -> list[Block]:
    """A row a score and arm: the difference and how sure it is; then the other arms beside one another."""
    rows = []
    for arm, each in found["differences"].items():
        for name, one in each.items():
            p = "" if one["corrected_p"] is None else f"{one['corrected_p']:.3f}"
            test = "" if one["test"] == "none" else one["test"]
            size, *sure = _sizes(name, one)
            rows.append([arm, name, size, one["words"], *sure, p, test])
    head = ["arm", "score", f"minus {base}", "in words", "95 % interval", "effect size d", "corrected p", "test"]
    blocks: list[Block] = [Table(head, rows)] if rows else []
    pairs = [
        [arm, with_, name, *_sizes(name, one)] for arm, with_, each in found["pairs"] for name, one in each.items()
    ]
    if pairs:
        blocks.append(Paragraph("The other arms beside one another; not tested."))
        blocks.append(Table(["arm", "minus", "score", "difference", "95 % interval", "effect size d"], pairs))
    return blocks


def _sizes(name: str, one: dict[str, Any]) -> list[str]:
    """Mean, interval and effect size of a difference."""
    scale, digits = (1, 3) if name == LOSS else (100, 1)
    reach = "" if one["low"] is None else " to ".join(f"{scale * one[e]:+.{digits}f}" for e in ("low", "high"))
    meant = one["effect"] is not None and one["seeds"] > FEWEST  # of two seeds it is their ratio, and can be anything
    return [f"{scale * one['mean']:+.{digits}f}", reach, f"{one['effect']:.1f}" if meant else ""]


def how_sure(results: dict[str, Any]) -> str:
    """What the numbers of seeds and of comparisons allow."""
    seeds = len(results["plan"]["seeds"])
    added, arms = _added(results).values()
    later = (
        f" Seeds {', '.join(map(str, added))} were added when the figures of the others could be known: whoever adds "
        "seeds until something is significant finds it too often."
        if added
        else ""
    )
    later += f" {', '.join(arms)}: added when the figures of the others could be known, and not tested." if arms else ""
    unscored = ", ".join(results["not_scored"])
    missing = f", and {unscored}, planned, not scored, and corrected for all the same" if unscored else ""
    if seeds < FEWEST:
        return sections.power(seeds, results["comparisons"])
    sentences = [
        f"Arms are paired by their {seeds} seeds.",
        f"Tested, and fixed before the runs: {', '.join(results['tested'])}{missing}; p corrected by Holm's method.",
        sections.power(seeds, results["comparisons"]),
        f"With so many seeds sign flips can reach p = {smallest_p(seeds):.3g} at the least; where that is not "
        "enough, Student's paired t decides.",
        "Intervals have the variance of the seeds and, of BLiMP, of its sets; each is for one comparison, uncorrected.",
    ]
    return " ".join(sentences) + later


def quality_table(results: dict[str, Any]) -> Table:
    """The share of the first arm's time that an arm needs for the first arm's loss."""
    base = results["plan"]["arms"][0]
    rows = []
    doubts = results["plan"]["doubts"]
    for arm, each in results["time_to_quality"].items():
        by_seed = ", ".join(f"{s:.2f}" if isinstance(s, float) else s for s in each["by_seed"].values())
        rows.append([arm, in_words(each), by_seed, f"{doubts[arm]:.0%}" if arm in doubts else ""])
    return Table(["arm", f"share of {base}'s time (all seeds)", "by seed", "its step time is known to"], rows)
