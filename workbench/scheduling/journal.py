"""The journal: what is due, what was begun and what came of it, on this machine's disk, whatever becomes of the lake.

One SQLite file, `.skygraph/scheduler/journal.sqlite`, every change on the disk before the call returns. Three kinds of rows:

- an **occurrence**: a job that is due at a time, once (`unique (job, due_at)`). `queued` until its run begins, then `running`, in the end
  `done`, or `skipped`. `outcome` is the status of its last run. Occurrences of one `bundle` are done by one run.
- a **run**: one attempt, as `JobRun`, written before its process is told to begin; `shipped` is the version that the lake has.
- an **alert** that is to be sent, until it is.

Several processes may use it at once. Errors of the disk come out as `sqlite3.OperationalError`: whoever can wait tries again.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Journal", "Occurrence"]

_SCHEMA = """
create table if not exists job (
  name text primary key, whens text not null, last_due text not null, failing integer not null default 0, alerted_at text,
  seconds real);
create table if not exists occurrence (
  id integer primary key, job text not null, due_at text not null, why text not null, state text not null default 'queued',
  bundle text not null default '', tries integer not null default 0, lost integer not null default 0, not_before real not null default 0,
  run_id text, outcome text not null default '', late integer not null default 0, unique (job, due_at));
create index if not exists occurrence_open on occurrence (due_at, id) where state in ('queued', 'running');
create index if not exists occurrence_run on occurrence (run_id) where run_id is not null;
create table if not exists run (
  run_id text primary key, started_at text not null, job text not null, status text not null, facts text not null,
  version integer not null, shipped integer not null default 0, processes text not null default '[]');
create index if not exists run_unshipped on run (version) where shipped < version;
create index if not exists run_job on run (job, started_at);
create index if not exists run_time on run (started_at);
create index if not exists run_open on run (status) where status = 'running';
create table if not exists success (name text primary key, at text not null);
create table if not exists alert (
  id text primary key, job text not null, event text not null, facts text not null, tries integer not null default 0,
  not_before real not null default 0, error text not null default '');
