"""The inspector as people use it: in a real JupyterLab, in Chromium, on a table that a sync writes and merges rearrange meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import free_port
from workbench import Workbench
from workbench.lake import Lake
from workbench.services import Lab
from workbench.settings import Settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
ROWS = 100_000
PLAN = """\
sources:
  shop: {connector: sqlite, path: data/shop.db}
tables:
  orders: {source: shop, key: id, watermark: updated_at, every: 5 minutes}
"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture
def bench(lake: Lake, lake_url: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """Orders that were synced three times, one of them changed each time; a notebook that inspects them."""
    (workspace / "sync_jobs/tables.yml").write_text(PLAN, encoding="utf-8")
    (workspace / "data").mkdir()
    db = sqlite3.connect(workspace / "data/shop.db", isolation_level=None)
    db.execute("create table orders (id integer primary key, customer text, status text, amount decimal(10,2), updated_at datetime)")
    db.execute(
        f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) insert into orders "
        "select i, 'customer <b>' || (i % 997) || '</b>', 'new', (i * 7919 % 100000) / 100.0, "
        "datetime('2024-01-01', '+' || i || ' seconds') from n"
    )
    monkeypatch.setenv("SKYGRAPH_CLICKHOUSE_URL", lake_url)
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(workspace / "lab settings"))  # the theme that is chosen is nobody else's
    made = Workbench(Settings.load(workspace, environ={}, clickhouse_url=lake_url, lab_port=free_port()))
    made.sync()
    for n, status in enumerate(("paid", "shipped"), 1):
        db.execute(
            f"update orders set status = '{status}', updated_at = datetime('2025-01-0{n}', '+' || id || ' seconds') where id % 20000 = 7"
        )
        if n == 2:
            db.execute("delete from orders where id % 10000 = 1")
        made.sync()
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (SkyGraph)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell("%load_ext workbench\n%skygraph inspect orders")]
    nbformat.write(notebook, workspace / "notebooks/look.ipynb")
    yield made
    db.close()
    made.close()


class Writer:
    """What goes on meanwhile: syncs of many changes, and merges, over and over until it is told to stop."""

    def __init__(self, bench: Workbench) -> None:
        self.bench, self.enough, self.failures = bench, threading.Event(), list[str]()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.sync, self.merge)]

    def sync(self) -> None:
        db = sqlite3.connect(self.bench.settings.workspace / "data/shop.db", isolation_level=None)
        day = 0
        while not self.enough.is_set():
            day += 1
            db.execute(f"update orders set amount = amount + 1, updated_at = datetime('2025-02-01', '+{day} days') where id % 5 = 0")
            self.failures += [run.error for run in self.bench.sync("orders").runs if run.error]
        db.close()

    def merge(self) -> None:
        while not self.enough.is_set():
            self.bench.lake.command("optimize table raw.orders final")

    def stop(self) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join(300)


