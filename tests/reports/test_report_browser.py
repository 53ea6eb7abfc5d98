"""The page in a real browser: whole, quick, readable on a telephone, sortable. Skipped where there is no Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.reports.hand_made import add_histories, add_segments, made_online, made_run

from emer.reports.content import report_content
from emer.reports.online_results import read_online
from emer.reports.runs import find_runs, read_runs
from emer.reports.write import write_report

pytestmark = pytest.mark.slow

MEMBERS = ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pwtr", "pcmtr", "pftr")
METHODS = (
    "emer", "emer-no_prior-no_evolve", "urem", "harmonrank+label_aggregation", "intel", "pantheon", "umre", "uame",
    "fusion_formula", "borda",
)  # fmt: skip
SECONDS, BYTES = 2.0, 5_000_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of ten methods with three seeds, everything on it."""
    root = tmp_path_factory.mktemp("sweep")
    for i, method in enumerate(METHODS):
        for seed in (1, 2, 3):
            path = made_run(root, method, seed, gain=(i * 7 % 10) / 100, members=MEMBERS, requests=200)
            add_segments(path)
            if i < 8:
                add_histories(path, MEMBERS)
    runs, problems = read_runs(find_runs(root))
    assert len(runs) == 30
    online = read_online(made_online(root / "online"))
    fronts = [["label_gauc/mean", "iput_gauc/mean"], ["label_gauc/pctr", "label_gauc/pltr"]]
    write_report(
        root / "report",
        report_content(runs, problems, online, title="A sweep", reference=None, wanted_fronts=fronts),
    )
    return root / "report" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as it is installed; never downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("EMER_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium: install chromium, or set EMER_CHROMIUM to its path")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright, which drives Chromium: make setup")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, opened at the width of a telephone; it must ask for nothing and complain of nothing."""
    page = browser.new_page(viewport={"width": 400, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != report.as_uri() else None)
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    yield page
    assert said == []
    page.close()


def test_the_page_is_light_and_quick(page: Any, report: Path) -> None:
    assert report.stat().st_size < BYTES
    milliseconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < milliseconds < 1000 * SECONDS


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_stands_out_of_the_page(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # What is wider than the page scrolls by itself; no picture is cut.
    wide = page.evaluate(
        "[...document.querySelectorAll('svg, p, li, h1, h2, h3, figcaption')]"
        f".filter(one => one.getBoundingClientRect().right > {width}).length"
    )
    assert wide == 0
    assert page.evaluate("document.querySelectorAll('svg').length") > 20


def test_words_of_pictures_can_be_read_on_a_telephone(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map(one =>"
        " parseFloat(getComputedStyle(one).fontSize) * Math.hypot(one.getScreenCTM().a, one.getScreenCTM().b)))"
    )
    assert smallest > 8


def test_a_click_or_a_key_sorts_and_the_floor_stays(page: Any) -> None:
    table = page.locator("table.sort").first
    column = "[...document.querySelector('table.sort').tBodies[0].rows].map(row => Number(row.cells[5].dataset.v))"
    names = "[...document.querySelector('table.sort').tBodies[0].rows].map(row => row.cells[0].textContent)"
    head = table.locator("thead th").nth(5)
    before = page.evaluate(column)
    assert len(set(before)) == 10
    head.locator("button").click()
    assert page.evaluate(column) == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").press("Enter")
    assert page.evaluate(column) == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    table.locator("thead th").nth(0).locator("button").click()
    assert page.evaluate(names) == sorted(METHODS)
    assert head.get_attribute("aria-sort") is None
    assert table.locator("tfoot tr").all_text_contents()[0].startswith("random order")


def test_without_scripts_the_tables_are_plain(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("thead button").count() == 0
    assert page.locator("table.sort").first.locator("tbody tr").count() == 10
    context.close()
