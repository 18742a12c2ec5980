"""The notebooks: they run, they are stored without output, and the first one works in a real JupyterLab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import REPOSITORY, free_port
from tests.journey.conftest import Shop
from workbench.services import Lab
from workbench.settings import Settings

NOTEBOOKS = sorted(p.relative_to(REPOSITORY) for p in REPOSITORY.glob("**/notebooks/**/*.ipynb") if ".venv" not in p.parts)
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_a_notebook_is_stored_without_output(path: Path) -> None:
    notebook = nbformat.read(REPOSITORY / path, as_version=4)
    nbformat.validate(notebook)
    assert [c.id for c in notebook.cells if c.cell_type == "code" and (c.outputs or c.execution_count)] == []


@pytest.mark.parametrize(("name", "cells"), [("quickstart", 10), ("objects", 5)])
def test_a_notebook_on_the_sample_passes_under_nbval(told: tuple[Shop, Any], name: str, cells: int) -> None:
    shop, _ = told
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=120", "-p", "no:cacheprovider", "-q", "-W", "ignore",
         "--rootdir", str(shop.folder), f"notebooks/explore/{name}.ipynb"],
        cwd=shop.folder, env={**shop.environ, "IPYTHONDIR": str(shop.folder / ".ipython")}, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= cells


def test_the_law_notebook_passes_under_nbval(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "notebooks/explore/the_law.ipynb", tmp_path)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SKYGRAPH_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=120", "-p", "no:cacheprovider", "-q", "-W", "ignore",
         "--rootdir", str(tmp_path), "the_law.ipynb"],
        cwd=tmp_path, env={**environ, "PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(tmp_path / ".ipython")}, text=True,
        capture_output=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 9


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_quickstart_runs_in_jupyterlab(told: tuple[Shop, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    shop, _ = told
    with closing(shop.bench()) as bench:
        newest = bench.moments()[-1]["label"]
    for name, value in shop.environ.items():
        if name.startswith("SKYGRAPH_"):
            monkeypatch.setenv(name, value)
    # all cells are in the page, not only those in view
    settings = tmp_path / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}', encoding="utf-8")
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "settings"))
    lab = Lab(Settings.load(shop.folder, environ={}, lab_port=free_port()), notebook="notebooks/explore/quickstart.ipynb")
    lab.start()
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    )
    try:
        while not lab.ready():
            pass
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags.split())
            page = browser.new_page(viewport={"width": 1500, "height": 1100})
            outside: list[str] = []
            home = f"http://localhost:{lab.port}"
            page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else outside.append(r.url))
            page.goto(lab.url.replace("?token", "?reset&token"))
            page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
            page.wait_for_selector("text=Python 3 (SkyGraph) | Idle", timeout=90_000)
            page.click("text=Run >> nth=0")
            page.click("text=Run All Cells")
            page.wait_for_function(_ALL_DONE, timeout=180_000)
            # the inspector has read its table, and the twin its snapshots
            page.wait_for_selector(".sgi-legend:has-text('current')", timeout=60_000)
            page.wait_for_selector(f".sgw[data-at] .sgt-said b:has-text('{newest}')", timeout=60_000)
            texts = page.inner_text(".jp-Notebook")
            page.screenshot(path=str(tmp_path / "quickstart.png"))
            browser.close()
    finally:
        lab.stop()
    assert "Traceback" not in texts
    assert "UsageError" not in texts
    for seen in ("Explorer", "raw.tracks", "2012-01-02 17:44:58", "Audiobooks", "Grunge", "<Workbench of"):
        assert seen in texts, seen
    assert outside == []


# every code cell has its number: it has run
_ALL_DONE = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent);
    return prompts.length > 5 && prompts.every(t => /\\[\\d+\\]/.test(t));
}"""


def test_stale_environment_is_not_needed() -> None:
    """The notebooks name no place of the machine that wrote them."""
    for path in NOTEBOOKS:
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert os.path.expanduser("~") + "/" not in text
