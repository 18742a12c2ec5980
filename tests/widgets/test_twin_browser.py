"""The twin as people use it: on its dashboard in Chromium, read-only, over three snapshots of a shop that changed, without the internet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.conftest import copy_workspace, free_port
from tests.dashboards.conftest import serving
from workbench import Workbench
from workbench.services import Services
from workbench.settings import Settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
WAIT_MS = 120_000

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Artists in three snapshots: one is renamed, then one goes and one comes. A name is hostile."""
    folder = copy_workspace(tmp_path_factory.mktemp("twin") / "shop")
    ports = {"lake_http_port": free_port(), "lake_tcp_port": free_port()}
    bench = Workbench(Settings.load(folder, environ={}, **ports))
    assert bench.lake.embedded is not None
    try:
        bench.lake.create_database("marts")
        names: dict[int, str | None] = {1: "AC/DC", 2: "Accept", 3: "Aerosmith"}
        for label, change in (("one", {}), ("two", {2: "<img src=x onerror=alert(1)>"}), ("three", {3: None, 4: "Apocalyptica"})):
            names |= change
            kept = [(k, v) for k, v in names.items() if v is not None]
            bench.lake.command("create or replace table marts.dim_artists (artist_id Int64, artist_name String, album_count Int64, "
                               "track_count Int64) engine = MergeTree order by artist_id")  # fmt: skip
            columns = {"artist_id": [k for k, _ in kept], "artist_name": [v for _, v in kept]}
            zeros = pa.array([0] * len(kept), pa.int64())
            bench.lake.insert("marts.dim_artists", pa.table({**columns, "album_count": zeros, "track_count": zeros}))
            bench.snapshot("Artist", label=label)
        yield bench
    finally:
        bench.close()
        Services(bench.settings).down()
        bench.lake.embedded.stop()


@pytest.fixture
def page(shop: Workbench, tmp_path: Path) -> Iterator[Any]:
    """The dashboard, at the newest snapshot. It may ask nobody but its own server."""
    from playwright.sync_api import sync_playwright

    with serving(shop.settings.workspace) as pages, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        opened = browser.new_page(viewport={"width": 1500, "height": 1000}, color_scheme="dark")
        outside: list[str] = []
        wrong: list[str] = []
        opened.on("request", lambda r: None if r.url.startswith((pages.url, "data:", "blob:")) else outside.append(r.url))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("dialog", lambda dialog: wrong.append(dialog.message))
        opened.goto(f"{pages.url}/twin?objects=Artist", wait_until="commit", timeout=WAIT_MS)
        opened.wait_for_selector(".sgw[data-at] [data-row='2']", timeout=2 * WAIT_MS)
        try:
            yield opened
        finally:
            opened.screenshot(path=str(tmp_path / "twin.png"), full_page=True)
            browser.close()
        assert outside == []
        assert wrong == []


def test_a_person_moves_in_time_compares_and_reads_a_life(page: Any) -> None:
    def titles(side: str) -> list[str]:
        return list(page.locator(f".sgw-pane.{side} .sgx-tr:not(.more) .first").all_inner_texts())

    def shows(label: str) -> None:
        page.wait_for_function(
            "label => document.querySelector('.sgt-said b').textContent === label && document.querySelector('.sgw').dataset.at"
            " && !document.querySelector('.sgx.busy')",
            arg=label, timeout=WAIT_MS,
        )  # fmt: skip

    def row(side: str, text: str) -> Any:
        return page.wait_for_selector(f".sgw-pane.{side} .sgx-tr:has-text('{text}')", timeout=WAIT_MS)

    shows("three")
    assert titles("at") == ["AC/DC", "<img src=x onerror=alert(1)>", "Apocalyptica"]
    assert page.locator(".sgt-bars rect").count() == 3
    # by the keyboard, to the first; the page's address says where
    page.focus(".sgt input >> nth=0")
    page.keyboard.press("Home")
    row("at", "Accept")
    shows("one")
    assert titles("at") == ["AC/DC", "Accept", "Aerosmith"]
    assert "at=1" in page.url
    # the life of one object, and from it to another time
    page.click(".sgw-pane.at .sgx-tr:has-text('Accept') .first")
    page.wait_for_selector(".sgw-life li", timeout=WAIT_MS)
    assert page.locator(".sgw-life li button").all_inner_texts() == ["two", "one"]
    page.click(".sgw-life button:has-text('two')")
    page.wait_for_selector(".sgw-pane.at .sgx-card h3:has-text('<img')", timeout=WAIT_MS)
    shows("two")
    # two times side by side: what differs is marked on both, and one goes where the other goes
    page.keyboard.press("Escape")
    page.click(".sgt-compare")
    page.wait_for_selector(".sgw-pane.from .sgx-td.was", timeout=WAIT_MS)
    page.wait_for_selector(".sgw-pane.at .sgx-td.was s:has-text('Accept')", timeout=WAIT_MS)
    page.wait_for_selector(".sgw-chip[data-type=Artist]:has-text('~1')", timeout=WAIT_MS)
    page.focus(".sgt input >> nth=0")
    page.keyboard.press("End")
    page.wait_for_selector(".sgw-pane.at .mark-added:has-text('Apocalyptica')", timeout=WAIT_MS)
    page.wait_for_selector(".sgw-pane.from .mark-removed:has-text('Aerosmith')", timeout=WAIT_MS)
    page.click(".sgw-chip[data-type=Artist]")
    page.click(".sgw-open:has-text('Aerosmith')")
    page.wait_for_selector(".sgw-pane.at .sgx-card:has-text('There is no Artist 3 at this time')", timeout=WAIT_MS)
    page.wait_for_selector(".sgw-pane.from .sgx-card h3:has-text('Aerosmith')", timeout=WAIT_MS)
    # and one time again, played from the first
    page.click(".sgt-compare")
    page.wait_for_selector(".sgw-pane.from", state="detached", timeout=WAIT_MS)
    page.click(".sgt-play")
    shows("one")
    shows("three")


def test_nothing_can_be_written_from_the_page(page: Any) -> None:
    assert page.locator(".sgw button:has-text('Take')").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