@pytest.fixture
def page(bench: Workbench, tmp_path: Path) -> Iterator[Any]:
    """The notebook in JupyterLab, run. The page may ask nobody but its own server."""
    from playwright.sync_api import sync_playwright

    lab = Lab(bench.settings, notebook="notebooks/look.ipynb")
    lab.start()
    try:
        while not lab.ready():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
            page = browser.new_page(viewport={"width": 1480, "height": 1000})
            page.set_default_timeout(120_000)
            outside: list[str] = []
            wrong: list[str] = []
            home = f"http://localhost:{lab.port}"
            page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else outside.append(r.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(lab.url.replace("?token", "?reset&token"))
            page.wait_for_selector("text=Python 3 (SkyGraph) | Idle", timeout=180_000)
            page.click("text=Run >> nth=0")
            page.click("text=Run All Cells")
            page.wait_for_selector(".sgi.live", timeout=180_000)
            try:
                yield page
            finally:
                page.screenshot(path=str(tmp_path / "inspector.png"))
                browser.close()
            assert outside == []
            assert wrong == []
    finally:
        lab.stop()


def test_a_person_looks_into_a_table_while_a_sync_runs(page: Any, bench: Workbench, tmp_path: Path) -> None:
    from playwright.sync_api import TimeoutError

    # rows, counted both ways
    page.wait_for_selector(".sgi-legend:has-text('current')")
    assert "deletion marks" in page.inner_text(".sgi-legend")
    assert "too high" in page.inner_text(".sgi-verdict >> nth=0")

    # by the keyboard to the keys: one is chosen, and its life stands side by side, with what differs marked
    page.focus(".sgi-tabs [data-tab=rows]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".sgi-list [role=option]")
    page.focus(".sgi-list [role=option] >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgi-life thead th:nth-child(4)")
    page.fill(".sgi input[aria-label=key]", "20007")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgi-said:has-text('20007')")
    assert page.locator(".sgi-life mark[title='was paid']").inner_text() == "shipped"
    assert page.locator(".sgi-life .about:has-text('run') td:has-text('incremental')").count() == 2
    assert page.locator(".sgi b:has-text('997')").count() == 0  # a value is text, never a tag
    page.screenshot(path=str(tmp_path / "keys.png"))
    page.fill(".sgi input[aria-label=key]", "nobody'; drop table")
    page.keyboard.press("Enter")
    page.wait_for_selector('.sgi-problem:has-text("unknown key of raw.orders")')

    # parts, while a sync runs: they come, merges take them, and the picture follows without a click
    page.click(".sgi-tabs [data-tab=parts]")
    page.wait_for_selector(".sgi-map canvas")
    page.wait_for_selector(".sgi-ends:has-text('parts over each')")
    before = page.inner_text(".sgi-strip b >> nth=0")
    writer = Writer(bench)
    for thread in writer.threads:
        thread.start()
    try:
        page.wait_for_selector(".sgi-run:has-text('sync is writing')", timeout=300_000)
        page.wait_for_selector(".sgi-parts tr.fresh", timeout=300_000)
        page.screenshot(path=str(tmp_path / "parts.png"))
        page.wait_for_selector(".sgi-merge .track", timeout=300_000)
        page.screenshot(path=str(tmp_path / "merges.png"))
        page.wait_for_function("was => document.querySelector('.sgi-strip b').textContent !== was", arg=before, timeout=300_000)
    finally:
        writer.stop()
    assert writer.failures == []
    page.wait_for_selector(".sgi-calm", timeout=300_000)

    # when nobody looks, nothing is asked
    looks = "() => Number(document.querySelector('.sgi').dataset.now)"
    page.evaluate("() => { document.querySelector('.sgi').style.display = 'none' }")
    page.wait_for_function(
        "() => { const n = document.querySelector('.sgi').dataset.now; const was = window.sgiWas; window.sgiWas = n; return n === was }",
        polling=1_000,
    )
    stood = page.evaluate(looks)
    with pytest.raises(TimeoutError):
        page.wait_for_function("was => Number(document.querySelector('.sgi').dataset.now) > was", arg=stood, timeout=5_000)
    page.evaluate("() => { document.querySelector('.sgi').style.display = '' }")
    page.wait_for_function("was => Number(document.querySelector('.sgi').dataset.now) > was", arg=stood)

    # the dark theme; columns and DDL; sync
    page.click("text=Settings >> nth=0")
    page.hover(".lm-Menu-itemLabel:text-is('Theme')")
    page.click(".lm-Menu-itemLabel:text-is('JupyterLab Dark')")
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    page.screenshot(path=str(tmp_path / "dark.png"))
    page.click(".sgi-tabs [data-tab=schema]")
    page.wait_for_selector(".sgi-ddl:has-text('ReplacingMergeTree')")
    page.click(".sgi-tabs [data-tab=sync]")
    page.wait_for_selector(".sgi-panel:has-text('incremental')")
    page.click(".sgi-tabs [data-tab=keys]")
    page.fill(".sgi input[aria-label=key]", "20007")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgi-said:has-text('20007')")
    page.screenshot(path=str(tmp_path / "dark_keys.png"))

    # the table goes away under it: said, not broken; and it comes back
    bench.lake.command("rename table raw.orders to raw.elsewhere")
    page.wait_for_selector(".sgi-problem:has-text(\"unknown table 'raw.orders'\")", timeout=60_000)
    bench.lake.command("rename table raw.elsewhere to raw.orders")
    page.wait_for_selector(".sgi-problem", state="hidden", timeout=60_000)
