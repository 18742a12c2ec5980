"""A workspace under `skygraph up` with a live writer at its source: does anything grow, and is anything lost when services are killed?

The sample shop is copied, built by `skygraph demo`, and given short intervals: sales every 30 s, the rest every one or two minutes, dbt
after each sync that changed rows, a snapshot every five minutes, and a job `tick` every 90 s that leaves a line for each of its runs.
Somebody sells all the while, and somebody reads the API and the dashboards. For the first half nobody is killed: what the processes
hold is printed each minute, and its beginning compared with its end. Then every service is killed with SIGKILL in turn, also in the middle
of runs, while `ps` is asked every half second. In the end the writer stops, the scheduler comes to rest by itself, and all is counted.

    python benchmarks/soak.py [--minutes 30]

The exit status is 1 when a run was lost or doubled, a row differs from the source, `ps` told a lie, or a service did not come back.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime as dt
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from _servers import REPOSITORY, free_port, table_of

sys.path.insert(0, str(REPOSITORY))
from workbench.scheduling.journal import time_of
from workbench.services import Services
from workbench.settings import Settings

PORTS = ("lake_http_port", "lake_tcp_port", "api_port", "lab_port", "dashboards_port")
JOBS = """jobs:
  transform: {notebook: jobs/transform.ipynb, after: tables, retries: {count: 3, wait: 5 s}, parameters: {verb: run}}
  snapshot: {notebook: jobs/snapshot.ipynb, every: 5 minutes, catch_up: all, overlap: queue, retries: {count: 3, wait: 5 s},
    parameters: {label: soak}}
  tick: {notebook: jobs/tick.ipynb, every: 90 s, catch_up: all, overlap: queue, retries: {count: 3, wait: 2 s}}
"""
TICK_S = 90
TICK = """import os, pathlib, time
with open(pathlib.Path(os.environ["SKYGRAPH_WORKSPACE"]) / ".skygraph/ticks", "a") as file:
    file.write(os.environ["SKYGRAPH_RUN_ID"] + "\\n")
