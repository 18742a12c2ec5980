"""The scheduler: what is due, what follows from what came of it, and a real daemon that is killed in the middle."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import free_port
from tests.scheduling.test_runs import write
from workbench import Workbench
from workbench.hermes.jobs import Alerts, At, JobSpec, parse_job
from workbench.hermes.tables import load_plan
from workbench.lake import Lake
from workbench.presence import pid_of
from workbench.scheduling.due import choose, next_due
from workbench.scheduling.journal import Journal
from workbench.scheduling.scheduler import Scheduler
from workbench.settings import Settings

UTC = dt.timezone.utc
moments = st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2028, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
specs = st.one_of(
    st.builds(lambda s: JobSpec("j", "n", every_s=float(s)), st.sampled_from([1, 7, 60, 300, 3600, 86400, 90_000])),
    st.builds(
        lambda h, m, w, z: JobSpec("j", "n", at=(At(h, m, w),), zone=z),
        st.integers(0, 23), st.integers(0, 59), st.none() | st.integers(0, 6), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    ),
)  # fmt: skip


# --- what is due


@given(spec=specs, now=moments)
@settings(max_examples=200, deadline=None)
def test_the_next_time_is_ahead_and_nothing_is_due_before_it(spec: JobSpec, now: dt.datetime) -> None:
    due = next_due(spec, now)
    assert due is not None
    assert due > now
    assert choose(spec, now, due - dt.timedelta(milliseconds=1)) == []
    assert choose(spec, now, due) == [due]


@given(spec=specs, now=moments, parts=st.lists(st.integers(0, 40_000), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_however_often_it_looks_the_same_times_come_due_once(spec: JobSpec, now: dt.datetime, parts: list[int]) -> None:
    import dataclasses

    every = dataclasses.replace(spec, catch_up="all")
    end = now + dt.timedelta(seconds=sum(parts))
    found, at = [], now
    for part in parts:
        found += choose(every, at, at + dt.timedelta(seconds=part))
        at += dt.timedelta(seconds=part)
    whole = choose(every, now, end)
    assert found[-len(whole) :] == whole or len(whole) < len(found)  # what is very long ago may be cut off, the newest never
    assert len(set(found)) == len(found)


def test_a_day_that_changes_its_clock_has_each_time_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    spec = JobSpec("j", "n", at=(At(2, 30, None),), zone="Europe/Berlin", catch_up="all")
    for start, days in ((dt.datetime(2026, 3, 27, tzinfo=berlin), 5), (dt.datetime(2026, 10, 23, tzinfo=berlin), 5)):
        found = choose(spec, start.astimezone(UTC), (start + dt.timedelta(days=days)).astimezone(UTC))
        assert len({t.astimezone(berlin).date() for t in found}) == len(found) == days


def test_what_was_missed_is_caught_up_as_the_plan_says() -> None:
    now = dt.datetime(2026, 5, 5, 12, tzinfo=UTC)
    due = {
        how: choose(JobSpec("j", "n", every_s=3600.0, catch_up=how), now, now + dt.timedelta(hours=5, minutes=1))
        for how in ("latest", "all")
    }
    assert [t.hour for t in due["all"]] == [13, 14, 15, 16, 17]
    assert [t.hour for t in due["latest"]] == [17]


# --- the journal


def test_an_occurrence_is_there_once_and_a_change_is_whole_or_not_at_all(tmp_path: Path) -> None:
    journal, at = Journal(tmp_path), dt.datetime(2026, 1, 1, tzinfo=UTC)
    assert journal.add("j", at, "schedule")
    assert not journal.add("j", at, "schedule")
    with pytest.raises(KeyError), journal.change():
        journal.add("j", at + dt.timedelta(hours=1), "schedule")
        raise KeyError
    assert [o.due_at for o in journal.open("j")] == [at]
    journal.close()
    with sqlite3.connect(journal.path) as base:
        assert base.execute("pragma journal_mode").fetchone() == ("wal",)
    base.close()


@pytest.mark.parametrize(
    ("seconds", "runs"),
    [
        pytest.param({"a": 1.0, "b": 2.0, "c": 90.0}, [["a", "b"], ["c"]], id="one is slow"),
        pytest.param({"a": 60.0, "b": 70.0, "c": 90.0}, [["a", "b", "c"]], id="the machine is slow"),
        pytest.param({"a": 1.0, "c": 5.0}, [["a", "b", "c"]], id="one is new"),
    ],
)
def test_a_slow_table_runs_alone_and_on_a_slow_machine_tables_still_share(
    workspace: Path, seconds: dict[str, float], runs: list[list[str]]
) -> None:
    own = Settings.load(workspace, environ={}, clickhouse_url="http://localhost:1")
    scheduler = Scheduler(Lake(own), own)
    at = dt.datetime(2026, 1, 1, tzinfo=UTC)
    for table in "abc":
        scheduler.journal.passed(f"sync {table}", "every 5 minutes", at)
        scheduler._note_seconds(f"sync {table}", seconds.get(table))
        scheduler.journal.add(f"sync {table}", at, "schedule")
    found = [[o.job.removeprefix("sync ") for o in group] for group in scheduler._groups(scheduler.journal.open())]
    assert found == runs
    scheduler.journal.close()


# --- a real daemon


class Daemon:
    """`skygraph sync serve` on a workspace of a source, a table and some jobs."""

    def __init__(self, folder: Path, lake_url: str, **environ: str) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SKYGRAPH_")}
        self.environ = {**kept, "SKYGRAPH_CLICKHOUSE_URL": lake_url, "SKYGRAPH_CANARY": "off", **environ}
        self.process: subprocess.Popen[bytes] | None = None
        self.said = folder / "stderr.txt"

    @property
    def home(self) -> Path:
        return self.folder / ".skygraph/scheduler"

    def plan(self, jobs: str, tables: str = "{}") -> None:
        source = f"sources:\n  shop: {{connector: sqlite, path: {json.dumps(str(self.folder / 'shop.sqlite'))}}}\n"
        (self.folder / "sync_jobs").mkdir(exist_ok=True)
        (self.folder / "sync_jobs/tables.yml").write_text(f"{source}tables: {tables}\njobs:\n{jobs}", encoding="utf-8")

    def start(self) -> None:
        words = [sys.executable, "-P", "-m", "workbench.cli", "--workspace", str(self.folder), "sync", "serve"]
        with open(self.said, "ab") as said:
            self.process = subprocess.Popen(words, env=self.environ, stdout=subprocess.DEVNULL, stderr=said)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def occurrences(self, job: str) -> list[dict[str, Any]]:
        return self.rows("select * from occurrence where job = ? order by due_at", job)

    def runs(self, job: str) -> list[dict[str, Any]]:
        return [json.loads(row["facts"]) for row in self.rows("select facts from run where job = ? order by started_at", job)]

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        path = self.home / "journal.sqlite"
        if not path.exists():
            return []
        base = sqlite3.connect(path, timeout=10)
        base.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in base.execute(sql, values)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            base.close()

    @property
    def alerts(self) -> str:
        """`alerts:` that are kept in a file."""
        words = [sys.executable, str(self.folder / "alert.py"), str(self.folder / "alerts.jsonl")]
        return f"alerts: {{command: {json.dumps(words)}}}"

    def told(self) -> list[dict[str, Any]]:
        """The alerts that came, in order."""
        path = self.folder / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


ALERT = """\
import json, pathlib, sys
with open(pathlib.Path(sys.argv[1]), "a", encoding="utf-8") as file:
    file.write(json.dumps(json.load(sys.stdin)) + "\\n")
