"""A comparison's page in a real browser, where there is one: it renders, says nothing on the console, runs nothing."""

import html
import re
import shutil
import subprocess

import pytest

import helpers
from sctd.compare.compare import compare
from small_runs import config

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
QUIET += "--disable-component-update --disable-quic --enable-logging=stderr"
HOSTILE = "<script>alert(1)</script>"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a toy comparison whose folder and words are hostile."""
    place = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        tokens = helpers.vocabulary(200)
        tokens[5:25] = [f"{HOSTILE}{number}" for number in range(20)]  # the most frequent ones
        patch.setattr(helpers, "vocabulary", lambda size: tokens)
        data = helpers.make_prepared(place, sequences=200, validation_sequences=128)
    settings = {"schedule__steps": 20, "eval__every": 10, "checkpoint__every": 10, "eval__baselines": False}
    out = place / "a & b <b>bold"
    compare(str(data), str(out), ["dense", "drop", "sctd"], config(**settings), [1, 2], "steps")
    return out / "report.html"


def test_hostile_text_stands_in_the_page_as_text(page):
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<script" not in text
    assert html.escape(HOSTILE) in text


def test_the_page_needs_no_network(page):
    text = page.read_text(encoding="utf-8")
    fetched = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert fetched
    assert all(place.startswith(("data:", "#")) for place in fetched)


def browse(page, place, *flags):
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={place / 'user'}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@needs_browser
def test_it_renders_without_an_error_and_its_numbers_can_be_downloaded(page, tmp_path):
    done = browse(page, tmp_path, "--dump-dom")
    dom = done.stdout
    assert "CONSOLE" not in done.stderr
    assert dom.count("<h2") >= 5
    assert dom.count("<svg") == dom.count("<figure") >= 3
    links = re.findall(r'<a class="data" download="[^"]+.csv" href="data:text/csv;base64,', dom)
    assert len(links) == dom.count("<svg")
    assert "<script" not in dom


@needs_browser
@pytest.mark.parametrize("width", [400, 1200])
def test_it_is_drawn_on_a_phone_and_on_a_desk(page, tmp_path, width):
    shot = tmp_path / "page.png"
    browse(page, tmp_path, f"--screenshot={shot}", f"--window-size={width},1600")
    assert shot.stat().st_size > 10_000  # an empty page is smaller
