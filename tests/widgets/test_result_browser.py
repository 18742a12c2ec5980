"""The grid of an answer as people use it: in a real JupyterLab, in Chromium, without the internet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import copy_workspace, free_port
from workbench.lake import Lake
from workbench.services import Lab
from workbench.settings import Settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

# a browser on a busy machine: what it waits for is said, not how long it takes
PATIENCE_MS = 300_000
SLOW_START = "[anywidget] Failed to initialize model."  # anywidget gives a widget two seconds

CELLS = [
    "least = 10",
    """%%skygraph sql trips
select number as trip_id, ['Berlin', '<b>Oslo</b>', ''][number % 3 + 1] as city,
  if(number % 7 = 0, null, toDecimal64(number % 1000, 2)) as fare, repeat('far ', 300) as note
from numbers(400000) where number >= {least:UInt8}""",
    "%%skygraph sql wide\nselect "
    + ", ".join(f"trip_id * {i} as column_{i}" for i in range(300))
    + " from {trips} order by trip_id limit 50",
    "%%skygraph sql none\nselect trip_id from {trips} where trip_id < 0",
]


@pytest.fixture
def page(lake: Lake, lake_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The cells in JupyterLab, run. It may ask nobody but its own server."""
    from playwright.sync_api import sync_playwright

    folder = copy_workspace(tmp_path / "shop")
    monkeypatch.setenv("SKYGRAPH_CLICKHOUSE_URL", lake_url)
    # all cells are in the page, not only those in view
    settings = tmp_path / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}', encoding="utf-8")
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "settings"))
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (SkyGraph)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(notebook, folder / "notebooks/explore/ask.ipynb")
    lab = Lab(Settings.load(folder, environ={}, clickhouse_url=lake_url, lab_port=free_port()), notebook="notebooks/explore/ask.ipynb")
    lab.start()
    try:
        while not lab.ready():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PATIENCE_MS)
            outside: list[str] = []
            wrong: list[str] = []
            home = f"http://localhost:{lab.port}"
            page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else outside.append(r.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(lab.url.replace("?token", "?reset&token"))
            page.wait_for_selector("text=Python 3 (SkyGraph) | Idle")
            page.click("text=Run >> nth=0")
            page.click("text=Run All Cells")
            try:
                yield page
            finally:
                page.screenshot(path=str(tmp_path / "result.png"))
                browser.close()
            assert outside == []
            assert [error for error in wrong if SLOW_START not in error] == []
    finally:
        lab.stop()


def test_a_person_scrolls_sorts_sums_reads_a_row_and_saves(page: Any, tmp_path: Path, lake: Lake) -> None:
    grid, wide, none = (page.locator(".sgr").nth(i) for i in range(3))

    def told(where: Any, part: str, text: str) -> None:
        where.locator(f"{part}:has-text('{text}')").wait_for()

    # the first rows, and how many there are; what a value says is no HTML, an empty text and no value are told apart
    told(grid, ".sgr-count", "of 399,990, exact")
    told(grid, ".sgr-rest", "current rows")
    assert grid.locator("[data-row='0'] [role=gridcell]").all_inner_texts()[:3] == ["10", "<b>Oslo</b>", "10.00"]
    assert grid.locator("[data-row='4'] .null.n").inner_text() == "NULL"
    assert grid.locator("[data-row='1'] .null").inner_text() == "''"
    assert grid.locator("b:has-text('Oslo')").count() == 0
    assert lake.tables("skygraph_results") == []

    # far down: more rows than a browser can stack; few of them are in the page
    grid.locator(".sgx-grid").evaluate("node => { node.scrollTop = node.scrollHeight }")
    grid.locator("[data-row='399989'] [role=gridcell]:has-text('399999')").wait_for()
    told(grid, ".sgr-count", "–399,990 of 399,990, exact")
    assert grid.locator(".sgx-tr").count() < 40
    assert len(lake.tables("skygraph_results")) == 1
    grid.locator(".sgx-grid").hover()
    page.mouse.wheel(0, -300)  # ten rows up, though the bar stands for four hundred thousand
    grid.locator("[data-row='399970']").wait_for()

    # an order of all rows
    grid.locator("[data-sort=trip_id]").click()
    grid.locator("[aria-sort=ascending]").wait_for()
    grid.locator("[data-sort=trip_id]").click()
    grid.locator("[aria-sort=descending]").wait_for()
    told(grid, ".sgr-rest", "all rows sorted by trip_id ↓")
    assert grid.locator("[data-row='0'] .first").inner_text() == "399999"

    # a row in full, the next one by the keyboard
    grid.locator("[data-row='0'] [aria-colindex='3']").dblclick()
    told(grid, ".sgx-card h3", "Row 1")
    assert len(grid.locator(".sgx-card dd").nth(3).inner_text().strip()) > 1100
    grid.locator(".sgx-grid").press("ArrowDown")
    told(grid, ".sgx-card h3", "Row 2")
    page.keyboard.press("Escape")
    grid.locator(".sgx-card").wait_for(state="hidden")

    # sums of the column that the keyboard is in
    page.keyboard.press("s")
    told(grid, ".sgx-card", "over all 399,990 rows")
    said = grid.locator(".sgx-card dl").inner_text().split("\n")
    facts = dict(zip(said[::2], said[1::2], strict=False))
    (row,) = lake.rows("select sum(if(number % 7 = 0, null, toDecimal64(number % 1000, 2))) as s from numbers(10, 399990)")
    assert facts["sum"] == f"{row['s']:,}"

    # a file of all rows, written beside the notebook
    grid.locator("select[aria-label^=save]").select_option("csv")
    told(grid, ".sgx-said", "wrote trips.csv")
    (file,) = tmp_path.glob("shop/**/trips.csv")
    assert file.read_bytes().count(b"\n") == 399_991

    # three hundred columns, of which those in view are drawn; and nothing
    told(wide, ".sgr-count", "of 50, exact")
    assert wide.locator("[data-row='0'] [role=gridcell]").count() < 40
    wide.locator(".sgx-grid").evaluate("node => { node.scrollLeft = node.scrollWidth }")
    wide.locator("[data-row='0'] [aria-colindex='300']:has-text('2,990')").wait_for()
    told(none, ".sgr-none", "no rows")