"""


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.terminate()
            daemon.process.wait(60)


@pytest.fixture
def daemon(tmp_path: Path, lake: Lake, lake_url: str) -> Daemon:
    base = sqlite3.connect(tmp_path / "shop.sqlite")
    base.executescript("create table thing (id integer primary key, name text); insert into thing values (1, 'a'), (2, 'b');")
    base.close()
    (tmp_path / "alert.py").write_text(ALERT, encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    for name in ("sync", "transform", "snapshot"):
        place = tmp_path / f"notebooks/jobs/{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((root / f"notebooks/jobs/{name}.ipynb").read_bytes())
    return Daemon(tmp_path, lake_url)


def test_killed_in_the_middle_of_a_run_it_neither_loses_nor_doubles_one(daemon: Daemon, until: Callable[..., None], lake: Lake) -> None:
    marks = daemon.folder / "marks"
    marks.mkdir()
    body = f"import os, pathlib, time, uuid\nplace = pathlib.Path({str(marks)!r})\n(place / str(os.getpid())).touch()\n"
    wait = f"go = pathlib.Path({str(daemon.folder / 'go')!r})\nwhile not go.exists():\n    time.sleep(0.05)"
    write(daemon.folder / "notebooks/jobs/slow.ipynb", body, wait, parameters="x = 1")
    daemon.plan('  slow: {notebook: jobs/slow.ipynb, at: "00:00", catch_up: all}\n  hourly: {notebook: jobs/slow.ipynb, every: 1 day}\n')
    with running(daemon):
        until(lambda: len(list(marks.iterdir())) == 1, seconds=240)
        (kernel,) = (int(p.name) for p in marks.iterdir())
        daemon.kill()
        until(lambda: not _lives(kernel))  # the worker and its kernel end with it
        (due,) = [o for job in ("slow", "hourly") for o in daemon.occurrences(job) if o["state"] == "running"]
        (daemon.folder / "go").touch()
        daemon.start()
        until(lambda: daemon.occurrences(due["job"])[0]["state"] == "done", seconds=240)
    assert [o["outcome"] for o in daemon.occurrences(due["job"])] == ["ok"]
    assert [run["status"] for run in daemon.runs(due["job"])] == ["lost", "ok"]
    assert len(list(marks.iterdir())) == 2
    until(lambda: lake.rows("select count() as n from skygraph.job_runs where status = 'ok'")[0]["n"] == 1)


def test_each_failure_ends_in_its_status_is_tried_again_and_told(daemon: Daemon, until: Callable[..., None]) -> None:
    jobs = daemon.folder / "notebooks/jobs"
    healed = daemon.folder / "healed"
    write(jobs / "cell.ipynb", f"import pathlib\nassert pathlib.Path({str(healed)!r}).exists(), 'not yet'", parameters="x = 1")
    write(jobs / "kernel.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", parameters="x = 1")
    write(jobs / "worker.ipynb", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", parameters="x = 1")
    write(jobs / "hang.ipynb", "import time\ntime.sleep(600)", parameters="x = 1")
    (jobs / "broken.ipynb").write_text('{"cells": [', encoding="utf-8")
    tail = f"every: 1 day, retries: {{count: 1, wait: 1 s}}, {daemon.alerts}}}\n"
    daemon.plan("".join((
        f"  cell: {{notebook: jobs/cell.ipynb, {tail}",
        f"  kernel: {{notebook: jobs/kernel.ipynb, {tail}",
        f"  worker: {{notebook: jobs/worker.ipynb, {tail}",
        f"  hang: {{notebook: jobs/hang.ipynb, timeout: 2 s, {tail}",
    )))  # fmt: skip
    expected = {"cell": "failed", "kernel": "killed", "worker": "killed", "hang": "timeout", "broken": "failed"}
    with running(daemon):
        until(lambda: {a["job"] for a in daemon.told()} == set(expected) - {"broken"}, seconds=900)
        # one that does not parse is refused when the plan is saved; spoiled afterwards, it fails when it is due
        write(jobs / "broken.ipynb", "1", parameters="x = 1")
        plan = daemon.folder / "sync_jobs/tables.yml"
        good = plan.read_text(encoding="utf-8") + f"  broken: {{notebook: jobs/broken.ipynb, {tail}".replace("1 day", "2 s")
        plan.write_text(good, encoding="utf-8")
        until(lambda: daemon.runs("broken"), seconds=240)
        (jobs / "broken.ipynb").write_text('{"cells": [', encoding="utf-8")
        until(lambda: "broken" in {a["job"] for a in daemon.told()}, seconds=240)
        for job, status in expected.items():
            assert [run["status"] for run in daemon.runs(job) if run["status"] != "ok"][:2] == [status, status], job
            assert {a["tries"] for a in daemon.told() if a["job"] == job} == {2}, job
            assert {a["status"] for a in daemon.told() if a["job"] == job} == {status}, job
        assert "is not a notebook" in next(a["error"] for a in daemon.told() if a["job"] == "broken")
        assert {a["event"] for a in daemon.told()} == {"failure"}
        assert "not yet" in next(a["error"] for a in daemon.told() if a["job"] == "cell")
        # a bad edit is told and changes nothing; the next good one counts at once
        good = good.replace("  broken:", "#  broken:")
        plan.write_text(good + "  other: {notebok: x}\n", encoding="utf-8")
        state = daemon.home / "state.json"
        until(lambda: "notebok" in state.read_text(encoding="utf-8"), seconds=240)
        assert json.loads(state.read_text(encoding="utf-8"))["jobs"] == 5
        healed.touch()
        plan.write_text(good.replace("cell.ipynb, every: 1 day", "cell.ipynb, every: 1 s"), encoding="utf-8")
        until(lambda: "recovery" in {a["event"] for a in daemon.told()}, seconds=240)
    assert [a["event"] for a in daemon.told() if a["job"] == "cell"] == ["failure", "recovery"]


def test_one_that_waits_is_the_next_try_of_one_that_failed(daemon: Daemon, until: Callable[..., None]) -> None:
    """A job that fails while it is due again and again is tried as often as it says, and told; its tries do not multiply."""
    write(daemon.folder / "notebooks/jobs/cell.ipynb", "import time\ntime.sleep(1.5)\n1 / 0", parameters="x = 1")
    retries = "overlap: queue, retries: {count: 2, wait: 1 s}"
    daemon.plan(f"  cell: {{notebook: jobs/cell.ipynb, every: 1 s, {retries}, {daemon.alerts}}}\n")
    with running(daemon):
        until(lambda: daemon.told(), seconds=240)
        queued = [o for o in daemon.occurrences("cell") if o["state"] == "queued"]
    assert [run["attempt"] for run in daemon.runs("cell")][:3] == [1, 2, 3]
    assert (daemon.told()[0]["event"], daemon.told()[0]["tries"]) == ("failure", 3)
    assert len(queued) <= 1


def test_without_a_lake_runs_fail_are_told_and_kept_until_it_is_back(daemon: Daemon, until: Callable[..., None]) -> None:
    daemon.plan(f"  dummy: {{notebook: jobs/transform.ipynb}}\n{daemon.alerts}\n",
                "{things: {source: shop, from: thing, key: [id], every: 1 day}}")  # fmt: skip
    lake_url = daemon.environ["SKYGRAPH_CLICKHOUSE_URL"]
    down = lake_url.rpartition(":")[0] + f":{free_port()}"
    daemon.environ["SKYGRAPH_CLICKHOUSE_URL"] = down
    with running(daemon):
        until(lambda: [a["event"] for a in daemon.told()] == ["failure"], seconds=240)
        (run,) = daemon.runs("sync things")[-1:]
        assert run["status"] == "failed"
    daemon.environ["SKYGRAPH_CLICKHOUSE_URL"] = lake_url
    lake = Lake(Settings.load(daemon.folder, environ=daemon.environ))
    with running(daemon):
        until(lambda: lake.tables("skygraph") and "job_runs" in lake.tables("skygraph"), seconds=240)
        until(lambda: {r["status"] for r in lake.rows("select status from skygraph.job_runs where job = 'sync things'")} == {"failed"})
    lake.close()


@pytest.fixture
def small_disk(daemon: Daemon) -> Iterator[Path]:
    """The workspace's `.skygraph` on a disk of its own, of 48 MB."""
    place = daemon.folder / ".skygraph"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a disk that can be filled needs the right to mount one")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_fails_the_runs_that_need_it_and_loses_nothing(daemon: Daemon, small_disk: Path, until: Callable[..., None]) -> None:
    marks = daemon.folder / "marks"
    marks.mkdir()
    begin = f"import pathlib, time, uuid\n(pathlib.Path({str(marks)!r}) / uuid.uuid4().hex).touch()"
    wait = f"while not pathlib.Path({str(daemon.folder / 'go')!r}).exists():\n    time.sleep(0.05)\nprint('x' * 500_000)"
    write(daemon.folder / "notebooks/jobs/large.ipynb", begin, wait, parameters="x = 1")
    daemon.plan(
        "  patient: {notebook: jobs/large.ipynb, every: 1 day, retries: {count: 2, wait: 1 s}}\n"
        f"  strict: {{notebook: jobs/large.ipynb, every: 1 day}}\n{daemon.alerts}\n"
    )
    with running(daemon):
        until(lambda: len(list(marks.iterdir())) == 2, seconds=240)
        filler = small_disk / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(1 << 12))
        (daemon.folder / "go").touch()
        until(lambda: "a run's end cannot be written yet" in daemon.said.read_text(encoding="utf-8"), seconds=240)
        assert daemon.process is not None
        assert daemon.process.poll() is None
        filler.unlink()
        until(
            lambda: daemon.told() and {o["state"] for job in ("patient", "strict") for o in daemon.occurrences(job)} == {"done"},
            seconds=240,
        )
        assert [run["status"] for run in daemon.runs("patient")] == ["failed", "ok"]
        assert [run["status"] for run in daemon.runs("strict")] == ["failed"]
        assert [(a["job"], a["event"], a["status"]) for a in daemon.told()] == [("strict", "failure", "failed")]
        assert "No space left" in daemon.told()[0]["error"]
    assert len(list(marks.iterdir())) == 3


