"""Hermes: the sync of one workspace. An iteration runs its tables side by side (each as `run.py` says) and keeps the ledger."""

from __future__ import annotations

import contextvars
import dataclasses
import datetime as dt
import fcntl
import getpass
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeUnavailable, QueryError, SkyGraphError, UsageError
from workbench.hermes.connector import STAGE_PREFIX, Connector, find_connector, machine
from workbench.hermes.lateness import LookbackAdvice, read_advice
from workbench.hermes.ledger import Ledger, SyncRun, TableState
from workbench.hermes.proof import Comparison, Proof, compare_table, verify_table
from workbench.hermes.quarantine import QuarantineList, prepare_quarantine, read_quarantine
from workbench.hermes.run import REWOUND, TableRun
from workbench.hermes.status import SyncStatus, duration, read_status
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.hermes.watermark import Watermark, parse_mark, short_mark
from workbench.lake import Lake
from workbench.lake.sql import current, quote_table
from workbench.log import logger

__all__ = ["Hermes", "SyncReport", "readable_folders"]

Progress = Callable[[str, int, int], None]  # message, tables done, tables in all

_AT_ONCE = 4
_LOOK_EVERY_S = 0.5
_PATIENCE_S = 30.0  # with a writer of SQLite, as long as its own clients have
_AGAIN_S = 0.02
_CHUNKS = 20
_RUNNING = " running\n"  # at the end of a lock's text


@dataclass(frozen=True)
class SyncReport(Answer):
    """What one iteration did: a run per table, in the order of the plan."""

    runs: tuple[SyncRun, ...]

    @property
    def failed(self) -> bool:
        """Whether any table failed."""
        return any(run.status != "ok" for run in self.runs)

    @property
    def inserted(self) -> int:
        """Rows inserted, over all tables."""
        return sum(run.inserted for run in self.runs)

    @property
    def deleted(self) -> int:
        """Tombstones written, over all tables."""
        return sum(run.deleted for run in self.runs)

    @property
    def quarantined(self) -> int:
        """Rows set apart because a value does not fit, over all tables."""
        return sum(run.quarantined for run in self.runs)

    def to_dict(self) -> Any:
        """`tables`: a row per run; `inserted`, `deleted`, `quarantined`: in all; `failed`: whether any table failed."""
        return {
            "tables": [run.to_dict() for run in self.runs],
            "inserted": self.inserted,
            "deleted": self.deleted,
            "quarantined": self.quarantined,
            "failed": self.failed,
        }

    def blocks(self) -> Iterator[Block]:
        """A grid of runs, then every error in full."""
        columns = ["table", "mode", "status", "read", "inserted", "deleted", "watermark", "seconds"]
        rows = [
            [r.table, r.mode, r.status, r.rows_read, r.inserted, r.deleted, short_mark(r.watermark_to), round(r.seconds, 2)]
            for r in self.runs
        ]
        yield Grid(columns, rows, empty="no table to sync; add one to sync_jobs/tables.yml")
        for run in self.runs:
            if run.error:
                yield Note(f"{run.table}: {run.error}", "bad")
            if run.quarantined:
                yield Note(f"{run.table}: {run.quarantined} row(s) do not fit; see `skygraph sync quarantine list {run.table}`", "bad")
            if run.note:
                yield Note(f"{run.table}: {run.note}", "quiet")


