"""The scheduler of a workspace: says what is due, runs it, tries again, triggers what comes after, and tells people.

One loop looks every second; what it decides is in the journal before anything is begun, so that it may be killed at any moment. Runs
are threads that wait for their worker; a thread brings finished runs to the lake and reads watermarks from it; another sends alerts.
`schedule` says which jobs are due; their next time is ours (`due.py`), as its own knows neither zones nor what was missed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import schedule

from workbench.errors import SkyGraphError
from workbench.hermes.jobs import ANY_TABLE, JobSpec, WaitFor
from workbench.hermes.ledger import Ledger
from workbench.log import logger, write_logs
from workbench.presence import hold, read_facts, write_facts
from workbench.scheduling.alerts import keep_alert, send_waiting
from workbench.scheduling.answers import JobList, JobRun, JobState
from workbench.scheduling.due import UTC, choose, first_due, next_due, on_day
from workbench.scheduling.journal import Journal, Occurrence, text, time_of
from workbench.scheduling.plan import SHARED, TABLE_PREFIX, LivePlan, Plan, find_notebook
from workbench.scheduling.pool import Pool, Worker
from workbench.scheduling.runs import Runs, host_name

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.settings import Settings

__all__ = ["Scheduler", "read_jobs"]

_TICK_S = 1.0
_TOLD_EVERY_S = 5.0
_TIDY_EVERY_S = 3600.0
_GRACE_S = 10.0  # for runs that go on when it is told to end
_STOPPING_S = 8.0  # for those that were told to, then
_SLOW_S = 30.0  # a table that took longer last time gets a run of its own, so that it holds up no other,
_SLOWER = 4.0  # if that is so much more than others take: where all are slow the machine is, and more kernels would make it worse
_MOST_LOST = 3  # times that a run may end with the scheduler itself before that counts as its own failure
_LONGEST_WAIT_S = 3600.0
_REMIND = dt.timedelta(days=1)  # between alerts of a job that goes on failing


def _utc_now() -> dt.datetime:
    return dt.datetime.now(UTC)


class _Timed(schedule.Job):
    """A job of `schedule` that is due when the plan says, in UTC."""

    def __init__(self, spec: JobSpec, clock: Callable[[], dt.datetime], among: schedule.Scheduler) -> None:
        super().__init__(1, among)
        self.unit = "seconds"
        self._spec, self._clock = spec, clock

    @property
    def should_run(self) -> bool:
        """Whether its time has come."""
        return self.next_run is not None and self._clock() >= self.next_run

    def _schedule_next_run(self) -> None:
        self.next_run = next_due(self._spec, self._clock())


class Scheduler:
    """The scheduler of one workspace. `serve` is the daemon; `tick` is one look, for whoever has a clock of their own.

    `own` are jobs of the workbench itself, beside those of `sync_jobs/`.
    """

    def __init__(self, lake: Lake, settings: Settings, *, own: Sequence[JobSpec] = (), clock: Callable[[], dt.datetime] = _utc_now) -> None:
        self.lake, self.settings, self.clock = lake, settings, clock
        self.runs = Runs(lake, settings)
        self.journal: Journal = self.runs.journal
        self.home = settings.state_dir / "scheduler"
        self.live = LivePlan(settings.workspace, settings.state_dir, own)
        self._timed = schedule.Scheduler()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._pool: Pool | None = None
        self._going: dict[str, threading.Thread] = {}  # by a name that is the run's own
        self._workers: dict[str, Worker] = {}
        self._marks: dict[str, dt.datetime] = {}
        self._looked_at: dt.datetime | None = None
        self._hold_until = 0.0  # monotonic: when the journal could not be written
        self._tidy_at = 0.0

    @property
    def plan(self) -> Plan:
        """The plan in use."""
        return self.live.plan

    # --- the daemon

    def serve(self) -> None:
        """Be the scheduler until SIGTERM or SIGINT; runs that go on then may end within seconds, and are taken again at the next start.

        Raises:
            Busy: the scheduler of this workspace runs already.
        """
        state = self.settings.make_state_dir()
        write_logs(state / "log", "scheduler.log", is_service=True)
        with hold(self.home, "the scheduler of this workspace"):
            for ending in (signal.SIGTERM, signal.SIGINT):
                signal.signal(ending, lambda *_: self.stop())
            helpers = [threading.Thread(target=self._repeat, args=work, daemon=True, name=work[0].__name__)
                       for work in ((self._serve_lake, 2.0), (self._serve_alerts, 1.0))]  # fmt: skip
            try:
                self._wait_for(self.recover)
                self.live.refresh()
                self._pool = Pool(self.settings, self.plan.sync.limits.warm, self.plan.sync.limits.runs)
                for helper in helpers:
                    helper.start()
                write_facts(self.home)
                logger().info("scheduler started", pid=os.getpid(), jobs=len(self.plan.jobs))
                self._loop()
            finally:
                self._end()
        logger().info("scheduler ended")

    def stop(self) -> None:
        """Ask the daemon to end."""
        self._stopping.set()
        self._wake.set()

    def _loop(self) -> None:
        told = 0.0
        while not self._stopping.is_set():
            try:
                self.tick()
                if time.monotonic() - told > _TOLD_EVERY_S:
                    self._tell()
                    told = time.monotonic()
            except (sqlite3.Error, OSError) as error:  # a full disk: what is due waits
                logger().warning("the journal cannot be used", error=str(error))
                self._stopping.wait(_TICK_S)
            except Exception:
                logger().exception("a look at the plan failed")
                self._stopping.wait(_TICK_S)
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _end(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + _GRACE_S
        for thread in list(self._going.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        for worker in list(self._workers.values()):
            worker.process.terminate()
        for thread in list(self._going.values()):
            thread.join(_STOPPING_S)
        if self._pool is not None:
            self._pool.close()
        with suppress(SkyGraphError, sqlite3.Error):
            self._ship()
        self.journal.close()

    def _repeat(self, work: Callable[[], None], every_s: float) -> None:
        """Do this again and again, less often while it fails."""
        wait = every_s
        while not self._stopping.wait(wait):
            try:
                work()
                wait = every_s
            except (SkyGraphError, sqlite3.Error, OSError) as error:
                wait = min(30.0, wait * 2)
                logger().warning(f"{work.__name__.removeprefix('_')} failed", error=str(error), again_s=wait)
            except Exception:
                wait = 30.0
                logger().exception(f"{work.__name__.removeprefix('_')} failed")

    def _wait_for(self, work: Callable[[], Any]) -> None:
        """Do what must be done first; a disk that is full is waited for."""
        while not self._stopping.is_set():
            try:
                work()
                return
            except sqlite3.Error as error:
                logger().warning("the journal cannot be used", error=str(error))
                self._stopping.wait(_TICK_S * 5)

    def _tell(self) -> None:
        """Say how it stands, for `jobs` and `health`: when it looked last, what of the plan is wrong, how much goes on."""
        states = [o.state for o in self.journal.open()]
        facts = {
            "tick_at": self.clock().isoformat(), "read_at": self.live.read_at.isoformat() if self.live.read_at else None,
            "problems": [str(p) for p in self.live.problems], "jobs": len(self.plan.jobs), "running": states.count("running"),
            "queued": states.count("queued"), "warm": self._pool.ready if self._pool else 0, "unshipped": len(self.journal.unshipped()),
        }  # fmt: skip
        new = self.home / "state.new"
        new.write_text(json.dumps(facts), encoding="utf-8")
        new.replace(self.home / "state.json")

    # --- one look

    def tick(self) -> None:
        """Look once: take a saved plan, note what is due, see what is late, begin what can begin."""
        now = self.clock()
        is_new = self.live.refresh()
        with self.journal.change():  # what is due together is written down together
            self._note_all(now, is_new)
        self._see_lateness(now)
        if self._pool is not None and not self._stopping.is_set() and time.monotonic() >= self._hold_until:
            self._begin_due(now)

    def _note_all(self, now: dt.datetime, is_new: bool) -> None:
        if is_new or self._looked_at is None or now < self._looked_at:  # a clock that went back: all times anew
            self._replan(now)
        self._looked_at = now
        self._timed.run_pending()

    def _replan(self, now: dt.datetime) -> None:
        known = self.journal.jobs()
        self._timed.clear()
        for spec in self.plan.jobs.values():
            if not spec.every_s and not spec.times:
                continue
            row = known.get(spec.name)
            after = time_of(row["last_due"]) if row else first_due(spec, now)
            if row and row["whens"] != spec.when and not spec.every_s:
                after = max(after, now)  # another time of day: what it would have been is nobody's loss
            self._note(spec, min(after, now), now)
            _Timed(spec, self.clock, self._timed).do(self._note_due, spec)
        if self._pool is not None:
            self._pool.resize(self.plan.sync.limits.warm, self.plan.sync.limits.runs)

    def _note_due(self, spec: JobSpec) -> None:
        row = self.journal.jobs()[spec.name]
        now = self.clock()
        self._note(spec, min(time_of(row["last_due"]), now), now)

    def _note(self, spec: JobSpec, after: dt.datetime, now: dt.datetime) -> None:
        """Write down what came due since `after`."""
        with self.journal.change():
            for due_at in choose(spec, after, now):
                self._add(spec, due_at, "schedule")
            self.journal.passed(spec.name, spec.when, now)

    def _add(self, spec: JobSpec, due_at: dt.datetime, why: str) -> None:
        """One occurrence, unless it is there; skipped where the job's last one is not done and the plan does not want them in a row."""
        open_ = self.journal.open(spec.name)
        skip = bool(open_) and spec.overlap == "skip"
        if spec.overlap == "queue" and spec.catch_up != "all":
            skip = any(o.state == "queued" for o in open_)  # the one that waits will see all that there is then
        if spec.catch_up == "all" and not any(o.state == "running" for o in open_):
            skip = False
        if skip:
            if self.journal.add(spec.name, due_at, why, state="skipped"):
                logger(job=spec.name).info("skipped: the one before is not done", due_at=due_at)
        elif self.journal.add(spec.name, due_at, why):
            logger(job=spec.name).info("due", due_at=due_at, why=why)

    def _see_lateness(self, now: dt.datetime) -> None:
        for o in self.journal.open():
            spec = self.plan.jobs.get(o.job)
            if spec is None or spec.lateness_s is None or o.late or (now - o.due_at).total_seconds() < spec.lateness_s:
                continue
            with self.journal.change():
                self.journal.set([o.id], late=1)
                keep_alert(self.journal, o.job, "lateness", self._facts(o, None, late_s=round((now - o.due_at).total_seconds())))
            logger(job=o.job).warning("late", due_at=o.due_at, state=o.state)

    # --- beginning runs

    def _begin_due(self, now: dt.datetime) -> None:
        now_s = now.timestamp()
        open_ = self.journal.open()
        queued = [o for o in open_ if o.state == "queued"]
        if gone := [o.id for o in queued if o.job not in self.plan.jobs]:
            self.journal.set(gone, state="skipped")
        busy = {o.job for o in open_ if o.state == "running"} | {j for name in list(self._going) for j in name.split("\n")}
        ready = [
            o for o in queued
            if o.job in self.plan.jobs and o.job not in busy and o.not_before <= now_s and self._data_is_there(self.plan.jobs[o.job], o)
        ]  # fmt: skip
        for group in self._groups(ready):
            if len(self._going) >= self.plan.sync.limits.runs:
                return
            if not {o.job for o in group} & {j for name in self._going for j in name.split("\n")}:
                self._begin(group)

    def _groups(self, ready: Sequence[Occurrence]) -> Iterable[list[Occurrence]]:
        """What one run does: a job, or all the tables that are due and quick, in the order of the first."""
        seconds = {name: row["seconds"] for name, row in self.journal.jobs().items()}
        groups: dict[str, list[Occurrence]] = {}
        of_tables = [took for name, took in seconds.items() if took is not None and name.startswith(TABLE_PREFIX)]
        slow_s = max(_SLOW_S, _SLOWER * statistics.median(of_tables)) if of_tables else _SLOW_S
        for o in ready:
            is_table = o.job.startswith(TABLE_PREFIX)
            slow = (seconds.get(o.job) or 0.0) > slow_s
            name = f"tables {o.bundle}" if is_table and (o.bundle or not slow) else f"job {o.job}"
            groups.setdefault(name, [])
            if o.job not in {other.job for other in groups[name]}:
                groups[name].append(o)
        return groups.values()

    def _data_is_there(self, spec: JobSpec, o: Occurrence) -> bool:
        return all(self._reached(wait, spec, o) for wait in spec.wait_for)

    def _reached(self, wait: WaitFor, spec: JobSpec, o: Occurrence) -> bool:
        day = o.due_at.astimezone(ZoneInfo(spec.zone)).date()
        wanted = on_day(wait.at, day, spec.zone)
        mark = self._marks.get(wait.table)
        return mark is not None and wanted is not None and mark >= wanted

    def _begin(self, group: list[Occurrence]) -> None:
        name = "\n".join(o.job for o in group)
        thread = threading.Thread(target=self._run, args=(name, group), name=f"run {group[0].job}", daemon=True)
        self._going[name] = thread
        thread.start()

    def _run(self, name: str, group: list[Occurrence]) -> None:
        """One run, in a thread of its own, from a worker to the settled end."""
        assert self._pool is not None
        worker: Worker | None = None
        try:
            spec = self.plan.jobs[group[0].job]
            job = SHARED if len(group) > 1 else spec.name
            parameters = dict(spec.parameters)
            if len(group) > 1:
                parameters["table"] = " ".join(o.job.removeprefix(TABLE_PREFIX) for o in group)
            attempt = max(o.tries for o in group) + 1
            environ = {"SKYGRAPH_PLAN": str(self.live.home)}
            notebook = find_notebook(self.settings.workspace, spec.notebook)
            try:
                if notebook is None:
                    raise SkyGraphError(f"there is no notebook {spec.notebook!r}")
                worker = self._pool.take()
                run = self.runs.new(notebook, parameters, job=job, due_at=group[0].due_at, attempt=attempt)
            except SkyGraphError as error:
                if self._stopping.is_set():
                    return
                now = _milliseconds(_utc_now())
                run = JobRun(
                    str(uuid.uuid4()), job, spec.notebook, parameters, "failed", now, now, error=str(error), host=host_name(),
                    pid=os.getpid(), due_at=group[0].due_at, attempt=attempt,
                )  # fmt: skip
                with self.journal.change():
                    self._claim(group, run)
                self._settle(run)
                return
            self._workers[run.run_id] = worker
            run = self.runs.work(
                run, notebook, worker, timeout_s=spec.timeout_s, environ=environ, begun=lambda run: self._claim(group, run)
            )  # fmt: skip
            self._workers.pop(run.run_id, None)
            self._wait_to_settle(run)
            self.runs.tidy(run, keep=spec.keep)
        except (sqlite3.Error, OSError) as error:
            logger(job=name).warning("a run could not begin", error=str(error))
            self._hold_until = time.monotonic() + _TOLD_EVERY_S
        except Exception:
            logger(job=name).exception("a run could not be watched")
            self._hold_until = time.monotonic() + _TOLD_EVERY_S
        finally:
            if worker is not None:
                self._pool.done(worker)
            self._going.pop(name, None)
            self._wake.set()

    def _claim(self, group: Sequence[Occurrence], run: JobRun) -> None:
        """These are this run's: a part of the change that writes it."""
        for o in group:
            self.journal.set([o.id], state="running", run_id=run.run_id, tries=o.tries + 1)

    def _wait_to_settle(self, run: JobRun) -> None:
        """Settle a run; while the disk refuses, again and again, as nobody else knows what came of it."""
        while True:
            try:
                self._settle(run)
                return
            except sqlite3.Error as error:
                logger(job=run.job, run_id=run.run_id).warning("a run's end cannot be written yet", error=str(error))
                if self._stopping.wait(_TICK_S):
                    self._settle(run)
                    return

    # --- what came of a run

    def recover(self) -> None:
        """After a start: what the scheduler before left in the middle is ended, and taken again."""
        self.runs.reap()
        known: dict[str, JobRun] = {}
        for o in self.journal.open():
            if o.state == "running" and o.run_id not in known:
                found = self.journal.read("select facts from run where run_id = ?", o.run_id)
                if found:
                    known[str(o.run_id)] = JobRun.of(json.loads(found[0]["facts"]))
        for run in known.values():
            if run.status != "running":
                self._settle(run)

    def _settle(self, run: JobRun) -> None:
        """Write a run's end and all that follows from it, at once: tries, alerts, what comes after."""
        now = self.clock()
        changed: set[str] = set()
        with self.journal.change():
            self.runs.write(run)
            group = [o for o in self.journal.of_run(run.run_id) if o.state == "running"]
            told = run.result.get("tables")
            for o in group:
                outcome, error = run.status, run.error
                if o.job.startswith(TABLE_PREFIX) and isinstance(told, Mapping) and isinstance(
                    mine := told.get(o.job.removeprefix(TABLE_PREFIX)), Mapping
                ):  # fmt: skip
                    error = str(mine.get("error") or "")
                    outcome = "failed" if error else "ok"
                    self._note_seconds(o.job, mine.get("seconds"))
                if outcome == "ok":
                    changed |= self._succeeded(o, run, now)
                else:
                    self._not_succeeded(o, replace(run, status=outcome, error=error), now, group, is_told=isinstance(told, Mapping))
            for spec in self.plan.jobs.values():
                if changed & set(spec.after):
                    self._trigger(spec, now)
        self._wake.set()

    def _note_seconds(self, job: str, seconds: Any) -> None:
        if isinstance(seconds, (int, float)):
            with self.journal.change() as base:
                base.execute("update job set seconds = ? where name = ?", (float(seconds), job))

    def _succeeded(self, o: Occurrence, run: JobRun, now: dt.datetime) -> set[str]:
        """An occurrence is done; the names that what comes `after` may wait for."""
        self.journal.set([o.id], state="done", outcome="ok")
        with self.journal.change() as base:
            failing = base.execute("select failing from job where name = ?", (o.job,)).fetchone()
            if failing and failing["failing"]:
                base.execute("update job set failing = 0, alerted_at = null where name = ?", (o.job,))
                keep_alert(self.journal, o.job, "recovery", self._facts(o, run))
        names = {o.job}
        if o.job.startswith(TABLE_PREFIX):
            table = o.job.removeprefix(TABLE_PREFIX)
            mine = (run.result.get("tables") or {}).get(table) or {}
            # a try before this one may have brought rows without coming to its end
            names = {table, ANY_TABLE} if o.tries > 1 or mine.get("changed", 1) else set()
        for name in names:
            self._remember_success(name, now)
        return names

    def _remember_success(self, name: str, now: dt.datetime) -> None:
        with self.journal.change() as base:
            base.execute(
                "insert into success (name, at) values (?, ?) on conflict (name) do update set at = excluded.at", (name, text(now))
            )  # fmt: skip

    def _not_succeeded(self, o: Occurrence, run: JobRun, now: dt.datetime, group: Sequence[Occurrence], *, is_told: bool) -> None:
        spec = self.plan.jobs.get(o.job)
        log = logger(job=o.job, run_id=run.run_id)
        if run.status == "stopped" or (run.status == "lost" and o.lost + 1 < _MOST_LOST):
            lost = o.lost + (run.status == "lost")
            self.journal.set([o.id], state="queued", outcome=run.status, tries=o.tries - 1, lost=lost, not_before=0)
            log.warning("taken again at once", status=run.status)
            return
        bundle = o.bundle
        if o.job.startswith(TABLE_PREFIX) and len(group) > 1:
            # one that failed is tried alone; when the whole run came to nothing, its tables are tried in two halves
            half = [g.id for g in group].index(o.id) * 2 // len(group)
            bundle = f"alone {o.id}" if is_told else f"{run.run_id} {half}"
        if spec is not None and o.tries <= spec.retries:
            wait_s = min(_LONGEST_WAIT_S, spec.retry_wait_s * 2 ** (o.tries - 1))
            not_before = now.timestamp() + wait_s
            newer = [other for other in self.journal.open(o.job) if other.state == "queued" and other.id != o.id]
            if newer and spec.catch_up != "all":  # the one that waits is the next try of both
                self.journal.set([o.id], state="skipped", outcome=run.status)
                self.journal.set([newer[0].id], tries=max(o.tries, newer[0].tries), not_before=not_before)
            else:
                self.journal.set([o.id], state="queued", outcome=run.status, bundle=bundle, not_before=not_before)
            log.warning("to be tried again", status=run.status, tries=o.tries, again_s=wait_s, error=run.error)
            return
        self.journal.set([o.id], state="done", outcome=run.status)
        with self.journal.change() as base:
            base.execute("insert or ignore into job (name, whens, last_due) values (?, '', ?)", (o.job, text(now)))
            row = base.execute("select failing, alerted_at from job where name = ?", (o.job,)).fetchone()
            told_at = time_of(row["alerted_at"]) if row["alerted_at"] else None
            if not row["failing"] or told_at is None or now - told_at >= _REMIND:
                keep_alert(self.journal, o.job, "failure", self._facts(o, run))
                base.execute("update job set failing = 1, alerted_at = ? where name = ?", (text(now), o.job))
        log.error("failed", status=run.status, tries=o.tries, error=run.error)

    def _trigger(self, spec: JobSpec, now: dt.datetime) -> None:
        """Due now, if all that it runs after have succeeded since it was due last."""
        (last,) = self.journal.read("select max(due_at) as at from occurrence where job = ?", spec.name)
        marks = ", ".join("?" * len(spec.after))
        rows = self.journal.read(f"select name from success where name in ({marks}) and at > ?", *spec.after, last["at"] or "")
        if {row["name"] for row in rows} == set(spec.after):
            self._add(spec, _milliseconds(now), "after")

    def _facts(self, o: Occurrence, run: JobRun | None, **more: Any) -> dict[str, Any]:
        """What an alert says."""
        facts: dict[str, Any] = {
            "workspace": str(self.settings.workspace), "host": host_name(), "due_at": o.due_at.isoformat(), "tries": o.tries,
            "at": _utc_now().isoformat(),
        }  # fmt: skip
        if run is not None:
            facts |= {"status": run.status, "error": run.error, "run_id": run.run_id, "output": run.output,
                      "started_at": run.started_at.isoformat(), "finished_at": run.finished_at and run.finished_at.isoformat()}  # fmt: skip
        return facts | more

    # --- the lake and people

    def _serve_lake(self) -> None:
        """Bring runs to the lake, and read the watermarks that jobs wait for."""
        self._ship()
        waited = {wait.table for spec in self.plan.jobs.values() for wait in spec.wait_for}
        waiting = [o for o in self.journal.open() if o.job in self.plan.jobs and self.plan.jobs[o.job].wait_for] if waited else []
        if waiting and self._lake_is_up():
            states = Ledger(self.lake).states()
            marks = {name: states[name].watermark for name in waited if name in states}
            self._marks = {name: mark.value for name, mark in marks.items() if mark is not None and isinstance(mark.value, dt.datetime)}
            self._wake.set()

    def _ship(self) -> None:
        if self._lake_is_up() and self.journal.unshipped(1):
            self.runs.ship()

    def _lake_is_up(self) -> bool:
        """Whether it makes sense to ask: an embedded lake that does not run is not started for this."""
        embedded = self.lake.embedded
        return embedded is None or embedded.address() is not None

    def _serve_alerts(self) -> None:
        send_waiting(self.journal, self.plan.alerts)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_EVERY_S
            self.journal.forget_old()