def test_as_many_outputs_as_a_job_keeps_are_kept(daemon: Daemon, until: Callable[..., None]) -> None:
    write(daemon.folder / "notebooks/jobs/short.ipynb", "1", parameters="x = 1")
    daemon.plan("  short: {notebook: jobs/short.ipynb, every: 1 s, keep: 2}\n")
    with running(daemon):
        until(lambda: len(daemon.runs("short")) > 4, seconds=240)
    kept = sorted(path.name for path in (daemon.folder / ".skygraph/runs/short").iterdir())
    newest = [Path(run["output"]).stem for run in daemon.runs("short") if run["status"] == "ok"][-2:]
    assert [name for name in kept if name.endswith(".ipynb")] == [f"{stem}.ipynb" for stem in newest]
    assert set(kept) == {f"{stem}{suffix}" for stem in newest for suffix in (".ipynb", ".html")}


def test_the_example_of_the_page_is_a_plan(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    example, alerts = re.findall(r"^```yaml\n(.*?)^```$", (root / "docs/jobs.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "sync_jobs").mkdir()
    (tmp_path / "sync_jobs/tables.yml").write_text(example, encoding="utf-8")
    plan = load_plan(tmp_path)
    assert {name: job.when for name, job in plan.jobs.items()} == {
        "transform": "after tables", "marts_snapshot": "after transform", "every_quarter": "every 15 minutes",
        "morning": "at 07:00, saturday 09:00 Europe/Berlin after invoices >= 06:00",
    }  # fmt: skip
    assert (plan.alerts, plan.jobs["morning"].alerts) != (None, None)
    (tmp_path / "sync_jobs/tables.yml").write_text(alerts, encoding="utf-8")
    assert load_plan(tmp_path).alerts == Alerts(("python", "tools/tell.py"), "${ONCALL_HOOK}", ("failure", "recovery", "lateness"))
    page = (root / "docs/jobs.md").read_text(encoding="utf-8")
    for name in re.findall(r"fields\.\w+\(\"(\w+)\"|_(?:seconds|whole)\(fields, \"(\w+)\"", inspect.getsource(parse_job)):
        assert f"| `{name[0] or name[1]}` |" in page, "every key of a job is in the page"


def test_tables_share_a_run_and_what_comes_after_runs_once(daemon: Daemon, until: Callable[..., None], lake: Lake) -> None:
    write(daemon.folder / "notebooks/jobs/after.ipynb", "1", parameters="x = 1")
    tables = ", ".join(f"t{n}: {{source: shop, from: thing, key: [id], every: 1 day}}" for n in range(4))
    daemon.plan(
        "  build: {notebook: jobs/after.ipynb, after: tables}\n  last: {notebook: jobs/after.ipynb, after: build}\n", f"{{{tables}}}"
    )
    with running(daemon):
        until(lambda: [run["status"] for run in daemon.runs("last")] == ["ok"], seconds=240)
        assert pid_of(daemon.home) is not None
    assert [len(daemon.runs(job)) for job in ("sync", "build", "last")] == [1, 1, 1]
    assert set(str(daemon.runs("sync")[0]["parameters"]["table"]).split()) == {"t0", "t1", "t2", "t3"}
    assert [lake.scalar(f"select count() from raw.t{n}") for n in range(4)] == [2] * 4
    bench = Workbench(Settings.load(daemon.folder, environ=daemon.environ))
    told = daemon.runs("sync")[0]["result"]["tables"]
    parts = {job.name.removeprefix("sync "): job.seconds for job in bench.jobs().jobs if job.name.startswith("sync ")}
    assert parts == {table: told[table]["seconds"] for table in told}, "a table has its own seconds, not those of the run that it shared"
    bench.close()
    assert daemon.process is not None
    assert daemon.process.returncode == 0
    left = [p for p in psutil.process_iter(["cmdline", "environ"]) if "workbench.scheduling.worker" in (p.info["cmdline"] or [])
            and str(daemon.folder) in str(p.info["environ"])]  # fmt: skip
    assert not left


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
