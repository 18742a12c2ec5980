"""Runs of notebooks: each in a process of its own, its outcome decided by what happened, a row of `skygraph.job_runs` for it.

The journal has each run before it begins and when it has ended; the lake gets it from there, when it answers. One whose process is gone
without an end is `lost`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answer import to_json
from workbench.errors import LakeError, LakeUnavailable, QueryError, SkyGraphError, UsageError
from workbench.lake.sql import Column, create_replacing, quote, quote_table
from workbench.log import logger
from workbench.scheduling.answers import JobHistory, JobRun
from workbench.scheduling.journal import Journal
from workbench.scheduling.parameters import typed
from workbench.scheduling.plan import SHARED, TABLE_PREFIX
from workbench.scheduling.pool import Worker, end_processes, start_time

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.settings import Settings

__all__ = ["Runs"]

TABLE = "skygraph.job_runs"
_COLUMNS = (
    Column("run_id", "String"),
    Column("job", "String"),
    Column("notebook", "String"),
    Column("parameters", "String"),
    Column("status", "LowCardinality(String)"),
    Column("started_at", "DateTime64(3, 'UTC')"),
    Column("finished_at", "Nullable(DateTime64(3, 'UTC'))"),
    Column("peak_mb", "Nullable(Float64)"),
    Column("error", "String"),
    Column("output", "String"),
    Column("host", "String"),
    Column("pid", "UInt32"),
    Column("_version", "UInt64"),
    Column("due_at", "Nullable(DateTime64(3, 'UTC'))"),
    Column("attempt", "UInt16"),
    Column("result", "String"),
)
_ADDED = ("due_at", "attempt", "result")  # since the first version of the table
_KEPT = 50  # outputs of one job
_LOST = "its process ended without a word: killed, or the machine went down"
_UNKNOWN_TABLE = 60

Progress = Callable[[str, int, int], None]
Told = Callable[[JobRun], None]


def _nothing(_: JobRun) -> None:
    """Do nothing."""


class Runs:
    """Runs notebooks of one workspace, and remembers it."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake, self.settings = lake, settings
        self.folder = settings.state_dir / "runs"
        self.journal = Journal(settings.state_dir / "scheduler")
        self._ready = False

    # --- one run

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        job: str = "",
        timeout_s: float | None = None,
        keep: int = _KEPT,
        progress: Progress | None = None,
    ) -> JobRun:
        """Run a notebook with these parameters (texts or values) and wait for its end. `job` names it in the history.

        It runs in its own folder as a process of its own, with the workspace's kernel; `timeout_s` is for the whole run, from when its
        kernel is ready. An interrupt stops it, kernel and all, and is kept as such. A lake that does not answer is no error here.

        Raises:
            UsageError, UnknownName: no such notebook or parameter, or a value of another type; no kernel was started.
        """
        run = self.new(notebook, parameters, job=job)
        self.settings.make_state_dir()
        self.write(run)
        worker = Worker(self.settings)
        try:
            run = self.work(run, notebook, worker, timeout_s=timeout_s, progress=progress)
        except KeyboardInterrupt:
            self.write(replace(run, status="stopped", error="stopped before its end", finished_at=_now()))
            self._try_to_ship()
            raise
        finally:
            worker.close()
        self.write(run)
        self.tidy(run, keep=keep)
        self._try_to_ship()
        return run

    def new(
        self,
        notebook: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        job: str = "",
        due_at: dt.datetime | None = None,
        attempt: int = 1,
    ) -> JobRun:
        """A run that has not begun, written nowhere yet.

        Raises:
            UsageError, UnknownName: no such notebook or parameter, or a value of another type.
        """
        values = typed(notebook, parameters or {})
        started, run_id = _now(), str(uuid.uuid4())
        name = job or notebook.stem
        output = self.folder / _file_name(name) / f"{started:%Y%m%dT%H%M%S}-{run_id[:8]}.ipynb"
        return JobRun(
            run_id, name, self.short(notebook), values, "running", started, output=str(output), host=host_name(), pid=os.getpid(),
            due_at=due_at, attempt=attempt,
        )  # fmt: skip

    def work(
        self,
        run: JobRun,
        notebook: Path,
        worker: Worker,
        *,
        timeout_s: float | None = None,
        environ: Mapping[str, str] | None = None,
        begun: Told = _nothing,
        progress: Progress | None = None,
    ) -> JobRun:
        """Do a run in this worker, and wait for its end; the run with what came of it, not written yet.

        `begun` is called within the change of the journal that precedes the notebook's first line.
        """
        output = Path(run.output)
        log = logger(job=run.job, run_id=run.run_id)
        output.parent.mkdir(parents=True, exist_ok=True)
        told, result = _files(output)
        is_ready = worker.wait_ready()
        me = os.getpid()
        with self.journal.change():
            self.write(run, [(me, start_time(me) or 0.0), *worker.processes])
            begun(run)
        log.info("notebook begins", notebook=run.notebook, parameters=dict(run.parameters), due_at=run.due_at, attempt=run.attempt)
        said: dict[str, Any] = {}
        ended_by = ""
        try:
            if is_ready:
                worker.begin({
                    "notebook": str(notebook.resolve()), "output": str(output), "outcome": str(told), "parameters": dict(run.parameters),
                    "environ": {"SKYGRAPH_RUN_ID": run.run_id, "SKYGRAPH_RESULT": str(result), **(environ or {})},
                })  # fmt: skip
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
                for line in worker.lines(deadline):
                    if line is None:
                        ended_by = "timeout"
                        break
                    said = line
                    if progress and "cell" in said:
                        progress(f"{run.job}: cell {said['cell']} of {said['of']}", said["cell"] - 1, said["of"])
        finally:
            worker.end()
        run = replace(run, finished_at=_now(), output=str(output) if output.exists() else "", result=_read(result))
        if ended_by:
            run = replace(run, status="timeout", error=f"it took longer than {timeout_s:g} s, and was ended")
        elif "status" in said:
            run = replace(run, status=said["status"], error=said["error"], peak_mb=said["peak_mb"])
        else:
            status = worker.process.returncode
            run = replace(run, status="killed", error="; ".join(t for t in (f"its process ended with status {status}", worker.said()) if t))
        log.info("notebook ended", status=run.status, elapsed_s=run.seconds, peak_mb=run.peak_mb, error=run.error or None)
        return run

    def tidy(self, run: JobRun, *, keep: int = _KEPT) -> None:
        """After a run is written: drop what only helped it, and the outputs that are too old. A disk that refuses is no error."""
        with suppress(OSError):
            folder = self.folder / _file_name(run.job)
            if run.output:
                for path in _files(Path(run.output)):
                    path.unlink(missing_ok=True)
            _forget_old(folder, keep)

    def short(self, notebook: Path) -> str:
        """A notebook's name as people know it: from the workspace, when it lies there."""
        with suppress(ValueError):
            return str(notebook.resolve().relative_to(self.settings.workspace.resolve()))
        return str(notebook)

    # --- what was run

    def write(self, run: JobRun, processes: list[tuple[int, float]] | None = None) -> None:
        """Write a run to the journal as it is now."""
        facts = {**run.facts(), "parameters": dict(run.parameters), "result": dict(run.result)}
        self.journal.write_run(json.loads(json.dumps(facts, default=str)), time.time_ns() // 1000, processes)

    def reap(self) -> list[JobRun]:
        """End what is left of runs whose owner is gone; each is what its worker wrote last, or `lost`."""
        ended = []
        if not self.journal.exists:
            return []
        for facts, processes in self.journal.running():
            run = JobRun.of(facts)
            if run.host != host_name() or _lives(run, processes):
                continue
            if not end_processes(processes[1:]):
                continue  # it cannot be ended: it is looked at again
            said, result = (_read(path) for path in _files(Path(run.output))) if run.output else ({}, {})
            run = replace(run, finished_at=_now(), result=result)
            if "status" in said:
                run = replace(run, status=said["status"], error=said["error"], peak_mb=said["peak_mb"])
            else:
                run = replace(run, status="lost", error=_LOST)
            self.write(run)
            self.tidy(run)
            logger(job=run.job, run_id=run.run_id).warning("a run had lost its owner", status=run.status)
            ended.append(run)
        return ended

    def history(self, job: str = "", *, limit: int = 50) -> JobHistory:
        """Past runs of a job or of all, the newest first, from the lake. A run whose process is gone is `lost` from now on.

        Those of a table (`sync invoices`) include the runs that it shared. When the lake does not answer, those that this machine's journal
        knows.
        """
        self.reap()
        try:
            with suppress(QueryError):  # who may only read, reads
                self.ship()
            table = job.removeprefix(TABLE_PREFIX) if job.startswith(TABLE_PREFIX) else ""
            shares = "or (job = {shared:String} and has(splitByChar(' ', JSONExtractString(parameters, 'table')), {table:String}))"
            where = f"where job = {{job:String}} {shares if table else ''}" if job else ""
            rest = f"{where} order by started_at desc, run_id limit {{n:UInt32}}"
            values = {"job": job, "n": limit, "shared": SHARED, "table": table}
            found = self.lake.rows(f"select * except _version from {TABLE} {rest}", values)
        except LakeUnavailable as error:
            runs = tuple(JobRun.of(facts) for facts in self.journal.runs(job, limit))
            return JobHistory(runs, f"of this machine's journal: {error.message}")
        except QueryError as error:
            if error.code != _UNKNOWN_TABLE:
                raise
            found = []
        return JobHistory(tuple(_run(row) for row in found))

    def lines(self, each: int = 40) -> dict[str, list[dict[str, Any]]]:
        """By job its newest runs on this machine, the newest first, each in a few facts; a table has its part of the runs that it shared.

        Out of the journal: asks no lake.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for facts in self.journal.newest_runs(each, SHARED, each * 15) if self.journal.exists else []:
            run = JobRun.of(facts)
            line = {"run_id": run.run_id, "status": run.status, "started_at": run.started_at, "seconds": run.seconds, "error": run.error}
            if run.job != SHARED:
                found.setdefault(run.job, []).append(line)
                continue
            told = run.result.get("tables")
            for table in str(run.parameters.get("table", "")).split():
                mine = told.get(table) if isinstance(told, Mapping) else None
                if isinstance(mine, Mapping):
                    line = {**line, "seconds": mine.get("seconds"), "error": mine.get("error") or "",
                            "status": "failed" if mine.get("error") else "ok"}  # fmt: skip
                of_table = found.setdefault(f"{TABLE_PREFIX}{table}", [])
                if len(of_table) < each:
                    of_table.append(line)
        return found

    def page(self, run_id: str) -> str:
        """The page of a run with all it showed, as HTML. It is a notebook's work: treat it as such.

        Raises:
            UsageError: there is no such run.
            SkyGraphError: it has no page: it goes on, ran on another machine, or its output is not kept any more.
        """
        kept = self.journal.read("select facts from run where run_id = ?", run_id) if self.journal.exists else []
        facts = json.loads(kept[0]["facts"]) if kept else next(
            iter(self.lake.rows(f"select status, host, output from {TABLE} where run_id = {{id:String}}", {"id": run_id})), None
        )  # fmt: skip
        if facts is None:
            raise UsageError(f"there is no run {run_id[:40]!r}")
        if facts["status"] == "running":
            raise SkyGraphError("this run goes on; its page is written when it has ended", hint="`skygraph logs --run` follows it")
        place = Path(facts["output"]).with_suffix(".html") if facts["output"] else None
        if place is not None and self.folder.resolve() in place.resolve().parents:
            with suppress(OSError):
                return place.read_text(encoding="utf-8", errors="replace")
        if facts["host"] != host_name():
            raise SkyGraphError(f"this run was on {facts['host']}, and its output is there")
        raise SkyGraphError("there is no output of this run", hint="the newest of each job are kept, as many as its `keep` says")

    def ship(self) -> int:
        """Bring to the lake what it has not of the journal; how many rows. Doing it twice changes nothing.

        Raises:
            LakeUnavailable: the lake does not answer.
        """
        if not self._ready:
            self.lake.create_database("skygraph")
            ddl = create_replacing(TABLE, _COLUMNS, key=["job", "started_at", "run_id"], version="_version", placement=self.lake.placement)
            self.lake.command(ddl, retry=True)
            added = ", ".join(f"add column if not exists {quote(c.name)} {c.type}" for c in _COLUMNS if c.name in _ADDED)
            self.lake.command(f"alter table {quote_table(TABLE)}{self.lake.placement.on_cluster} {added}", retry=True)
            self._ready = True
        waiting = self.journal.unshipped() if self.journal.exists else []
        if not waiting:
            return 0
        lines = []
        for version, facts in waiting:
            row = {**facts, "parameters": json.dumps(facts["parameters"]), "result": json.dumps(facts["result"]), "_version": version}
            lines.append(json.dumps(row).encode() + b"\n")
        try:
            self.lake.insert_stream(TABLE, iter(lines), "JSONEachRow")
        except QueryError as error:
            self._ready = error.code != _UNKNOWN_TABLE and self._ready  # dropped since: it is made again
            raise
        self.journal.shipped({facts["run_id"]: version for version, facts in waiting})
        return len(waiting)

    def _try_to_ship(self) -> None:
        try:
            self.ship()
        except LakeError as error:
            logger().warning("runs wait in the journal for the lake", error=error.message)


def _run(row: Mapping[str, Any]) -> JobRun:
    return JobRun(**{**row, "parameters": json.loads(row["parameters"] or "{}"), "result": json.loads(row["result"] or "{}"),
                     "attempt": row["attempt"] or 1})  # fmt: skip


def _files(output: Path) -> tuple[Path, Path]:
    """Beside an output: what the worker says came of it, and what the notebook told."""
    return output.with_suffix(".outcome.json"), output.with_suffix(".result.json")


def tell(facts: Mapping[str, Any]) -> None:
    """Within a run: add these to what it tells. Nothing elsewhere."""
    if not (named := os.environ.get("SKYGRAPH_RESULT")):
        return
    path = Path(named)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**_read(path), **to_json(facts)}), encoding="utf-8")
    new.replace(path)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _lives(run: JobRun, processes: list[tuple[int, float]]) -> bool:
    """Whether the process that owns it is still there, and not another one that got its number."""
    started = start_time(run.pid)
    if started is None:
        return False
    return abs(started - processes[0][1]) < 1.0 if processes else started <= run.started_at.timestamp() + 1


def _forget_old(folder: Path, keep: int = _KEPT) -> None:
    """Keep the newest outputs of a job."""
    for old in sorted(folder.glob("*.ipynb"), reverse=True)[keep:]:
        for path in (old, old.with_suffix(".html"), *_files(old)):
            path.unlink(missing_ok=True)


def _file_name(job: str) -> str:
    """A name for a folder; two jobs do not share one.

    >>> _file_name("nightly"), _file_name("../a b")
    ('nightly', '.._a_b-3fff7bbd')
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in job)
    return job if plain == job and job.strip(".") else f"{plain}-{zlib.crc32(job.encode()):08x}"


def host_name() -> str:
    """This machine, as the runs name it."""
    import socket

    return socket.gethostname()


def _now() -> dt.datetime:
    """The time to the millisecond, as the table keeps it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