def read_jobs(runs: Runs, workspace: Path, now: dt.datetime) -> JobList:
    """The plan as the files say now, and where each job stands by the journal. Asks no lake.

    Raises:
        InvalidFiles: the files are wrong, and no plan was ever right.
    """
    live = LivePlan(workspace, runs.settings.state_dir)
    live.read()
    home = runs.settings.state_dir / "scheduler"
    is_running = read_facts(home) is not None
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        told = json.loads((home / "state.json").read_text(encoding="utf-8"))
    journal = runs.journal
    rows = journal.jobs() if journal.exists else {}
    outcomes = journal.last_outcomes() if journal.exists else {}
    last = journal.last_runs() if journal.exists else {}
    open_: dict[str, Occurrence] = {}
    for o in journal.open() if journal.exists else []:
        if o.job not in open_ or o.state == "running":
            open_[o.job] = o
    found = []
    for spec in live.plan.jobs.values():
        outcome, current = outcomes.get(spec.name), open_.get(spec.name)
        run = JobRun.of(last[spec.name]) if spec.name in last else None
        of = current.run_id if current and current.state == "running" else outcome["run_id"] if outcome else None
        if of and (run is None or run.run_id != of):
            facts = journal.read("select facts from run where run_id = ?", of)
            shared = JobRun.of(json.loads(facts[0]["facts"])) if facts else None
            run = max((r for r in (run, shared) if r), key=lambda r: r.started_at, default=None)
        state, error = _state(spec, current, outcome, rows.get(spec.name), run, now)
        next_ = next_due(spec, now)
        found.append(
            JobState(spec.name, spec.notebook, spec.when, spec.parameters, state, next_, current.due_at if current else
                     time_of(outcome["due_at"]) if outcome else None, run, error)
        )  # fmt: skip
    problems = [str(p) for p in live.problems]
    return JobList(tuple(found), {**told, "running": is_running, "runs_going": told.get("running", 0), "problems": problems})


def _state(
    spec: JobSpec,
    current: Occurrence | None,
    outcome: sqlite3.Row | None,
    row: sqlite3.Row | None,
    run: JobRun | None,
    now: dt.datetime,
) -> tuple[str, str]:
    """The state of a job in a word, and what is wrong."""
    late_s = spec.lateness_s
    if current is not None:
        if current.late or (late_s is not None and (now - current.due_at).total_seconds() > late_s):
            return "late", f"was due at {current.due_at:%Y-%m-%d %H:%M:%S}" + ("" if current.state == "running" else ", and has not begun")
        if current.state == "running":
            return "running", ""
        return "waiting", (run.error if run and run.failed and current.tries else "")
    if row is not None and row["failing"]:
        return "failing", run.error if run else ""
    if outcome is None and run is None:
        return "never", ""
    if run is not None and run.failed and (outcome is None or outcome["run_id"] == run.run_id) and not spec.name.startswith(TABLE_PREFIX):
        return "failing", run.error
    return ("running" if run is not None and run.status == "running" and outcome is None else "ok"), ""


def _milliseconds(at: dt.datetime) -> dt.datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