@dataclass
class Hermes:
    """The sync of one workspace: its plan, its lake, its ledger.

    Connections to sources are kept from one table of a sync to the next; with `keeps_open`, for many iterations, also from one of
    these to the next, until `close`.
    `reached` hears the name of every step of every run (`run.STEPS`), in the thread of the run.
    """

    lake: Lake
    plan: SyncPlan
    workspace: Path
    state_dir: Path
    keeps_open: bool = False
    reached: Callable[[str], None] = field(default=lambda step: None, repr=False)
    ledger: Ledger = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)
    _idle: dict[str, list[Connector]] = field(default_factory=dict, repr=False)
    _going: set[TableRun] = field(default_factory=set, repr=False)
    _looked: list[TableState] = field(default_factory=list, repr=False)
    _iterations: int = field(default=0, repr=False)  # that are going on

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.lake)
        self._prepared = False

    def close(self) -> None:
        """Let go of the sources."""
        for connectors in self._idle.values():
            for connector in connectors:
                connector.close()
        self._idle.clear()

    def stop(self) -> None:
        """End the runs that are going on, from another thread; they report that they were interrupted. Nothing is lost by it."""
        self._stopped.set()
        self._end_runs()

    def _end_runs(self) -> None:
        for run in list(self._going):
            if (stop := getattr(run.connector, "stop", None)) is not None:  # one that waits for its source
                stop()
        self.lake.stop_queries()

    # --- sync

    def sync(self, tables: Sequence[str] = (), *, full: bool = False, progress: Progress | None = None) -> SyncReport:
        """Sync these tables now, or all. Writes to the lake, never to a source.

        Tables run side by side; one that fails is said in the report and never stops another. With `full` the watermark is
        not used: every row is compared. Running it again is always safe. `progress` is called from this thread.

        Raises:
            UnknownName: a table that the plan has not; names the nearest.
            LakeUnavailable: the lake does not answer.
        """
        jobs = [self.plan.table(name) for name in dict.fromkeys(tables)] or list(self.plan.tables.values())
        return self._side_by_side(jobs, lambda run: run.sync(full=full), progress)

    def backfill(self, table: str, start: str, end: str = "", *, chunks: int = _CHUNKS, progress: Progress | None = None) -> SyncReport:
        """Read the rows with start <= watermark < end again, in chunks, each a run of its own; the watermark stays where it is.

        `end` is by default the table's watermark. A backfill that ended halfway goes on from the last chunk that was read when it is
        asked for again with the same bounds.

        Raises:
            UsageError: the table has no watermark, or a bound is not one.
        """
        job = self.plan.table(table)
        state = self.ledger.states().get(job.table)
        if not job.watermark or state is None or state.watermark is None:
            raise UsageError(f"{job.table} has no watermark to fill back by", hint=f"`skygraph sync {job.table} --full` reads every row")
        if state.watermark.kind == "text":
            raise UsageError(
                f"the watermark of {job.table} is a text, which cannot be cut in parts", hint=f"`skygraph sync {job.table} --full`"
            )
        low = parse_mark(state.watermark.kind, start)
        high = parse_mark(state.watermark.kind, end) if end else state.watermark
        if not high.later_than(low):
            raise UsageError(f"nothing lies from {low.text()} to before {high.text()}", hint="--from is before --to")
        cuts = low.cuts(high, chunks)
        label = f"backfill {low.text()} to {high.text()}"
        wanted = list(itertools.pairwise(cuts))
        # chunks are read in order: the last one that was tells where to go on; when it was the very last, all is asked for anew
        told = [run for run in self.ledger.runs(table=job.table, limit=1_000) if run.mode == "backfill" and run.status == "ok"]
        last = told[0].watermark_to if told and told[0].moved_by == label else ""
        ends = [b.text() for _, b in wanted]
        todo = wanted[ends.index(last) + 1 :] if last in ends[:-1] else wanted
        runs = []
        for n, (a, b) in enumerate(todo, 1):

            def fill(this: TableRun, a: Watermark = a, b: Watermark = b) -> SyncRun:
                return dataclasses.replace(this.backfill(a, b), moved_by=label)

            (run,) = self._side_by_side([job], fill).runs
            runs.append(run)
            if progress:
                progress(f"{job.table} to {short_mark(b.text())}: {run.rows_read} rows read, {run.inserted} inserted", n, len(todo))
            if run.status != "ok":
                break
        return SyncReport(tuple(runs))

    def replay(self, tables: Sequence[str] = (), *, progress: Progress | None = None) -> SyncReport:
        """Cast the quarantined rows of these tables, or of all, again; those that fit now land."""
        prepare_quarantine(self.lake)
        here = set(self.lake.query("select distinct table from skygraph.quarantine").column(0).to_pylist())
        jobs = [self.plan.table(name) for name in dict.fromkeys(tables)] or [j for j in self.plan.tables.values() if j.table in here]
        return self._side_by_side(jobs, lambda run: run.replay(), progress)

    def rewind(self, table: str, to: str) -> SyncReport:
        """Move a table's watermark by hand; the next sync reads from there. It is kept in `sync_runs` who did, and from where.

        Raises:
            UsageError: the table has no watermark yet, or `to` is not one.
        """
        job = self.plan.table(table)
        started = _now()
        with self._locked(job.table):
            state = self.ledger.states().get(job.table)
            if state is None or state.watermark is None:
                raise UsageError(f"{job.table} has no watermark yet", hint=f"run `skygraph sync {job.table}`")
            mark = parse_mark(state.watermark.kind, to)
            who = f"{_user()}, by hand"
            run_id = str(uuid.uuid4())
            version = max(_micros(started), state.version + 1)
            spec = state.spec.removesuffix(REWOUND) + REWOUND
            run = SyncRun(
                run_id, job.table, job.source, "rewind", "ok", started, _now(), state.watermark.text(), mark.text(), moved_by=who
            )  # fmt: skip
            self.ledger.record(run, version=_micros(run.finished_at))
            self.ledger.move_mark(dataclasses.replace(state, watermark=mark, run_id=run_id, version=version, spec=spec, moved_by=who))
        return SyncReport((run,))

    # --- running tables

    def _side_by_side(self, jobs: Sequence[TableJob], act: Callable[[TableRun], SyncRun], progress: Progress | None = None) -> SyncReport:
        self._prepare()
        # all states at once; a table that somebody takes a turn at meanwhile is looked at again
        turns = {job.table: self._turn(job.table) for job in jobs}
        looked = {table: (turns[table], *found) for table, found in self.ledger.look(list(turns)).items()}
        # an iteration of all tables takes them side by side: the engine does the work, threads only wait for it
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sync")
        self._iterations += 1
        watch = _Watch(self.lake, progress, len(jobs), self._going)
        try:
            # each run in a copy of the caller's context, so that its log lines say for which request it is
            futures: dict[Future[SyncRun], TableJob] = {
                pool.submit(contextvars.copy_context().run, self._run, job, act, looked[job.table]): job for job in jobs
            }
            left = set(futures)
            while left:
                ended, left = wait(left, timeout=_LOOK_EVERY_S if progress else None, return_when=FIRST_COMPLETED)
                for future in ended:
                    watch.ended(future.result())
                if not ended:
                    watch.look()
            runs = tuple(future.result() for future in futures)
        except KeyboardInterrupt:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self._end_runs()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._stopped.clear()
            self._iterations -= 1
            if not (self.keeps_open or self._iterations):
                self.close()
        # what did not change is no run worth keeping: only the time of the look is
        self.ledger.move_mark(*self._looked)
        self._looked.clear()
        return SyncReport(runs)

    def _prepare(self) -> None:
        if not self._prepared:
            self.lake.ping()
            self.ledger.prepare()
            prepare_quarantine(self.lake)
            self._drop_dead_stages()
            self._prepared = True

    def _drop_dead_stages(self) -> None:
        """Drop what processes of this machine that are gone left behind."""
        prefix = f"{STAGE_PREFIX}{machine()}_"
        for table in self.lake.tables("skygraph"):
            if table.startswith(prefix) and not _is_alive(int(table.removeprefix(prefix).partition("_")[0])):
                self.lake.command(f"drop table if exists {quote_table(f'skygraph.{table}')}{self.lake.placement.on_cluster} sync")

    def _run(self, job: TableJob, act: Callable[[TableRun], SyncRun], looked: tuple[str, TableState | None, bool]) -> SyncRun:
        """One table, under its lock; a failure of any kind is in the run, and in the ledger. `looked`: what it was at which turn."""
        log = logger(table=job.table, source=job.source)
        run_id, started = str(uuid.uuid4()), _now()
        with self._locked(job.table) as turn:
            deadline = time.monotonic() + _PATIENCE_S
            try:
                seen_at, state, is_there = looked
                is_known = turn == seen_at and not turn.endswith(_RUNNING)  # no other process and no rewind is passed over
                while True:
                    if not is_known:
                        state, is_there = self.ledger.look([job.table])[job.table]
                    try:
                        run = self._try(job, act, run_id, started, state, is_there)
                        break
                    except QueryError as error:
                        # SQLite's writer was at its commit when the engine came to read: what is read again changes nothing
                        if "database is locked" not in error.message or time.monotonic() > deadline or self._stopped.is_set():
                            raise
                        log.info("the source is being written; reading it again", run_id=run_id)
                        self._stopped.wait(_AGAIN_S)
                        run_id, started, is_known = str(uuid.uuid4()), _now(), False
            except LakeUnavailable:
                raise
            except SkyGraphError as error:
                run = _failure(job, run_id, started, str(error))
                if self._stopped.is_set():
                    said = "interrupted; run it again: it goes on from where it was"
                    run = dataclasses.replace(run, status="stopped", error=said)
            except Exception as error:
                log.exception("sync failed unexpectedly", run_id=run_id)
                run = _failure(job, run_id, started, f"unexpected {type(error).__name__}: {error}")
            if run.mode != "unchanged":
                try:
                    self.ledger.record(run, version=_micros(run.finished_at))
                except QueryError:  # a stop ends every statement, this one too
                    self.ledger.record(run, version=_micros(run.finished_at) + 1)
        log.info("table synced", run_id=run_id, status=run.status, mode=run.mode, row_count=run.rows_read, inserted=run.inserted,
                 deleted=run.deleted, quarantined=run.quarantined, elapsed_s=round(run.seconds, 3), error=run.error or None)  # fmt: skip
        return run

    def _try(
        self, job: TableJob, act: Callable[[TableRun], SyncRun], run_id: str, started: dt.datetime, state: TableState | None, is_there: bool
    ) -> SyncRun:
        """One try of a table, from this state; under the lock."""
        with self._connector(self.plan.sources[job.source]) as connector:
            this = TableRun(self.lake, self.ledger, connector, job, run_id, started, state, self._step, is_there)
            self._going.add(this)
            try:
                run = act(this)
            finally:
                self._going.discard(this)
            if run.mode == "unchanged" and this.state:
                self._looked.append(dataclasses.replace(this.state, synced_at=run.finished_at, version=this.state.version + 1))
        return run

    def _step(self, step: str) -> None:
        if self._stopped.is_set():
            raise SkyGraphError("interrupted", hint="run it again: it goes on from where it was")
        self.reached(step)

    # --- proof

    def compare(self, tables: Sequence[str] = ()) -> Comparison:
        """Compare current rows with the sources, in the engine: counts, and a checksum over all columns of all rows."""
        jobs = [self.plan.table(name) for name in dict.fromkeys(tables)] or list(self.plan.tables.values())
        self._prepare()
        found = []
        for job in jobs:
            with self._table_run(job) as this:
                found.append(compare_table(this))
        return Comparison(tuple(found))

    def verify(self, table: str) -> Proof:
        """Replay the proof of the last run: what it read, at the source now, in the lake now, and what its receipt says."""
        job = self.plan.table(table)
        self._prepare()
        runs = [r for r in self.ledger.runs(table=job.table) if r.status == "ok" and r.mode in ("incremental", "full", "backfill")]
        with self._table_run(job) as this:
            return verify_table(this, runs[0] if runs else None)

    @contextmanager
    def _table_run(self, job: TableJob) -> Iterator[TableRun]:
        with self._connector(self.plan.sources[job.source]) as connector:
            yield TableRun(self.lake, self.ledger, connector, job, str(uuid.uuid4()), _now(), None, self._step, True)

    # --- what there is

    def status(self, *, counts: bool = True) -> SyncStatus:
        """Watermark, lag and last runs of every table of the plan; without `counts`, and for a viewer, no row is counted."""
        if self.lake.is_read_only:
            seen = "sync_runs" in self.lake.tables("skygraph")
            states, runs = (self.ledger.states(), self.ledger.last_runs(most=20)) if seen else ({}, {})
            return read_status(self.plan, states, runs, {}, {}, now=_now())
        self._prepare()
        here = set(self.lake.tables("raw")) if counts else set()
        rows = {
            job.table: int(self.lake.scalar(f"select count() from {current(job.raw)}"))
            for job in self.plan.tables.values()
            if job.table in here
        }
        kept = self.lake.query("select table, count() as rows from skygraph.quarantine group by table").to_pylist()
        return read_status(
            self.plan, self.ledger.states(), self.ledger.last_runs(most=20), rows, {r["table"]: r["rows"] for r in kept}, now=_now()
        )

    def quarantine(self, tables: Sequence[str] = (), *, limit: int = 100) -> QuarantineList:
        """The rows that do not fit, of these tables or of all, newest first."""
        return read_quarantine(self.lake, [self.plan.table(name).table for name in tables], limit=limit)

    def lookback(self, tables: Sequence[str] = ()) -> LookbackAdvice:
        """How late rows have come, per table with a watermark, and the lookback that would have caught them."""
        self._prepare()
        jobs = [self.plan.table(name) for name in dict.fromkeys(tables)] or list(self.plan.tables.values())
        here = set(self.lake.tables("raw"))
        return read_advice(self.lake, [job for job in jobs if job.watermark and job.table in here])

    # --- sources

    @contextmanager
    def _connector(self, source: Source) -> Iterator[Connector]:
        """A connector of the source, for one thread; one that was used before when its source keeps connections."""
        idle = self._idle.setdefault(source.name, [])
        connector = None
        with suppress(IndexError):
            connector = idle.pop()
        if connector is None:
            connector = _open(source, self.workspace, self.lake)
        kept = False
        try:
            yield connector
            kept = bool(self.keeps_open or self._iterations) and bool(getattr(connector, "stays_open", False))
        finally:
            if kept:
                idle.append(connector)
            else:
                connector.close()

    def is_running(self, table: str) -> bool:
        """Whether a sync of this table runs now on this machine, in whatever process.

        Raises:
            UnknownName: a table that the plan has not; names the nearest.
        """
        try:
            with open(self.state_dir / "lock" / f"sync-{self.plan.table(table).table}", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold back every sync of this machine: those that run end first, others wait until the end of the block."""
        with ExitStack() as held:
            for table in sorted(self.plan.tables):
                held.enter_context(self._locked(table))
            yield

    @contextmanager
    def _locked(self, table: str) -> Iterator[str]:
        """One sync of a table at a time on this machine; a second one waits. Gives the turn that ended last, as `_turn` does.

        A statement that a killed process of ours left running at the server is ended before another begins.
        """
        folder = self.state_dir / "lock"
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / f"sync-{table}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            turn = self._turn(table)
            if turn.endswith(_RUNNING):  # the last one did not end: it was killed
                try:
                    self.lake.stop_tagged(f"sync:{table}:")
                except QueryError as error:  # what is left of it does no harm: its rows have lower versions
                    logger(table=table).warning("could not end the statements of a killed sync", error=str(error))
            number = turn.removesuffix(_RUNNING)
            mine = str(int(number) + 1 if number.isdecimal() else 1)
            os.pwrite(file, f"{mine}{_RUNNING}".encode(), 0)
            try:
                yield turn
            finally:
                os.truncate(file, len(mine))
        finally:
            os.close(file)

    def _turn(self, table: str) -> str:
        """The number of syncs of a table on this machine so far, `_RUNNING` after it while one runs; another text after each."""
        with suppress(FileNotFoundError):
            return (self.state_dir / "lock" / f"sync-{table}").read_text(encoding="utf-8")
        return ""


@dataclass
class _Watch:
    """Says how far the tables are: each that has ended and, in between, rows and rows a second of what runs."""

    lake: Lake
    progress: Progress | None
    total: int
    going: set[TableRun]
    done: int = 0

    def ended(self, run: SyncRun) -> None:
        self.done += 1
        if self.progress:
            what = "nothing changed" if run.mode == "unchanged" else f"{run.inserted:,} rows"
            what += f", {run.deleted:,} deleted" if run.deleted else ""
            what += f", {run.quarantined:,} in quarantine" if run.quarantined else ""
            self.progress(f"{run.table}: {what if run.status == 'ok' else run.status}", self.done, self.total)

    def look(self) -> None:
        if not self.progress:
            return
        going = list(self.going)
        with suppress(SkyGraphError):
            read = sum(self.lake.running(run.tag)[0] for run in going)
            seconds = max((self.lake.running(run.tag)[2] for run in going), default=0.0)
            if not read or not seconds:
                return
            tables = ", ".join(sorted(run.job.table for run in going))
            expected = sum(run.expected for run in going)
            speed = read / seconds
            left = f" of about {expected:,}, about {duration((expected - read) / speed)} left" if expected > read else ""
            self.progress(f"{tables}: {read:,} rows{left}, {speed:,.0f} rows/s", self.done, self.total)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"user {os.getuid()}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def readable_folders(plan: SyncPlan, workspace: Path, state_dir: Path) -> list[Path]:
    """Folders of file sources that an embedded engine may read: never one that holds the workspace's own state.

    A folder inside `.skygraph/` is made when it is not there, so that the engine can be given it.
    """
    found: list[Path] = []
    for source in plan.sources.values():
        connector = find_connector(source.connector)
        ask = getattr(connector, "readable", None)
        if ask is None:
            continue
        try:
            folder: Path = ask(connector.options_class(**source.resolved()), workspace)
        except SkyGraphError:
            continue  # a variable that is not set: said when the source is synced
        if folder.is_relative_to(state_dir) and folder != state_dir and not folder.is_relative_to(state_dir / "lake"):
            folder.mkdir(parents=True, exist_ok=True)
        elif state_dir.is_relative_to(folder) or folder.is_relative_to(state_dir):
            continue
        if folder not in found:
            found.append(folder)
    return found


def _open(source: Source, workspace: Path, lake: Lake) -> Connector:
    connector = find_connector(source.connector)
    return connector(connector.options_class(**source.resolved()), workspace=workspace, lake=lake)


def _failure(job: TableJob, run_id: str, started: dt.datetime, error: str) -> SyncRun:
    return SyncRun(run_id, job.table, job.source, "", "failed", started, _now(), error=error)


def _now() -> dt.datetime:
    """The time to the millisecond, as the ledger keeps it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _micros(time: dt.datetime) -> int:
    return int(time.timestamp() * 1_000_000)
