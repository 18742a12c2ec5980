"""The jobs panel as people use it: in a real JupyterLab, in Chromium, over real runs, without the internet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import free_port
from tests.scheduling.test_runs import write
from workbench import Workbench
from workbench.lake import Lake
from workbench.services import Lab
from workbench.settings import Settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
EVIL = """from IPython.display import HTML, display
print("fourty-two, " * 3)
display(HTML('<script>top.document.title = "taken"; document.title = "taken"</script><img src="http://outside.example/x.png">'
             '<b id="bold">bold of the notebook</b>'))"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture
def page(workspace: Path, lake: Lake, lake_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A notebook with the panel in JupyterLab, run: jobs of every kind behind it. It may ask nobody but its own server."""
    from playwright.sync_api import sync_playwright

    monkeypatch.setenv("SKYGRAPH_CLICKHOUSE_URL", lake_url)
    settings = Settings.load(workspace, environ={}, clickhouse_url=lake_url, lab_port=free_port())
    bench = Workbench(settings)
    write(workspace / "notebooks/jobs/shows.ipynb", EVIL, parameters="times = 3")
    write(workspace / "notebooks/jobs/fails.ipynb", "1 / 0", parameters="x = 1")
    (workspace / "sync_jobs/tables.yml").write_text(
        'jobs:\n  shows: {notebook: jobs/shows.ipynb, every: 1 hour}\n  fails: {notebook: jobs/fails.ipynb, at: "02:00"}\n'
        "  never: {notebook: jobs/shows.ipynb, after: shows}\n", encoding="utf-8",
    )  # fmt: skip
    bench.run("shows")
    bench.run("fails")
    bench.close()
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (SkyGraph)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell("import workbench as sg\n\nsg.connect().jobs_panel()")]
    (workspace / "notebooks/explore").mkdir()
    nbformat.write(notebook, workspace / "notebooks/explore/look.ipynb")
    lab = Lab(settings, notebook="notebooks/explore/look.ipynb")
    lab.start()
    try:
        while not lab.ready():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
            page = browser.new_page(viewport={"width": 1500, "height": 1050})
            page.set_default_timeout(240_000)
            outside: list[Any] = []
            wrong: list[str] = []
            home = f"http://localhost:{lab.port}"
            page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:", "about:")) else outside.append(r))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(lab.url.replace("?token", "?reset&token"))
            page.wait_for_selector("text=Python 3 (SkyGraph) | Idle", timeout=400_000)
            page.click("text=Run >> nth=0")
            page.click("text=Run All Cells")
            page.wait_for_selector(".sjp-job[data-job=shows] .sjp-chip:has-text('ok')", timeout=400_000)
            try:
                yield page
            finally:
                page.screenshot(path=str(tmp_path / "jobs.png"))
                asked = [r.url for r in outside if r.failure != "csp"]  # the frame's policy ends a request before it is sent
                browser.close()
            assert asked == []
            assert wrong == []
    finally:
        lab.stop()


def test_a_person_sees_what_failed_and_opens_the_output_of_a_run(page: Any, workspace: Path, tmp_path: Path) -> None:
    assert page.locator(".sjp-job").count() == 3
    assert "ZeroDivisionError: division by zero" in page.inner_text(".sjp-job[data-job=fails] .sjp-error")
    assert page.inner_text(".sjp-job[data-job=never] .line") == "no run yet"
    assert "the scheduler does not run" in page.inner_text(".sjp-note")

    # a click on a bar opens the output of that run; nothing in it runs, and it asks nobody
    page.click(".sjp-job[data-job=shows] .run .bar")
    page.wait_for_selector(".sjp iframe")
    frame = page.frame_locator(".sjp iframe")
    frame.locator("#bold").wait_for()
    assert "fourty-two" in frame.locator("body").inner_text()
    assert page.get_attribute(".sjp iframe", "sandbox") == ""
    assert "taken" not in page.title()
    page.screenshot(path=str(tmp_path / "jobs_output.png"))

    # by the keyboard: the runs of another job, its run, and away again
    page.focus(".sjp-job[data-job=fails] button.name")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sjp-detail-top b:has-text('fails')")
    page.focus(".sjp-runs td button")
    page.keyboard.press("Enter")
    page.frame_locator(".sjp iframe").locator("text=ZeroDivisionError >> nth=0").wait_for()
    page.click("[aria-label='close the runs']")
    page.wait_for_selector(".sjp-detail", state="hidden")

    # what is saved counts by itself
    plan = workspace / "sync_jobs/tables.yml"
    plan.write_text(plan.read_text(encoding="utf-8").replace("never:", "later:"), encoding="utf-8")
    page.wait_for_selector(".sjp-job[data-job=later]")