time.sleep(4)"""
_BACK_WITHIN_S = 180.0
_KINDS_OF_KILLS = 11

# what a kind of process is called, by what stands in its command line; the first that fits
KINDS = {
    "lake": ("workbench/lake/engine.py",),
    "lake keeper": ("workbench.lake.keeper",),
    "skygraph-api": ("workbench.api",),
    "skygraph-sync": ("sync serve",),
    "lab": ("workbench.services.jupyter",),
    "dashboards": ("workbench.dashboards",),
    "supervisor": ("workbench.services.daemon",),
    "workers": ("workbench.scheduling.worker",),
    "kernels": ("ipykernel_launcher", "workbench.dashboards.kernel"),
}


class Shop:
    """The workspace under test and what is known of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("sync_jobs", "dbt", "ontology", "notebooks"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("target", "logs", ".ipynb_checkpoints"))
        plan = folder / "sync_jobs/tables.yml"
        text = plan.read_text(encoding="utf-8")
        for written, short in (("60 minutes", "2 minutes"), ("15 minutes", "1 minute"), ("every: 5 minutes", "every: 30 s")):
            text = text.replace(written, short)
        plan.write_text(re.sub(r"(?ms)^jobs:.*", "", text) + JOBS, encoding="utf-8")
        cell = {"cell_type": "code", "id": "tick", "metadata": {}, "outputs": [], "execution_count": None, "source": TICK}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (folder / "notebooks/jobs/tick.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        ports = {name: free_port() for name in PORTS}
        self.settings = Settings.load(folder, environ={}, **ports)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKYGRAPH_", "DBT_"))}
        self.environ = {**kept, **{f"SKYGRAPH_{name.upper()}": str(port) for name, port in ports.items()}, "PYTHONPATH": str(REPOSITORY)}
        self.services = Services(self.settings)
        self.source = folder / ".skygraph/demo/chinook.sqlite"

    def say(self, *words: str) -> Any:
        """The answer of a command, as data.

        Raises:
            SystemExit: it failed.
        """
        line = [sys.executable, "-P", "-m", "workbench.cli", "--workspace", str(self.folder), *words]
        done = subprocess.run(line, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"skygraph {' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def journal(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the scheduler's journal."""
        base = sqlite3.connect(self.settings.state_dir / "scheduler/journal.sqlite", timeout=30)
        base.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in base.execute(sql, values)]
        finally:
            base.close()

    def runs(self) -> list[dict[str, Any]]:
        """Every run that the journal knows."""
        return [json.loads(row["facts"]) for row in self.journal("select facts from run order by started_at")]

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Every process of the workspace with its kind."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if str(self.folder) in words or process.environ().get("SKYGRAPH_WORKSPACE") == str(self.folder):
                    kind = next((k for k, signs in KINDS.items() if any(sign in words for sign in signs)), "others")
                    yield kind, process


class Writer(threading.Thread):
    """Sells, corrects and cancels, some times a second, until told to stop."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="writer", daemon=True)
        self.path, self.ended, self.count = path, threading.Event(), 0

    def run(self) -> None:
        """Write in transactions of one to four statements."""
        dice = random.Random(5)
        base = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        while not self.ended.wait(dice.uniform(0.1, 0.9)):
            base.execute("begin immediate")
            match dice.randrange(10):
                case 0 | 1 | 2 | 3:
                    ((invoice,),) = base.execute("select max(id) + 1 from invoice")
                    tracks = [dice.randint(1, 3000) for _ in range(dice.randint(1, 3))]
                    base.execute(
                        "insert into invoice (id, customer, invoicedate, billingaddress, billingcountry, total, billingcity) "
                        "values (?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now'), 'Rue 1', 'France', ?, 'Paris')",
                        (invoice, dice.randint(1, 59), round(0.99 * len(tracks), 2)),
                    )
                    base.executemany(
                        "insert into invoiceline (track, unit_price, invoice, quantity) values (?, 0.99, ?, 1)",
                        [(track, invoice) for track in tracks],
                    )
                case 4 | 5:
                    base.execute("update customer set phone = ? where id = ?", (str(dice.random()), dice.randint(1, 59)))
                case 6:
                    base.execute("update track set unit_price = ? where id = ?", (dice.choice((0.99, 1.99)), dice.randint(1, 3000)))
                case 7:
                    base.execute("delete from playlisttrack where id = (select min(id) from playlisttrack)")
                case 8:
                    base.execute("insert into playlisttrack (track, playlist) values (?, 1)", (dice.randint(1, 3000),))
                case _:
                    base.execute("update invoice set billingcity = 'Lyon' where id = (select max(id) from invoice)")
            base.execute("commit")
            self.count += 1
        base.close()


class Reader(threading.Thread):
    """Asks the API, and opens a dashboard now and then, as people do; an answer that does not come is their bad luck."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(name="reader", daemon=True)
        at = shop.settings
        self.addresses = [f"http://localhost:{at.api_port}/api/v1/objects/Customer?limit=50", f"http://localhost:{at.api_port}/health/live",
                          f"http://localhost:{at.dashboards_port}/overview"]  # fmt: skip
        self.ended, self.answers = threading.Event(), collections.Counter[str]()

    def run(self) -> None:
        """Ask in turn."""
        number = 0
        while not self.ended.wait(5.0):
            number += 1
            address = self.addresses[2 if number % 12 == 0 else number % 2]
            try:
                with urllib.request.urlopen(address, timeout=60) as answer:
                    answer.read()
                self.answers["answered"] += 1
            except OSError:
                self.answers["not answered"] += 1


class Watch(threading.Thread):
    """Asks `ps` again and again, and compares what it tells with the processes themselves."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(name="watch", daemon=True)
        self.shop, self.ended = shop, threading.Event()
        self.dead: dict[int, float] = {}  # killed processes, by when they were gone
        self.looks, self.seen = 0, dict[str, Any]()
        self.doubts: list[tuple[str, int, float]] = []  # told ready and dead right after: service, process, when it was asked

    def run(self) -> None:
        """A process that was gone before the look is never told ready; one that is told ready takes connections."""
        while not self.ended.wait(0.5):
            before = time.monotonic()
            states = self.shop.services.states()
            self.looks += 1
            for state in states:
                if state.status == "ready" and state.pid is not None and (state.pid in self.dead or not psutil.pid_exists(state.pid)):
                    self.doubts.append((state.name, state.pid, before))
            self.seen = {state.name: state for state in states}

    def lies(self) -> list[str]:
        """What was told ready and had gone before it was asked for; one that was killed while `ps` looked is none."""
        return [
            f"{name} told ready with process {pid}, which {'was gone' if pid in self.dead else 'there is not'}"
            for name, pid, asked in self.doubts
            if self.dead.get(pid, 0.0) < asked
        ]


def measure(shop: Shop) -> dict[str, tuple[int, float, int]]:
    """By kind: processes, MB (proportional share), open files."""
    found: dict[str, tuple[int, float, int]] = {}
    for kind, process in shop.processes():
        with contextlib.suppress(psutil.Error):
            count, megabytes, files = found.get(kind, (0, 0.0, 0))
            held = process.memory_full_info()
            found[kind] = (count + 1, megabytes + getattr(held, "pss", held.uss) / 1e6, files + process.num_fds())
    return found


def wait(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def killings(shop: Shop) -> Iterator[tuple[str, str, Callable[[], int | None]]]:
    """What is killed, the service that it is of, and its process when the moment has come, in turn for ever."""

    def of(name: str) -> Callable[[], int | None]:
        return lambda: next((s.pid for s in shop.services.states() if s.name == name and s.status == "ready"), None)

    def during(job: str, find: Callable[[], int | None]) -> Callable[[], int | None]:
        def moment() -> int | None:
            like = f"{job}%"
            return find() if shop.journal("select 1 from run where status = 'running' and job like ?", like) else None

        return moment

    def first(kind: str) -> Callable[[], int | None]:
        return lambda: next((p.pid for k, p in shop.processes() if k == kind), None)

    def kernel_of(job: str) -> int | None:
        rows = shop.journal("select processes from run where status = 'running' and job = ?", job)
        return int(json.loads(rows[0]["processes"])[-1][0]) if rows else None

    while True:
        yield "skygraph-api", "skygraph-api", of("skygraph-api")
        yield "skygraph-sync, during a tick", "skygraph-sync", during("tick", of("skygraph-sync"))
        yield "lab", "lab", of("lab")
        yield "clickhouse (engine), during a sync", "clickhouse", during("sync", first("lake"))
        yield "dashboards", "dashboards", of("dashboards")
        yield "skygraph-sync, during a sync", "skygraph-sync", during("sync", of("skygraph-sync"))
        yield "a tick's kernel", "skygraph-sync", lambda: kernel_of("tick")
        yield "skygraph-sync, during dbt", "skygraph-sync", during("transform", of("skygraph-sync"))
        yield "clickhouse (keeper), during dbt", "clickhouse", during("transform", first("lake keeper"))
        yield "skygraph-sync, during a snapshot", "skygraph-sync", during("snapshot", of("skygraph-sync"))
        yield "clickhouse (engine), during a snapshot", "clickhouse", during("snapshot", first("lake"))


def kill_in_turn(shop: Shop, watch: Watch, until: float) -> tuple[list[list[Any]], list[str]]:
    """Kill one after the other until then, and each once in any case; the rows for people, and what did not come back."""
    rows: dict[str, list[float]] = {}
    missing: list[str] = []
    for number, (what, service, process) in enumerate(killings(shop)):
        if time.monotonic() > until and number >= _KINDS_OF_KILLS:
            break
        found: list[int] = []

        def moment(found: list[int] = found, process: Callable[[], int | None] = process) -> bool:
            pid = process()
            if pid:
                found.append(pid)
            return bool(pid)

        if not wait(moment, 480):
            missing.append(f"{what}: the moment did not come")
            continue
        with contextlib.suppress(psutil.Error):
            victim = psutil.Process(found[0])
            victim.kill()
            at = time.monotonic()
            wait(lambda v=victim: not v.is_running() or v.status() == psutil.STATUS_ZOMBIE, 10)
            watch.dead[found[0]] = time.monotonic()
            is_back = wait(
                lambda s=service, pid=found[0], gone=watch.dead[found[0]]: (state := watch.seen.get(s)) is not None
                and state.status == "ready" and state.pid != pid and watch.looks > 0 and time.monotonic() > gone + 1.0, _BACK_WITHIN_S
            )  # fmt: skip
            took = time.monotonic() - at
            rows.setdefault(what, []).append(took)
            print(
                f"{clock()}  killed {what}, process {found[0]}: {'ready again' if is_back else 'NOT BACK'} after {took:.1f} s", flush=True
            )
            if not is_back:
                missing.append(what)
        time.sleep(8)  # let it work before the next blow
    return [[what, len(s), f"{max(s):.1f}"] for what, s in rows.items()], missing


def clock() -> str:
    """The time of day."""
    return dt.datetime.now().strftime("%H:%M:%S")


def count_runs(shop: Shop, began: dt.datetime, ended: dt.datetime) -> list[str]:
    """Print runs by job and outcome; what is lost or doubled of what was due in that time."""
    runs = shop.runs()
    wrong: list[str] = []
    tables: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    for run in runs:
        if run["status"] == "running":
            wrong.append(f"a run of {run['job']} has no end")
        names = str(run["parameters"].get("table", "")).split() if run["job"].startswith("sync") else [run["job"]]
        for name in names:
            tables[name].append((run["started_at"], run["finished_at"] or run["started_at"]))
    for name, spans in tables.items():
        spans.sort()
        wrong += [f"two runs of {name} at once, {a} and {b}" for (_, a), (b, _) in itertools.pairwise(spans) if b < a]
    # every 90 s of a job that makes up for all: each time once, each with one good run and one line
    due = {row["due_at"]: row for row in shop.journal("select * from occurrence where job = 'tick'")}
    lines = collections.Counter((shop.settings.state_dir / "ticks").read_text(encoding="utf-8").split())
    good = collections.Counter(r["due_at"] for r in runs if r["job"] == "tick" and r["status"] == "ok")
    step = dt.timedelta(seconds=TICK_S)
    at = dt.datetime.fromtimestamp((began.timestamp() // TICK_S + 1) * TICK_S, dt.timezone.utc)
    ticks = 0
    while at <= ended:
        name = at.strftime("%Y-%m-%d %H:%M:%S.000")
        ticks += 1
        if name not in due or due[name]["state"] != "done" or due[name]["outcome"] != "ok":
            wrong.append(f"the tick of {name} is lost: {due.get(name) and (due[name]['state'], due[name]['outcome'])}")
        if good[name] > 1:
            wrong.append(f"the tick of {name} was done {good[name]} times")
        at += step
    wrong += [f"run {r['run_id']} of tick left {lines[r['run_id']]} lines" for r in runs
              if r["job"] == "tick" and r["status"] == "ok" and lines[r["run_id"]] != 1]  # fmt: skip
    snapshots = [s for s in shop.say("snapshot", "list", "--json") if s["label"] == "soak"]
    taken = shop.journal("select count() as n from occurrence where job = 'snapshot' and state = 'done' and outcome = 'ok'")[0]["n"]
    again = sum(r["job"] == "snapshot" and r["status"] not in ("ok", "running") for r in runs)
    if not taken <= len(snapshots) <= taken + again:
        wrong.append(f"{taken} snapshots were due and done, {len(snapshots)} are there, {again} tries were cut short")
    # what came after: dbt has run since the last sync that changed rows
    marks = {row["name"]: row["at"] for row in shop.journal("select * from success")}
    if marks.get("transform", "") <= marks.get("tables", ""):
        wrong.append("no dbt run after the last sync that changed rows")
    kept = {r["run_id"]: r["status"] for r in shop.say("jobs", "history", "--limit", "100000", "--json")}
    differ = [r["run_id"] for r in runs if kept.get(r["run_id"]) != r["status"]]
    if differ:
        wrong.append(f"skygraph.job_runs differs from the journal in {len(differ)} runs")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for run in runs:
        counts["sync (tables)" if run["job"].startswith("sync") else run["job"]][run["status"]] += 1
    statuses = sorted({status for counter in counts.values() for status in counter}, key=lambda s: (s != "ok", s))
    print()
    print(table_of(["runs", *statuses], [[job, *(counter[s] for s in statuses)] for job, counter in sorted(counts.items())]))
    print(f"{ticks} ticks were due, {sum(good.values())} done; {len(snapshots)} snapshots; {len(kept)} runs in skygraph.job_runs")
    for run in runs:
        if run["status"] not in ("ok", "lost", "killed", "stopped"):
            print(f"  {run['started_at']} {run['job']}: {run['status']}: {run['error'][:160]}")
    return wrong


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--keep", action="store_true", help="leave the folder, to look at it")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="skygraph-soak-")).resolve()
    shop = Shop(folder)
    print(f"{clock()}  {folder}", flush=True)
    shop.say("demo", "--no-serve")
    print(f"{clock()}  the shop is built", flush=True)
    begin = time.monotonic()
    writer, reader, watch = Writer(shop.source), Reader(shop), Watch(shop)
    wrong: list[str] = []
    try:
        come_up(shop)
        print(f"{clock()}  all services ready in {time.monotonic() - begin:.1f} s; load {os.getloadavg()[0]:.1f}", flush=True)
        began = dt.datetime.now(dt.timezone.utc)
        start = time.monotonic()
        for thread in (writer, reader, watch):
            thread.start()
        quiet_until, kill_until = start + options.minutes * 30, start + options.minutes * 60
        samples = sample_until(shop, quiet_until)
        rows, missing = kill_in_turn(shop, watch, kill_until)
        wrong += [f"did not come back: {what}" for what in missing]
        print(f"{clock()}  the writer stops after {writer.count} transactions", flush=True)
        writer.ended.set()
        writer.join()
        stopped = dt.datetime.now(dt.timezone.utc)
        wrong += come_to_rest(shop, stopped)
        ended = dt.datetime.now(dt.timezone.utc)
        open_ = "select 1 from occurrence where job in ('tick', 'snapshot') and state in ('queued', 'running') and due_at <= ?"
        if not wait(lambda: not shop.journal(open_, ended.strftime("%Y-%m-%d %H:%M:%S.000")), 900):
            wrong.append("ticks or snapshots that were due are not done")
        after = measure(shop)
        shop.services.down(["skygraph-sync"])
        wrong += count_runs(shop, began, ended)
        compared = shop.say("sync", "compare", "--json")
        differ = [row["table"] for row in compared if not row["equal"]]
        print(f"{len(compared)} tables, {sum(row['current_rows'] for row in compared):,} current rows, "
              + (f"DIFFERENT from the source: {', '.join(differ)}" if differ else "every one equal to the source"))  # fmt: skip
        wrong += [f"{table} differs from its source" for table in differ]
        wrong += sorted(set(watch.lies()))
        print(f"ps was asked {watch.looks:,} times, {len(watch.lies())} lies; readers: {dict(reader.answers)}")
        print()
        print(table_of(["killed with SIGKILL", "times", "ready again, s (most)"], rows))
        print()
        print(growth(samples, after))
        print_log_errors(shop)
    finally:
        for thread in (writer, reader, watch):
            thread.ended.set()
        shop.services.down()
        left = [f"{kind} {process.pid}" for kind, process in shop.processes()]
        if left:
            wrong.append(f"processes left after down: {', '.join(left)}")
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *(f"WRONG: {text}" for text in wrong[:30])]) if wrong else "\nnothing lost, doubled or left")
    return 1 if wrong else 0


def come_up(shop: Shop) -> None:
    """Start all services; on a machine that has much else to do, one that was not ready in time is waited for."""
    for number in range(6):
        try:
            shop.say("up")
            return
        except SystemExit as error:
            print(f"{clock()}  {str(error).strip().splitlines()[-1]}", flush=True)
            if number == 5:
                raise


def sample_until(shop: Shop, until: float) -> list[dict[str, tuple[int, float, int]]]:
    """Measure each minute, and print it."""
    samples: list[dict[str, tuple[int, float, int]]] = []
    kinds = list(KINDS)
    print(f"{'':8}  MB (processes)\n{'':8}  " + "  ".join(f"{kind:>13}" for kind in kinds) + "   files    load")
    while time.monotonic() < until:
        time.sleep(min(60.0, max(0.0, until - time.monotonic())))
        found = measure(shop)
        samples.append(found)
        cells = [f"{found[k][1]:,.0f} ({found[k][0]})" if k in found else "0" for k in kinds]
        files = sum(f for _, _, f in found.values())
        print(f"{clock()}  " + "  ".join(f"{cell:>13}" for cell in cells) + f"  {files:6,}  {os.getloadavg()[0]:6.1f}", flush=True)
    return samples


def come_to_rest(shop: Shop, stopped: dt.datetime) -> list[str]:
    """Wait until every table was synced since, and dbt ran on it."""
    tables = [row["name"] for row in shop.journal("select name from job where name like 'sync %' and whens != ''")]

    def synced() -> bool:
        for table in tables:
            rows = shop.journal(
                "select r.facts from occurrence o join run r on r.run_id = o.run_id where o.job = ? and o.outcome = 'ok' "
                "order by o.due_at desc limit 1", table,
            )  # fmt: skip
            if not rows or time_of(json.loads(rows[0]["facts"])["started_at"]) < stopped:
                return False
        return True

    def modelled() -> bool:
        marks = {row["name"]: row["at"] for row in shop.journal("select * from success")}
        return marks.get("transform", "") > marks.get("tables", "")

    wrong = [] if wait(synced, 600) else ["not every table was synced after the writer had stopped"]
    return wrong if wait(modelled, 600) else [*wrong, "dbt did not run after the last change"]


def growth(samples: list[dict[str, tuple[int, float, int]]], after: dict[str, tuple[int, float, int]]) -> str:
    """Beginning and end of the quiet time side by side, means of some minutes, and after the kills."""
    third = max(1, len(samples) // 4)
    skip = min(2, len(samples) - 1)  # the first minutes fill caches
    first, last = samples[skip : skip + third], samples[-third:]

    def mean(part: list[dict[str, tuple[int, float, int]]], kind: str, n: int) -> float:
        return sum(s.get(kind, (0, 0.0, 0))[n] for s in part) / len(part)

    rows = []
    for kind in [*KINDS, "others"]:
        if any(kind in s for s in samples):
            rows.append([kind, *(f"{mean(part, kind, n):,.0f}" if n else f"{mean(part, kind, n):.1f}"
                                 for n in (0, 1, 2) for part in (first, last, [after]))])  # fmt: skip
    total = [f"{sum(mean(part, k, n) for k in [*KINDS, 'others']):,.0f}" for n in (0, 1, 2) for part in (first, last, [after])]
    head = ["", "processes", "at the end", "after kills", "MB", "at the end", "after kills", "files", "at the end", "after kills"]
    return table_of(head, [*rows, ["all", *total]])


def print_log_errors(shop: Shop) -> None:
    """Lines of level error in our logs, counted by what they say."""
    found: collections.Counter[str] = collections.Counter()
    for path in (shop.settings.state_dir / "log").glob("*.log*"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, AttributeError):
                facts = json.loads(line)
                if facts.get("level") in ("error", "critical"):
                    found[f"{path.name}: {facts.get('event')} {str(facts.get('error') or facts.get('exception') or '')[-140:]}"] += 1
    print()
    for text, count in found.most_common(15):
        print(f"{count:4} x {text}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
