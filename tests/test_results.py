"""The comparisons in docs/results: their reports are what the code makes of their figures."""

import importlib.util
import json
from pathlib import Path

import pytest

from sctd.compare.blocks import to_markdown
from sctd.compare.report import page

RESULTS = Path(__file__).parent.parent / "docs/results"
_spec = importlib.util.spec_from_file_location("reports", RESULTS / "reports.py")
reports = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reports)


@pytest.mark.parametrize("folder", reports.comparisons(), ids=lambda folder: folder.name)
def test_a_report_that_is_kept_is_what_its_figures_give(folder):
    found = reports.recount(folder)
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(found))
    title, _, rest = (folder / "report.md").read_text(encoding="utf-8").partition("\n")
    assert to_markdown(title.removeprefix("# "), page(found)).partition("\n")[2] == rest
