"""Dashboards in Chromium, with everything outside this machine blocked."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.dashboards.conftest import Pages

pytestmark = pytest.mark.browser
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
READY = "document.documentElement.dataset.skyReady === 'yes'"
PATIENCE_MS = 40_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, pages: Pages) -> Iterator[Any]:
    """A page of a new visitor; `page.outside` are the addresses beyond this server that it asked for, `page.wrong` its errors."""
    context = chromium.new_context(viewport={"width": 1300, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.outside, opened.wrong = [], []

    def gate(route: Any) -> None:
        if route.request.url.startswith((pages.url, "blob:", "data:")):
            route.continue_()
        else:
            opened.outside.append(route.request.url)
            route.abort()

    context.route("**/*", gate)
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    yield opened
    context.close()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("overview", ["Freshness", "invoices", "Tables synced", "11 of 11", "No job has run yet"]),
        ("sales", ["Revenue by month", "Iron Maiden", "USA", "Helena Holý", "USD"]),
        ("twin", ["opening", "1 of 1", "10 object types"]),
        ("explorer", ["Customer", "InvoiceLine", "10 object types"]),
    ],
)
def test_every_dashboard_opens_with_nothing_from_outside(page: Any, pages: Pages, name: str, shown: list[str]) -> None:
    page.goto(f"{pages.url}/{name}")
    page.wait_for_function(READY, timeout=PATIENCE_MS)
    for text in shown:
        page.wait_for_function("t => document.getElementById('rendered_cells').innerText.includes(t)", arg=text, timeout=PATIENCE_MS)
    stamp = page.locator("#sky-stamp .sgb-stamp")
    first = stamp.inner_text()
    assert re.search(r"data as of .+ ago", first)
    page.wait_for_function("t => document.querySelector('.sgb-stamp').innerText !== t", arg=first, timeout=PATIENCE_MS)  # it counts up
    assert not page.outside
    assert not page.wrong
    assert not page.locator(
        ".sgb-card.wrong, .sgb-banner.on, .jp-RenderedText[data-mime-type*=stderr], #sky-trouble:not(:empty)"
    ).all_inner_texts()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"


def test_filters_are_in_the_address_and_rows_can_be_saved(page: Any, pages: Pages, tmp_path: Path) -> None:
    page.goto(f"{pages.url}/sales?country=Brazil&period=12")
    page.wait_for_function(READY, timeout=PATIENCE_MS)
    ranks = page.locator("[data-part=p3] .name")
    assert ranks.all_inner_texts() == ["Brazil"]
    page.locator("select[data-filter=country]").select_option("USA")
    page.wait_for_function("document.querySelector('.sgb').dataset.shown === '2'", timeout=PATIENCE_MS)
    assert page.url == f"{pages.url}/sales?country=USA&period=12"
    assert ranks.all_inner_texts() == ["USA"]
    with page.expect_download() as started:
        page.get_by_label("Download Customers as CSV").click()
    started.value.save_as(tmp_path / "customers.csv")
    with open(tmp_path / "customers.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["country"] for row in rows} == {"USA"}
    revenue = page.locator("[data-part=p1] .value").first.inner_text()
    assert sum(float(row["revenue"]) for row in rows) == pytest.approx(float(revenue.removesuffix("USD")))
    page.goto(f"{pages.url}/sales?country=Atlantis")
    page.get_by_text("there is no 'Atlantis'").wait_for(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("Iron Maiden").wait_for(timeout=PATIENCE_MS)
    assert page.url == f"{pages.url}/sales"


def test_a_page_whose_kernel_hangs_is_asked_for_again(page: Any, pages: Pages) -> None:
    """The kernels that are ready stop as one that hangs does; the page gives up on its own after half a minute of no progress."""
    page.clock.install()
    page.goto(f"{pages.url}/")  # whatever was opened before has its successor by now, or gets it while it hangs
    hanging = [kernel for kernel in psutil.Process(pages.pid).children(recursive=True)]
    try:
        for kernel in hanging:
            kernel.suspend()
        page.goto(f"{pages.url}/twin", wait_until="commit")
        page.wait_for_selector(".sky-header", timeout=PATIENCE_MS)
        assert not page.evaluate(READY)
        with page.expect_navigation(wait_until="commit", timeout=PATIENCE_MS):
            page.clock.run_for(31_000)
        page.clock.resume()
        page.wait_for_function(READY, timeout=PATIENCE_MS)
        page.get_by_text("1 of 1").wait_for(timeout=PATIENCE_MS)
    finally:
        for kernel in hanging:
            if kernel.is_running():
                kernel.resume()


def test_a_page_whose_widgets_cannot_be_drawn_is_asked_for_again(page: Any, pages: Pages) -> None:
    """Of many pages opened at once, some are not told their widgets in time; seen with ten at once, and here as they look then."""
    page.add_init_script("""
        if (!sessionStorage.getItem("seen")) addEventListener("DOMContentLoaded", () => {
            sessionStorage.setItem("seen", "1");
            const widget = document.createElement("div");
            widget.className = "jupyter-widgets";
            widget.textContent = "Error displaying widget: model not found";
            document.body.append(widget);
        });
    """)
    with page.expect_event("framenavigated", lambda frame: page.evaluate("sessionStorage.getItem('seen')") == "1", timeout=PATIENCE_MS):
        page.goto(f"{pages.url}/twin", wait_until="commit")
    page.wait_for_function(READY, timeout=PATIENCE_MS)
    page.get_by_text("1 of 1").wait_for(timeout=PATIENCE_MS)
    assert not page.get_by_text("Error displaying widget").count()