"""
_KEPT_RUNS, _KEPT_OCCURRENCES = "-90 days", "-7 days"


@dataclass(frozen=True)
class Occurrence:
    """A job that is due. `tries` were made of it, of which `lost` ended without a word; `not_before` is in seconds since 1970."""

    id: int
    job: str
    due_at: dt.datetime
    why: str
    state: str
    bundle: str
    tries: int
    lost: int
    not_before: float
    run_id: str | None
    outcome: str
    late: bool


class Journal:
    """The journal of one workspace; safe to use from several threads. Opened, and made, when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.exists()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk at the end of the block, or none."""
        with self._lock:
            base = self._connection()
            if base.in_transaction:  # a part of a larger change
                yield base
                return
            base.execute("begin immediate")
            try:
                yield base
                base.execute("commit")
            except BaseException:
                if base.in_transaction:
                    base.execute("rollback")
                raise

    def read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a select."""
        with self._lock:
            return self._connection().execute(sql, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            base = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            base.row_factory = sqlite3.Row
            base.execute("pragma journal_mode = wal")
            base.execute("pragma synchronous = full")
            base.executescript(_SCHEMA)
            self._open = base
        return self._open

    # --- jobs

    def jobs(self) -> dict[str, sqlite3.Row]:
        """What is known of each job: `whens`, `last_due`, `failing`, `alerted_at`, `seconds` of its last run."""
        return {row["name"]: row for row in self.read("select * from job")}

    def passed(self, job: str, when: str, due_at: dt.datetime) -> None:
        """Remember up to which time a job was looked at."""
        with self.change() as base:
            base.execute(
                "insert into job (name, whens, last_due) values (?, ?, ?) "
                "on conflict (name) do update set whens = excluded.whens, last_due = excluded.last_due", (job, when, text(due_at)),
            )  # fmt: skip

    # --- occurrences

    def add(self, job: str, due_at: dt.datetime, why: str, *, state: str = "queued", outcome: str = "") -> bool:
        """Add an occurrence; False when there is one of that job and time already."""
        with self.change() as base:
            found = base.execute(
                "insert or ignore into occurrence (job, due_at, why, state, outcome) values (?, ?, ?, ?, ?)",
                (job, text(due_at), why, state, outcome),
            )
            return found.rowcount == 1

    def open(self, job: str = "") -> list[Occurrence]:
        """Those that are queued or running, of a job or of all, in the order in which they are due."""
        where = "and job = ?" if job else ""
        found = self.read(
            f"select * from occurrence where state in ('queued', 'running') {where} order by due_at, id", *([job] if job else [])
        )  # fmt: skip
        return [_occurrence(row) for row in found]

    def of_run(self, run_id: str) -> list[Occurrence]:
        """Those that this run was of."""
        return [_occurrence(r) for r in self.read("select * from occurrence where run_id = ? order by id", run_id)]

    def set(self, ids: Sequence[int], **values: Any) -> None:
        """Set columns of occurrences."""
        names = ", ".join(f"{name} = ?" for name in values)  # the names are ours
        with self.change() as base:
            base.executemany(f"update occurrence set {names} where id = ?", [(*values.values(), id) for id in ids])

    # --- runs

    def write_run(self, facts: Mapping[str, Any], version: int, processes: Sequence[tuple[int, float]] | None = None) -> None:
        """Write a run as it is now. `processes` are those that do it, each with the time of its start, so that they can be found again."""
        told = json.dumps(processes) if processes is not None else None
        with self.change() as base:
            base.execute(
                "insert into run (run_id, started_at, job, status, facts, version, processes) values (?, ?, ?, ?, ?, ?, coalesce(?, '[]')) "
                "on conflict (run_id) do update set status = excluded.status, facts = excluded.facts, "
                "version = max(excluded.version, version + 1), processes = coalesce(?, processes)",
                (facts["run_id"], facts["started_at"], facts["job"], facts["status"], json.dumps(facts), version, told, told),
            )

    def running(self) -> list[tuple[dict[str, Any], list[tuple[int, float]]]]:
        """The runs that have no end yet, with their processes."""
        found = self.read("select facts, processes from run where status = 'running' order by started_at")
        return [(json.loads(r["facts"]), [(int(p), float(t)) for p, t in json.loads(r["processes"])]) for r in found]

    def runs(self, job: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """The newest runs of a job, or of all."""
        where, values = ("where job = ?", (job,)) if job else ("", ())
        found = self.read(f"select facts from run {where} order by started_at desc limit ?", *values, limit)
        return [json.loads(r["facts"]) for r in found]

    def last_runs(self) -> dict[str, dict[str, Any]]:
        """The newest run of each job that has one."""
        found = self.read("select job, facts, max(started_at) from run group by job")
        return {r["job"]: json.loads(r["facts"]) for r in found}

    def newest_runs(self, each: int, shared: str, of_shared: int) -> list[dict[str, Any]]:
        """The `each` newest runs of every job, the newest first; of the job `shared`, which many share, `of_shared`."""
        found = self.read(
            "select facts from (select facts, job, started_at, row_number() over (partition by job order by started_at desc) as place "
            "from run) where place <= case when job = ? then ? else ? end order by started_at desc", shared, of_shared, each,
        )  # fmt: skip
        return [json.loads(r["facts"]) for r in found]

    def last_outcomes(self) -> dict[str, sqlite3.Row]:
        """Of each job its newest occurrence that has an outcome: `due_at`, `outcome`, `run_id`."""
        found = self.read("select job, max(due_at) as due_at, outcome, run_id, tries from occurrence where outcome != '' group by job")
        return {r["job"]: r for r in found}

    def unshipped(self, limit: int = 1000) -> list[tuple[int, dict[str, Any]]]:
        """Runs whose newest version the lake may not have, the oldest first, with that version."""
        found = self.read("select version, facts from run where shipped < version order by version limit ?", limit)
        return [(int(r["version"]), json.loads(r["facts"])) for r in found]

    def shipped(self, versions: Mapping[str, int]) -> None:
        """The lake has these versions of these runs."""
        with self.change() as base:
            base.executemany("update run set shipped = max(shipped, ?) where run_id = ?", [(v, run_id) for run_id, v in versions.items()])

    def forget_old(self) -> None:
        """Drop what ended long ago: the lake has it."""
        with self.change() as base:
            base.execute(
                f"delete from occurrence where state in ('done', 'skipped') and due_at < datetime('now', '{_KEPT_OCCURRENCES}') "
                "and id not in (select max(id) from occurrence where outcome != '' group by job)"
            )
            base.execute(
                f"delete from run where status != 'running' and shipped >= version and started_at < datetime('now', '{_KEPT_RUNS}')"
            )  # fmt: skip


def text(at: dt.datetime) -> str:
    """A time as the journal keeps it: UTC to the millisecond, in an order that texts have too."""
    return at.astimezone(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def time_of(written: str) -> dt.datetime:
    """The time that `text` wrote."""
    return dt.datetime.strptime(written, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=dt.timezone.utc)


def _occurrence(row: sqlite3.Row) -> Occurrence:
    return Occurrence(**{**dict(row), "due_at": time_of(row["due_at"]), "late": bool(row["late"])})
