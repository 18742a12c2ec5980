"""How soon a scheduled notebook runs: stock papermill against ours, cold and warm; and 200 tables that are due at once.

The notebook is `jobs/sync.ipynb`, on a SQLite table of a thousand rows in which a row has changed. In each round every way has its turn:

- **papermill, cold**: the command `papermill`, as cron would start it.
- **papermill, warm**: `papermill.execute_notebook` in a process that has imported it and run before; it starts a kernel for each run.
- **ours, cold**: `skygraph run`, a process and a kernel for this run alone.
- **ours, warm**: a run of the scheduler: a worker that waits takes it, journal, page and row in the lake's queue included.

`begins` is when the notebook's first cell starts, by papermill's own note of it; `ends` when the output is on the disk. Then a scheduler
finds 200 tables due for the first time, and stock papermill syncs some of them, two at a time, as a crontab of tables would.

    python benchmarks/jobs.py [--rounds 5] [--tables 200] [--stock-tables 8]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _servers import REPOSITORY, own_workspace, table_of

sys.path.insert(0, str(REPOSITORY))
from workbench.kernel import write_kernel
from workbench.lake import Lake
from workbench.scheduling.pool import Pool
from workbench.scheduling.runs import Runs
from workbench.settings import Settings

_READY_S = 300.0


def make_source(settings: Settings, tables: int, rows: int) -> Path:
    """A SQLite file of equal tables, and the plan that syncs them; no table is due by itself."""
    path = settings.workspace / "shop.sqlite"
    base = sqlite3.connect(path)
    for n in range(tables):
        base.execute(f"create table t{n} (id integer primary key, name text, amount real, updated_at text)")
        base.executemany(
            f"insert into t{n} values (?, ?, ?, '2026-01-01 00:00:00.000')", ((i, f"name {i}", i / 7) for i in range(rows))
        )  # fmt: skip
    base.commit()
    base.close()
    (settings.workspace / "notebooks/jobs").mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "notebooks/jobs/sync.ipynb", settings.workspace / "notebooks/jobs/sync.ipynb")
    return path


def write_plan(settings: Settings, tables: int, every: str = "") -> None:
    """The plan of the source's tables."""
    lines = ["sources:", "  shop: {connector: sqlite, path: shop.sqlite}", "tables:"]
    tail = f", every: {every}" if every else ""
    lines += [f"  t{n}: {{source: shop, from: t{n}, key: [id], watermark: updated_at{tail}}}" for n in range(tables)]
    (settings.workspace / "sync_jobs/tables.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def change(path: Path, table: str, number: int) -> None:
    """Change a row, as somebody does between two syncs."""
    base = sqlite3.connect(path)
    at = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    base.execute(f"update {table} set name = ?, updated_at = ? where id = 1", (f"changed {number}", at))
    base.commit()
    base.close()


def first_cell(output: Path) -> float:
    """When the first cell that ran began, in seconds since 1970."""
    cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    times = [cell["metadata"]["papermill"]["start_time"] for cell in cells if cell["metadata"].get("papermill", {}).get("start_time")]
    return min(dt.datetime.fromisoformat(t).replace(tzinfo=dt.timezone.utc).timestamp() for t in times if t)


class Stock:
    """papermill as it comes, with what the notebook needs to find the workspace."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.notebook = settings.workspace / "notebooks/jobs/sync.ipynb"
        path = write_kernel(settings.state_dir / "jupyter", settings.workspace)
        self.environ = {**settings.environment(), "JUPYTER_PATH": path, "SKYGRAPH_BATCH": "1"}
        self._serve: subprocess.Popen[str] | None = None

    def cold(self, table: str) -> Path:
        """The command, to its end."""
        output = self.settings.workspace / f"stock-{table}-{time.monotonic_ns()}.ipynb"
        words = [sys.executable, "-m", "papermill", str(self.notebook), str(output), "-p", "table", table, "--no-progress-bar"]
        subprocess.run(words, env=self.environ, cwd=self.notebook.parent, capture_output=True, check=True)
        return output

    def warm(self, table: str) -> Path:
        """In a process that has run it before."""
        if self._serve is None:
            code = (
                "import json, sys, papermill\n"
                "for line in sys.stdin:\n"
                "    notebook, output, table = json.loads(line)\n"
                "    papermill.execute_notebook(notebook, output, parameters={'table': table}, progress_bar=False)\n"
                "    print('done', flush=True)\n"
            )
            self._serve = subprocess.Popen(
                [sys.executable, "-c", code], env=self.environ, cwd=self.notebook.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        output = self.settings.workspace / f"stock-{table}-{time.monotonic_ns()}.ipynb"
        assert self._serve.stdin is not None
        assert self._serve.stdout is not None
        self._serve.stdin.write(json.dumps([str(self.notebook), str(output), table]) + "\n")
        self._serve.stdin.flush()
        if self._serve.stdout.readline() != "done\n":
            raise SystemExit("stock papermill failed")
        return output

    def close(self) -> None:
        """End the process that waits."""
        if self._serve is not None and self._serve.stdin is not None:
            self._serve.stdin.close()
            self._serve.wait()


class Ours:
    """Runs of ours: by the command, and by a pool as the scheduler has it."""

    def __init__(self, settings: Settings, lake: Lake) -> None:
        self.settings = settings
        self.runs = Runs(lake, settings)
        self.pool = Pool(settings, 1, 1)
        self.notebook = settings.workspace / "notebooks/jobs/sync.ipynb"

    def cold(self, table: str) -> Path:
        """The command, to its end."""
        words = [sys.executable, "-P", "-m", "workbench.cli", "--workspace", str(self.settings.workspace), "run", "jobs/sync.ipynb"]
        done = subprocess.run([*words, "-p", "table", table, "--json"], env=self.settings.environment(), capture_output=True, check=True)
        return Path(json.loads(done.stdout)["output"])

    def rest(self) -> None:
        """Wait until a worker is warm: a run in the scheduler's own time finds one."""
        deadline = time.monotonic() + _READY_S
        while not self.pool.ready:
            if time.monotonic() > deadline:
                raise SystemExit("no worker became warm")
            time.sleep(0.1)

    def warm(self, table: str) -> Path:
        """What the scheduler does with a job that is due."""
        worker = self.pool.take()
        try:
            run = self.runs.new(self.notebook, {"table": table}, job=f"sync {table}")
            run = self.runs.work(run, self.notebook, worker, timeout_s=600)
            self.runs.write(run)
        finally:
            self.pool.done(worker)
        if run.status != "ok":
            raise SystemExit(f"our run is {run.status}: {run.error}")
        return Path(run.output)


def latency(settings: Settings, lake: Lake, source: Path, rounds: int) -> str:
    """Every way in turn, some rounds."""
    stock, ours = Stock(settings), Ours(settings, lake)
    ways: dict[str, tuple[Callable[[str], Path], str]] = {
        "papermill, cold": (stock.cold, "t0"), "papermill, warm": (stock.warm, "t1"), "ours, cold": (ours.cold, "t2"),
        "ours, warm": (ours.warm, "t3"),
    }  # fmt: skip
    begins: dict[str, list[float]] = {name: [] for name in ways}
    ends: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(rounds + 1):
            for name, (work, table) in ways.items():
                change(source, table, number)
                ours.rest()  # nobody warms up while another has its turn
                start, clock = time.monotonic(), time.time()
                output = work(table)
                if number:  # the first round fills caches, and imports
                    ends[name].append(time.monotonic() - start)
                    begins[name].append(first_cell(output) - clock)
    finally:
        stock.close()
        ours.pool.close()
    base = "papermill, cold"
    rows = [
        [name, f"{min(begins[name]):.2f}", f"{statistics.median(begins[name]):.2f}", f"{min(ends[name]):.2f}",
         f"{statistics.median(ends[name]):.2f}", f"{statistics.median(ends[base]) / statistics.median(ends[name]):.1f}"]
        for name in ways
    ]  # fmt: skip
    return table_of(["a sync of one table", "begins, s (best)", "(median)", "ends, s (best)", "(median)", "times as soon"], rows)


def many(settings: Settings, tables: int) -> list[Any]:
    """A scheduler that finds so many tables due: seconds until all are synced, and kernels that were started for them."""
    write_plan(settings, tables, "1 day")
    words = [sys.executable, "-P", "-m", "workbench.cli", "--workspace", str(settings.workspace), "sync", "serve"]
    environ = {**settings.environment(), "SKYGRAPH_CANARY": "off"}
    start = time.monotonic()
    daemon = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = settings.state_dir / "scheduler/journal.sqlite"
    try:
        while True:
            base = sqlite3.connect(journal, timeout=30)
            (done,) = base.execute("select count() from occurrence where outcome = 'ok' and job like 'sync t%'").fetchone()
            base.close()
            if done >= tables:
                break
            if time.monotonic() - start > 1800:
                raise SystemExit(f"only {done} of {tables} tables were synced")
            time.sleep(0.2)
        took = time.monotonic() - start
        base = sqlite3.connect(journal, timeout=30)
        runs = [json.loads(facts) for (facts,) in base.execute("select facts from run where job like 'sync%'")]
        base.close()
    finally:
        daemon.terminate()
        daemon.wait()
    mine = [run for run in runs if run["due_at"]]
    return [f"ours, {tables} tables", tables, f"{took:.1f}", len(mine), f"{took / tables:.2f}"]


def crontab(settings: Settings, tables: int, of: int) -> list[Any]:
    """Stock papermill, two at a time."""
    stock = Stock(settings)
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stock.cold, [f"t{of - 1 - n}" for n in range(tables)]))
    took = time.monotonic() - start
    return [f"papermill, {tables} of them", tables, f"{took:.1f}", tables, f"{took / tables:.2f}"]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--stock-tables", type=int, default=8)
    options = parser.parse_args()
    with own_workspace() as settings:
        source = make_source(settings, max(options.tables, 4), 1000)
        write_plan(settings, max(options.tables, 4))
        lake = Lake(settings)
        try:
            print(latency(settings, lake, source, options.rounds))
            print(flush=True)
            before = os.getloadavg()[0]
            rows = [crontab(settings, options.stock_tables, options.tables), many(settings, options.tables)]
            print(table_of(["due at once, two at a time", "tables", "seconds", "kernels", "s a table"], rows))
            print(f"load of the machine: {before:.0f} to {os.getloadavg()[0]:.0f}, {os.cpu_count()} processors")
        finally:
            lake.close()


if __name__ == "__main__":
    main()
