"""The dashboards against stock voila: how soon a reader reads, and what it costs, at one reader and at ten.

    python benchmarks/dashboards.py [--readers 1 10] [--notebook sales] [--workspace DIR]

Both serve the same notebook on the same workspace, which has been synced and built (`skygraph demo --no-serve` makes one). Stock voila is
`voila FOLDER` with nothing set, in its owner's environment. Every address beyond this machine is blocked in the browser; how many were
asked for is counted. `title` is when the page's heading can be read, `data` when its tables and charts are drawn; seconds, of the slowest
reader and of the middle one. Memory is the proportional share (PSS) of the server and all its kernels, with the pages open.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from workbench.presence import read_facts  # noqa: E402
from workbench.settings import Settings  # noqa: E402

TITLE = "() => { const h = document.querySelector('h1'); return h !== null && h.offsetParent !== null }"
DATA = "() => document.querySelector('.sgb')?.dataset.shown >= '1'"


@contextmanager
def stock(settings: Settings, port: int) -> Iterator[tuple[str, int, str]]:
    """voila as it comes: address of the server, process, and what stands before and after a notebook's name."""
    words = [sys.executable, "-m", "voila", str(settings.workspace / "notebooks/dashboards"), "--no-browser", f"--port={port}"]
    environ = {**os.environ, "SKYGRAPH_WORKSPACE": str(settings.workspace), "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _answers(f"http://localhost:{port}/"))
        yield f"http://localhost:{port}/voila/render/", process.pid, ".ipynb"
    finally:
        _end(process)


@contextmanager
def ours(settings: Settings, _: int) -> Iterator[tuple[str, int, str]]:
    """The dashboards of the workspace."""
    words = [sys.executable, "-P", "-m", "workbench.dashboards", "--workspace", str(settings.workspace)]
    process = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _until(lambda: read_facts(settings.state_dir / "dashboards") is not None)
        facts = read_facts(settings.state_dir / "dashboards")
        assert facts is not None
        yield f"{facts.url}/", facts.pid, ""
    finally:
        _end(process)


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not start")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    process.kill()


def _memory_mb(pid: int) -> tuple[float, int]:
    """PSS of a process and all under it, and how many kernels there are."""
    server = psutil.Process(pid)
    kernels = [p for p in server.children(recursive=True) if "ipykernel_launcher" in " ".join(p.cmdline())]
    return sum(p.memory_full_info().pss for p in [server, *kernels]) / 1e6, len(kernels)


def _quiet(pid: int) -> None:
    """Wait until the server and its kernels have nothing more to make ready."""
    calm = 0
    while calm < 3:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        before = sum(sum(p.cpu_times()[:2]) for p in family if p.is_running())
        time.sleep(1)
        after = sum(sum(p.cpu_times()[:2]) for p in family if p.is_running())
        calm = calm + 1 if after - before < 0.15 else 0


def _read(browser: Any, url: str, readers: int) -> tuple[list[float], list[float], int, list[Any]]:
    """Open the page for all readers at once: seconds to the title and to the data, addresses beyond this machine, the open contexts."""
    outside: list[str] = []
    contexts, pages, titles, data = [], [], {}, {}

    def gate(route: Any) -> None:
        if route.request.url.startswith(("http://localhost", "blob:", "data:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    for _ in range(readers):
        context = browser.new_context(viewport={"width": 1300, "height": 900})
        context.route("**/*", gate)
        contexts.append(context)
        pages.append(context.new_page())
    started = time.perf_counter()
    for page in pages:
        page.evaluate("url => { setTimeout(() => { location.href = url }, 0) }", url)
    while len(data) < readers and time.perf_counter() - started < 120:
        for n, page in enumerate(pages):
            with suppress(Exception):  # it is between two documents
                if n not in titles and page.evaluate(TITLE):
                    titles[n] = time.perf_counter() - started
                if n not in data and page.evaluate(DATA):
                    data[n] = time.perf_counter() - started
        time.sleep(0.02)
    return sorted(titles.values()), sorted(data.values()), len(outside), contexts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--notebook", default="sales")
    parser.add_argument("--workspace", default=None)
    said = parser.parse_args()
    settings = Settings.load(said.workspace)
    from playwright.sync_api import sync_playwright

    print(f"{'':10}{'readers':>8}{'':>8}{'title s':>18}{'data s':>18}{'memory MB':>12}{'kernels':>9}{'outside':>9}")
    with sync_playwright() as playwright:
        for name, serve in (("stock", stock), ("ours", ours)):
            with serve(settings, 8966) as (url, pid, suffix):
                _quiet(pid)
                before, kernels = _memory_mb(pid)
                print(f"{name:10}{0:>8}{'':>8}{'':>18}{'':>18}{before:>12.0f}{kernels:>9}")
                for readers in said.readers:
                    for state in ("cold", "warm") if readers == 1 else ("cold",):  # of the browser's cache
                        browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-gpu"], executable_path=_chromium())
                        if state == "warm":
                            for context in _read(browser, f"{url}{said.notebook}{suffix}", 1)[3]:
                                context.close()
                            _quiet(pid)
                        titles, data, outside, _ = _read(browser, f"{url}{said.notebook}{suffix}", readers)
                        memory, kernels = _memory_mb(pid)
                        seen = f"{_span(titles, readers):>18}{_span(data, readers):>18}"
                        print(f"{name:10}{readers:>8}{state:>8}{seen}{memory:>12.0f}{kernels:>9}{outside:>9}", flush=True)
                        browser.close()
                        _quiet(pid)


def _span(seconds: list[float], readers: int) -> str:
    if len(seconds) < readers:
        return f"{readers - len(seconds)} never"
    return f"{seconds[0]:.1f}" if readers == 1 else f"{statistics.median(seconds):.1f} / {seconds[-1]:.1f}"


def _chromium() -> str | None:
    import shutil

    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


if __name__ == "__main__":
    main()
