"""One iteration of sync: read the mark, pull, insert what changed, sweep what is gone, move the mark.

Rows first, mark second. The lower bound is inclusive and goes back by the lookback, so the boundary is read again; rows that
are current already are not inserted again. A run that ends anywhere, followed by another, gives the same current rows.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeError, LakeUnavailable, SkyGraphError, SourceError, UsageError
from workbench.hermes.connector import Connector, SourceColumn, SourceTable, find_connector
from workbench.hermes.ledger import Ledger, SyncRun, TableState
from workbench.hermes.status import SyncStatus, read_status
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.hermes.watermark import Watermark, short_mark
from workbench.lake import Lake
from workbench.lake.sql import RAW_COLUMNS, Column, create_replacing, current, quote, quote_table, quote_text, row_hash
from workbench.log import logger

__all__ = ["Comparison", "Hermes", "SyncReport", "TableComparison"]

Progress = Callable[[str, int, int], None]  # message, tables done, tables in all

# ClickHouse numbers of "this value does not parse as that type": the source's fault, not the lake's
_CAST_CODES = {6, 38, 41, 53, 69, 70, 72, 349, 407}
_AT_ONCE = 4


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

    def to_dict(self) -> Any:
        """`tables`: a row per run; `inserted`, `deleted`: in all; `failed`: whether any table failed."""
        return {
            "tables": [run.to_dict() for run in self.runs],
            "inserted": self.inserted,
            "deleted": self.deleted,
            "failed": self.failed,
        }

    def blocks(self) -> Iterator[Block]:
        """A grid of runs, then every error in full."""
        columns = ["table", "mode", "status", "inserted", "deleted", "watermark", "seconds"]
        rows = [[r.table, r.mode, r.status, r.inserted, r.deleted, short_mark(r.watermark_to), round(r.seconds, 2)] for r in self.runs]
        yield Grid(columns, rows, empty="no table to sync; add one to sync_jobs/tables.yml")
        for run in self.runs:
            if run.error:
                yield Note(f"{run.table}: {run.error}", "bad")


@dataclass(frozen=True)
class TableComparison:
    """Current rows of one table against its source: counts and a checksum over all columns of all rows, on both sides."""

    table: str
    source_rows: int
    current_rows: int
    physical_rows: int
    source_checksum: str
    current_checksum: str

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return (self.source_rows, self.source_checksum) == (self.current_rows, self.current_checksum)


@dataclass(frozen=True)
class Comparison(Answer):
    """Current rows against the sources, table by table."""

    tables: tuple[TableComparison, ...]

    @property
    def failed(self) -> bool:
        """Whether any table differs from its source."""
        return not all(t.equal for t in self.tables)

    def to_dict(self) -> Any:
        """A row per table, with `equal`."""
        return [{**t.__dict__, "equal": t.equal} for t in self.tables]

    def blocks(self) -> Iterator[Block]:
        """A grid: both sides of every table."""
        columns = ["table", "source rows", "current rows", "physical rows", "source checksum", "current checksum", "equal"]
        yield Grid(columns, [[*t.__dict__.values(), t.equal] for t in self.tables], empty="no table to compare")


@dataclass
class Hermes:
    """The sync of one workspace: its plan, its lake, its ledger."""

    lake: Lake
    plan: SyncPlan
    workspace: Path
    state_dir: Path
    ledger: Ledger = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.lake)

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
        self.lake.ping()
        self.ledger.prepare()
        # an iteration of all tables takes them side by side: the engine does the work, threads only wait for it
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sync")
        self._stopped.clear()
        try:
            futures = {pool.submit(self._run, job, full=full): job for job in jobs}
            for done, future in enumerate(as_completed(futures), 1):
                run = future.result()
                if progress:
                    what = f"{run.inserted} rows" + (f", {run.deleted} deleted" if run.deleted else "")
                    progress(f"{run.table}: {what if run.status == 'ok' else 'failed'}", done, len(jobs))
            return SyncReport(tuple(future.result() for future in futures))
        except KeyboardInterrupt:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self.lake.stop_queries()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def go_on(self) -> None:
        """Called between the steps of a run.

        Raises:
            SkyGraphError: the sync was interrupted.
        """
        if self._stopped.is_set():
            raise SkyGraphError("interrupted", hint="run it again: it goes on from where it was")

    def _run(self, job: TableJob, *, full: bool) -> SyncRun:
        """One table, under its lock; a failure of any kind is in the run, and in the ledger."""
        log = logger(table=job.table, source=job.source)
        run_id = str(uuid.uuid4())
        started = _now()
        with self._locked(job.table):
            try:
                with self._connector(self.plan.sources[job.source]) as connector:
                    run = _TableSync(self, connector, job, run_id, started).run(full=full)
            except LakeUnavailable:
                raise
            except SkyGraphError as error:
                run = _failure(job, run_id, started, str(error))
            except Exception as error:
                log.exception("sync failed unexpectedly", run_id=run_id)
                run = _failure(job, run_id, started, f"unexpected {type(error).__name__}: {error}")
            self.ledger.record(run, version=_micros(run.finished_at))
        log.info("table synced", run_id=run_id, status=run.status, mode=run.mode, inserted=run.inserted,
                 deleted=run.deleted, elapsed_s=round(run.seconds, 3), error=run.error or None)  # fmt: skip
        return run

    # --- proof

    def compare(self, tables: Sequence[str] = ()) -> Comparison:
        """Compare current rows with the sources, in the engine: counts, and a checksum over all columns of all rows."""
        jobs = [self.plan.table(name) for name in dict.fromkeys(tables)] or list(self.plan.tables.values())
        return Comparison(tuple(self._compare(job) for job in jobs))

    def _compare(self, job: TableJob) -> TableComparison:
        here_columns = self.lake.columns(job.raw)
        if not here_columns:
            raise LakeError(f"{job.raw} has not been synced yet", hint=f"run `skygraph sync {job.table}`")
        with self._connector(self.plan.sources[job.source]) as connector:
            columns = _landing(job, connector.describe(job.from_, key=job.key))
            if changed := [c.name for c in columns if here_columns.get(c.name) != c.type]:
                raise LakeError(
                    f"{job.raw} has not been synced since {changed[0]} changed at the source", hint=f"run `skygraph sync {job.table}`"
                )
            names = [c.name for c in columns]
            fold = f"select count(), lower(hex(sum(cityHash64({row_hash(names)}))))"
            gone = f" where not ({_flag(job)})" if job.deleted_column else ""
            with connector.rows(SourceTable(job.from_, columns), names) as select:
                source = self.lake.query(f"{fold} from (\n{select}\n){gone}")
            here = self.lake.query(f"{fold} from {current(job.raw)}")
            physical = self.lake.query_history(f"select count() from {quote_table(job.raw)}")
        return TableComparison(
            job.table, source.column(0)[0].as_py(), here.column(0)[0].as_py(), physical.column(0)[0].as_py(),
            source.column(1)[0].as_py(), here.column(1)[0].as_py(),
        )  # fmt: skip

    # --- what there is

    def status(self) -> SyncStatus:
        """Watermark, lag and last run of every table of the plan."""
        self.ledger.prepare()
        here = self.lake.query("select name from system.tables where database = 'raw'").column(0).to_pylist()
        rows = {
            job.table: int(self.lake.scalar(f"select count() from {current(job.raw)}"))
            for job in self.plan.tables.values()
            if job.table in here
        }
        return read_status(self.plan, self.ledger.states(), self.ledger.last_runs(), rows, now=_now())

    # --- sources

    @contextmanager
    def _connector(self, source: Source) -> Iterator[Connector]:
        connector = _open(source, self.workspace, self.lake)
        try:
            yield connector
        finally:
            connector.close()

    @contextmanager
    def _locked(self, table: str) -> Iterator[None]:
        """One sync of a table at a time on this machine; a second one waits."""
        folder = self.state_dir / "lock"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"sync-{table}", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclass
class _TableSync:
    """The steps of one run of one table."""

    hermes: Hermes
    connector: Connector
    job: TableJob
    run_id: str
    started: dt.datetime

    def run(self, *, full: bool) -> SyncRun:
        job = self.job
        columns = _landing(job, self.connector.describe(job.from_, key=job.key))
        source = SourceTable(job.from_, columns)
        for name in filter(None, (*job.key, job.watermark, job.deleted_column)):
            source.column(name)
        if job.watermark and not re.match(r"(Nullable\()?(U?Int|Date|String)", kind := source.column(job.watermark).type):
            raise SourceError(
                f"{job.from_}.{job.watermark} is {kind}: a watermark is a time, a whole number or a text",
                hint="leave the watermark out to compare every row each time",
            )
        state = self.hermes.ledger.states().get(job.table)
        grown = self._make_table(columns, state)
        read_so_far = (job.source, job.from_, job.watermark)
        mark = state.watermark if state and (state.source, state.from_, state.watermark_column) == read_so_far else None
        # asked before the rows are read: what arrives meanwhile may be read too, but is never passed over
        high = self.connector.high_mark(source, job.watermark) if job.watermark else None
        # a source behind our mark has gone back (restored, clock set back): what it has now may lie under any bound
        gone_back = mark is not None and mark != high and mark.later_than(high)
        since = mark.back(job.lookback) if mark and not (full or grown or gone_back) else None
        mode = "incremental" if since else "full"
        # above every row and state that is there, whatever the clock says
        version = max(_micros(self.started), self._highest_version() + 1, state.version + 2 if state else 0)
        try:
            self._refuse_doubled_keys(source, since)
            inserted = self._insert_changed(source, columns, since, version)
            if job.deletes == "sweep":
                self.hermes.go_on()
                if since and self._has_missing_keys(source):
                    # a key that is at the source and not current came back under the bound: read everything
                    inserted += self._insert_changed(source, columns, None, version)
                    mode = "full"
                self.hermes.go_on()
                deleted = self._sweep(source, columns, version + 1)
            else:
                deleted = 0
        except SkyGraphError as error:
            if getattr(error, "code", None) in _CAST_CODES:
                raise SourceError(
                    f"a value of {job.from_} does not fit its column: {error.message}",
                    hint="correct it at the source, or set a type under `columns:`",
                ) from error
            raise
        finished = _now()
        self.hermes.ledger.move_mark(TableState(job.table, job.source, high, self.run_id, finished, version, job.from_, job.watermark))
        return SyncRun(
            self.run_id, job.table, job.source, mode, "ok", self.started, finished,
            mark.text() if mark else "", high.text() if high else "", inserted, deleted,
        )  # fmt: skip

    def _make_table(self, columns: Sequence[SourceColumn], state: TableState | None) -> bool:
        """Make the raw table, or add the columns that are new; whether all rows are to be read for that.

        A changed type or key stops the table.
        """
        lake, job = self.hermes.lake, self.job
        here = lake.columns(job.raw)
        if not here:
            self._forget_mark(state)
            wanted = [Column(c.name, c.type) for c in columns] + list(RAW_COLUMNS)
            lake.command(
                create_replacing(job.raw, wanted, key=job.key, version="_version", deleted="_deleted", placement=lake.placement),
                retry=True,
            )
            return True
        redo = f"drop table raw.{job.table} to have it made anew, then `skygraph sync {job.table}`"
        if (key := lake.key(job.raw)) != list(job.key):
            raise SourceError(f"{job.raw} has the key {', '.join(key)}, sync_jobs says {', '.join(job.key)}", hint=redo)
        for column in columns:
            if column.name in here and here[column.name] != column.type:
                raise SourceError(
                    f"{job.raw}.{column.name} is {here[column.name]}, at the source it is now {column.type} ({column.source_type})",
                    hint=redo,
                )
        names = [c.name for c in columns]
        new = [c for c in columns if c.name not in here]
        if new:
            self._forget_mark(state)
        for column in new:
            at = names.index(column.name)
            where = f"after {quote(names[at - 1])}" if at else "first"
            lake.command(
                f"alter table {quote_table(job.raw)}{lake.placement.on_cluster} "
                f"add column if not exists {quote(column.name)} {column.type} {where}",
                retry=True,
            )
        return bool(new)

    def _forget_mark(self, state: TableState | None) -> None:
        """Before a change that needs all rows read: a run that ends halfway leaves no mark that hides them from the next."""
        if state and state.watermark:
            self.hermes.ledger.move_mark(dataclasses.replace(state, watermark=None, version=state.version + 1))

    def _highest_version(self) -> int:
        """The highest version in the table, whatever the clocks say: the next one is above it."""
        found = self.hermes.lake.query_history(f"select max(_version) from {quote_table(self.job.raw)}")
        return int(found.column(0)[0].as_py() or 0)

    def _insert_changed(self, source: SourceTable, columns: Sequence[SourceColumn], since: Watermark | None, version: int) -> int:
        """Insert the rows that are new or differ from the current ones; those at or past `since`, or all."""
        lake, job = self.hermes.lake, self.job
        names = [c.name for c in columns]
        bound = _at_or_past(source.column(job.watermark), since) if since else "true"
        known = f"select {row_hash(names)} from {current(job.raw)} where {bound}"
        fresh = f"{row_hash(names)} not in ({known})"
        if job.deleted_column:
            key = f"({', '.join(map(quote, job.key))})"
            live = f"{key} in (select {', '.join(map(quote, job.key))} from {current(job.raw)})"
            fresh = f"if({_flag(job)}, {live}, {fresh})"
        with self.connector.rows(source, names, watermark=job.watermark, since=since) as select:
            return lake.command(
                f"insert into {quote_table(job.raw)} ({', '.join(map(quote, names))}, {_OUR_COLUMNS})\n"
                f"select {', '.join(map(quote, names))}, {{version:UInt64}}, {_flag(job)}, now64(3), {{run:String}}\n"
                f"from (\n{select}\n)\nwhere {bound} and {fresh}",
                {"version": version, "run": self.run_id},
            )

    def _refuse_doubled_keys(self, source: SourceTable, since: Watermark | None) -> None:
        """Stop when the rows to be read hold a key twice: only one of them could be current, and nobody could say which."""
        lake, job = self.hermes.lake, self.job
        key = ", ".join(map(quote, job.key))
        names = list(dict.fromkeys([*job.key, *([job.watermark] if job.watermark else [])]))
        with self.connector.rows(source, names, watermark=job.watermark, since=since) as select:
            found = lake.query(
                f"select {', '.join(f'toString({quote(k)})' for k in job.key)}, count() from (\n{select}\n) "
                f"group by {key} having count() > 1 limit 3"
            )
        if found.num_rows:
            examples = [f"({', '.join(map(str, list(row.values())[:-1]))})" for row in found.to_pylist()]
            raise SourceError(
                f"the key ({', '.join(job.key)}) of {job.from_} is not unique at the source, for example {', '.join(examples)}",
                hint="name the columns that make a row unique under `key:`",
            )

    def _has_missing_keys(self, source: SourceTable) -> bool:
        """Whether the source has a key that is not current here."""
        lake, job = self.hermes.lake, self.job
        key = ", ".join(map(quote, job.key))
        with self.connector.rows(source, job.key) as select:
            found = lake.query(f"select 1 from (\n{select}\n) where ({key}) not in (select {key} from {current(job.raw)}) limit 1")
        return bool(found.num_rows)

    def _sweep(self, source: SourceTable, columns: Sequence[SourceColumn], version: int) -> int:
        """Write a tombstone, with the last known values, for every current key that the source no longer has."""
        lake, job = self.hermes.lake, self.job
        names = ", ".join(quote(c.name) for c in columns)
        key = ", ".join(map(quote, job.key))
        with self.connector.rows(source, job.key) as select:
            return lake.command(
                f"insert into {quote_table(job.raw)} ({names}, {_OUR_COLUMNS})\n"
                f"select {names}, {{version:UInt64}}, 1, now64(3), {{run:String}}\nfrom {current(job.raw)}\n"
                f"where ({key}) not in (\n{select}\n)",
                {"version": version, "run": self.run_id},
            )


_OUR_COLUMNS = ", ".join(quote(c.name) for c in RAW_COLUMNS)


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


def _landing(job: TableJob, table: SourceTable) -> tuple[SourceColumn, ...]:
    """The columns that land: those of the source, less the dropped ones, cast ones with their given type."""
    for name in job.columns:
        table.column(name)
    ours = {c.name for c in RAW_COLUMNS}
    landing = []
    for column in table.columns:
        given = job.columns.get(column.name)
        if given == "drop":
            continue
        if column.name in ours:
            raise UsageError(
                f"{job.from_} has a column {column.name}, a name SkyGraph uses itself", hint=f"drop it under `columns:` of {job.table}"
            )
        landing.append(SourceColumn(column.name, given or column.type, column.source_type))
    return tuple(landing)


def _flag(job: TableJob) -> str:
    """The value of `_deleted` for a row of the source."""
    return f"toUInt8(ifNull(toBool({quote(job.deleted_column)}), false))" if job.deleted_column else "0"


def _at_or_past(column: SourceColumn, since: Watermark) -> str:
    """The exact, inclusive lower bound. A row without a watermark is always read."""
    name = quote(column.name)
    if since.kind == "time":
        value = f"toDateTime64({quote_text(since.text())}, 6, 'UTC')"
    else:
        value = since.text() if since.kind == "integer" else quote_text(since.text())
    return f"({name} >= {value} or {name} is null)" if column.type.startswith("Nullable(") else f"{name} >= {value}"


def _failure(job: TableJob, run_id: str, started: dt.datetime, error: str) -> SyncRun:
    return SyncRun(run_id, job.table, job.source, "", "failed", started, _now(), error=error)


def _now() -> dt.datetime:
    """The time to the millisecond, as the ledger keeps it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _micros(time: dt.datetime) -> int:
    return int(time.timestamp() * 1_000_000)
