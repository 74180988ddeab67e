"""Make the reports of the comparisons in this folder anew from the results.json and plan.json beside them.

python docs/results/reports.py

After a change of the statistics or of the page: the figures that the runs gave stay, all that is derived from them is
counted again. tests/test_results.py says where a report is not what this would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sctd.compare.plan import Plan, Run
from sctd.compare.report import own_length, write_report
from sctd.compare.results import collect
from sctd.files import write_json
from sctd.json_text import read_json

HERE = Path(__file__).parent


def comparisons() -> list[Path]:
    """The folders of comparisons."""
    return sorted(path.parent for path in HERE.glob("*/results.json"))


def recount(folder: Path) -> dict[str, Any]:
    """What results.json should hold."""
    results = read_json(folder / "results.json", {"runs": dict})
    kept = read_json(folder / "plan.json", {"plan": dict})["plan"]
    # what older plans did not have: how well step times are known, and arms that are added
    plan = Plan(**{"doubts": {}, "first_arms": kept["arms"], **kept})
    runs = [Run(one["arm"], place, one["steps"], one["seed"], {}) for place, one in results["runs"].items()]
    return results | collect(plan, runs, results["runs"], own_length(results))


if __name__ == "__main__":
    for each in comparisons():
        found = recount(each)
        write_json(each / "results.json", found)
        write_report(each, found)
