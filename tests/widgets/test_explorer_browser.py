"""The explorer as people use it: in a real JupyterLab, in Chromium, over the Chinook shop, without the internet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import copy_workspace, free_port
from workbench import Workbench
from workbench.services import Lab
from workbench.settings import Settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture
def shop(built_shop: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the shop's files over its lake, with a notebook that shows the explorer, for kernels started from here."""
    folder = copy_workspace(tmp_path / "shop")
    at = built_shop.lake.address
    url = f"http://{at.user}:{at.password}@{at.host}:{at.port}"
    monkeypatch.setenv("SKYGRAPH_CLICKHOUSE_URL", url)
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (SkyGraph)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell("%skygraph objects")]
    nbformat.write(notebook, folder / "notebooks/explore/look.ipynb")
    return Settings.load(folder, environ={}, clickhouse_url=url, lab_port=free_port())


@pytest.fixture
def page(shop: Settings, tmp_path: Path) -> Iterator[Any]:
    """The notebook in JupyterLab, run: a page whose explorer is drawn. It may ask nobody but its own server."""
    from playwright.sync_api import sync_playwright

    lab = Lab(shop, notebook="notebooks/explore/look.ipynb")
    lab.start()
    try:
        while not lab.ready():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
            page = browser.new_page(viewport={"width": 1680, "height": 1050})
            outside: list[str] = []
            wrong: list[str] = []
            home = f"http://localhost:{lab.port}"
            page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else outside.append(r.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(lab.url.replace("?token", "?reset&token"))
            page.wait_for_selector("text=Python 3 (SkyGraph) | Idle", timeout=90_000)
            page.click("text=Run >> nth=0")
            page.click("text=Run All Cells")
            page.wait_for_selector(".sgx-types .count:has-text('3,503')", timeout=90_000)
            try:
                yield page
            finally:
                page.screenshot(path=str(tmp_path / "explorer.png"))
                browser.close()
            assert outside == []
            assert wrong == []
    finally:
        lab.stop()


def test_a_person_finds_filters_follows_opens_and_draws(page: Any, shop: Settings) -> None:
    def shows(command: str) -> None:
        page.wait_for_function("text => document.querySelector('.sgx-command').textContent === text", arg=command, timeout=20_000)

    def key(name: str) -> None:
        page.keyboard.press(name)

    # the types and their links are drawn; one is chosen
    assert page.locator(".sgx-type").count() == 10
    page.click(".sgx-types button:has-text('Customer')")
    page.wait_for_selector(".sgx-count:has-text('59 objects')")
    shows("%skygraph objects Customer")
    page.click("[aria-label^=Back]")
    page.wait_for_selector(".sgx-type[aria-label='Customer, 59']")
    page.click("[aria-label^=Forward]")
    page.wait_for_selector(".sgx-count:has-text('59 objects')")

    # filter by a facet's bar, sort by a header, follow the whole set
    page.click(".sgx-bar:has-text('Brazil')")
    page.wait_for_selector(".sgx-count:has-text('5 objects')")
    page.click("[data-sort=total_spent]")
    page.wait_for_selector("[aria-sort=ascending]")
    page.click("[data-sort=total_spent]")
    shows("%skygraph objects 'Customer[country=Brazil]' --sort=-total_spent")
    assert page.inner_text("[data-row='0'] .first") == "Luís Gonçalves"
    page.click(".sgx-chip[data-link=invoices]")
    page.wait_for_selector(".sgx-count:has-text('35 objects')")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices'")

    # a filter by the form, taken away by the keyboard
    page.click(".sgx-add")
    page.select_option("[aria-label=property]", "total")
    page.select_option("[aria-label=operator]", ">")
    page.fill("[aria-label=value]", "5")
    key("Enter")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices[total>5]'")
    page.wait_for_selector(".sgx-form", state="detached")
    page.focus(".sgx-pill")
    key("Delete")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices'")

    # back and forward
    page.click("[aria-label^=Back]")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices[total>5]'")
    page.click("[aria-label^=Forward]")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices'")

    # by the keyboard alone: to the second row, open its card, go on, close, search
    page.focus(".sgx-grid")
    second, third = (page.inner_text(f"[data-row='{i}'] .first") for i in (1, 2))
    key("ArrowDown")
    key("Enter")
    shows(f"%skygraph object Invoice {second}")
    key("ArrowDown")
    shows(f"%skygraph object Invoice {third}")
    key("Escape")
    page.wait_for_selector(".sgx-card", state="hidden")
    key("/")
    page.keyboard.type("nobody")
    page.wait_for_selector(".sgx-empty:has-text('No Invoice meets this')")
    key("Escape")
    shows("%skygraph objects 'Customer[country=Brazil]/invoices'")

    # a card, and from it the graph, which grows on a click
    page.click(".sgx-types button:has-text('Customer')")
    page.click("[data-row='3'] .first")
    page.wait_for_selector(".sgx-card h3:has-text('Bjørn Hansen')")
    page.click(".sgx-card-tools button:has-text('Graph')")
    page.wait_for_selector(".sgx-hub[aria-label='link invoices, 7 objects']")
    page.wait_for_selector(".sgx-object[aria-label='Employee Margaret Park']")
    page.wait_for_selector(".sgx-more[aria-label='33 more']")
    drawn = page.locator(".sgx-node").count()
    page.focus(".sgx-object[aria-label='Employee Margaret Park']")
    key("Enter")
    page.wait_for_selector(".sgx-hub[aria-label='link customers, 20 objects']")
    page.wait_for_selector(".sgx-card h3:has-text('Margaret Park')")
    assert page.locator(".sgx-node").count() > drawn
    key("Escape")
    key("Escape")
    page.wait_for_selector(".sgx-svg", state="detached")

    # thousands of rows, a few of them in the page
    page.click(".sgx-types button:has-text('Track')")
    page.wait_for_selector(".sgx-count:has-text('3,503 objects')")
    for read in range(200, 701, 100):
        page.evaluate("() => { const grid = document.querySelector('.sgx-grid'); grid.scrollTop = grid.scrollHeight }")
        page.wait_for_selector(f".sgx-shown:has-text('{read} of 3,503')")
    assert page.locator(".sgx-tr").count() < 60

    # a save of the YAML in the kernel's workspace: the types are new by themselves; a wrong one is said with its line
    path = shop.workspace / "ontology/objects/track.yml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("description: A song or an episode on sale.", "description: Something to hear."), encoding="utf-8")
    page.wait_for_selector(".sgx-banner.news:has-text('changed Track')", timeout=20_000)
    page.wait_for_selector(".sgx-about:has-text('Something to hear.')")
    path.write_text(good + "colour: red\n", encoding="utf-8")
    page.click(".sgx-banner.bad summary", timeout=20_000)
    assert f"ontology/objects/track.yml:{len(good.splitlines()) + 1}" in page.inner_text(".sgx-banner.bad")
    path.write_text(good, encoding="utf-8")
    page.wait_for_selector(".sgx-banner.bad", state="detached", timeout=20_000)


def test_an_answer_for_a_place_that_was_left_does_not_come_and_the_keyboard_stays_inside(page: Any) -> None:
    from playwright.sync_api import TimeoutError

    def focused() -> str:
        return str(page.evaluate("() => document.activeElement.className.toString()"))

    # another type is chosen before the card of an object has come
    page.click(".sgx-types button:has-text('Customer')")
    page.wait_for_selector(".sgx-count:has-text('59 objects')")
    page.evaluate(
        "() => { document.querySelector(\"[data-row='1'] .first\").click();"
        " [...document.querySelectorAll('.sgx-types button')].find((one) => one.textContent.includes('Album')).click() }"
    )
    page.wait_for_selector(".sgx-facet:has-text('track_count')")
    page.wait_for_selector(".sgx:not(.busy)")
    assert page.is_hidden(".sgx-card")
    assert page.inner_text(".sgx-command") == "%skygraph objects Album"

    # what was chosen keeps the keyboard, though it is drawn anew; keys work from there
    page.focus(".sgx-types button:has-text('Customer')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgx-count:has-text('59 objects')")
    assert "Customer" in page.evaluate("() => document.activeElement.textContent")
    page.keyboard.press("/")
    assert focused() == "sgx-search"
    page.focus(".sgx-bar:has-text('Brazil')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgx-count:has-text('5 objects')")
    assert focused() == "sgx-grid"

    # the next row's card is on its way when the card is closed: it stays closed
    page.keyboard.press("Enter")
    page.wait_for_selector(".sgx-card h3")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    page.wait_for_selector(".sgx-card", state="hidden")
    with pytest.raises(TimeoutError):
        page.wait_for_selector(".sgx-card", timeout=600)

    # the kernel is started anew: the explorer says so, and waits for nothing
    page.click("text=Kernel >> nth=0")
    page.click(".lm-Menu-itemLabel:text-is('Restart Kernel…')")
    with page.expect_response(lambda answer: answer.url.partition("?")[0].endswith("/restart"), timeout=60_000):
        page.click(".jp-Dialog button:has-text('Restart')")
    page.click(".sgx-types button:has-text('Track')")
    page.wait_for_selector(".sgx-problem:has-text('The kernel of this explorer has ended')")
    assert page.locator(".sgx.busy").count() == 0

    # the text of one object opens its card at once
    page.click(".jp-Cell .cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("import workbench as sg; sg.connect().explorer('Customer[customer_id=4]')")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".sgx-card h3:has-text('Bjørn Hansen')", timeout=60_000)
    assert page.inner_text(".sgx-command") == "%skygraph object Customer 4"
