"""Runs of notebooks: each in a process of its own, its outcome decided by what happened, a row of `skygraph.job_runs` for it.

The row is written when the run begins and again when it ends; one whose process is gone without an end is `lost`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import SkyGraphError
from workbench.kernel import write_kernel
from workbench.lake.sql import Column, create_replacing
from workbench.log import logger
from workbench.scheduling.parameters import typed

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.settings import Settings

__all__ = ["JobHistory", "JobList", "JobRun", "Runs"]

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
)
_KEPT = 50  # outputs of one job
_PATIENCE_S = 10.0  # for a worker that was asked to stop
_LOST = "its process ended without a word: killed, or the machine went down"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class JobRun(Answer):
    """One run of a notebook.

    `status` is running, ok, failed (a cell or the notebook is wrong), timeout, killed (its kernel or process was), stopped (by a
    person) or lost (its process is gone without an end). `output` is the notebook with what it gave, a page (`.html`) beside it, both
    under the workspace's `.skygraph/`. `peak_mb` is the most memory that the kernel held, None when nobody could tell.
    """

    run_id: str
    job: str
    notebook: str
    parameters: Mapping[str, Any]
    status: str
    started_at: dt.datetime
    finished_at: dt.datetime | None = None
    peak_mb: float | None = None
    error: str = ""
    output: str = ""
    host: str = ""
    pid: int = 0

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self.status not in ("ok", "running")

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, and for one that is lost."""
        return None if self.finished_at is None or self.status == "lost" else (self.finished_at - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """The run as data."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"seconds": self.seconds}

    def blocks(self) -> Iterator[Block]:
        """What came of it, and where its output is."""
        took = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        memory = f", at most {self.peak_mb:,.0f} MB" if self.peak_mb else ""
        yield Note(f"{self.job}: {self.status}{took}{memory}", "bad" if self.failed else "good")
        if self.error:
            yield Note(self.error, "bad")
        if self.output:
            yield Note(self.output, "quiet")


@dataclass(frozen=True)
class JobHistory(Answer):
    """Past runs, the newest first."""

    runs: tuple[JobRun, ...]

    def to_dict(self) -> Any:
        """A row per run."""
        return [run.to_dict() for run in self.runs]

    def blocks(self) -> Iterator[Block]:
        """A grid, then every error in full."""
        yield Grid(
            ["job", "status", "started", "seconds", "MB", "parameters"],
            [
                [r.job, r.status, r.started_at, None if r.seconds is None else round(r.seconds, 1), r.peak_mb and round(r.peak_mb),
                 " ".join(f"{k}={v}" for k, v in r.parameters.items())]
                for r in self.runs
            ],
            empty="no notebook was run yet; `skygraph run jobs/sync.ipynb`",
        )  # fmt: skip
        for run in self.runs:
            if run.error:
                yield Note(f"{run.job}, {run.started_at:%Y-%m-%d %H:%M:%S}: {run.error}", "bad")


@dataclass(frozen=True)
class JobList(Answer):
    """The jobs of a plan: name, what the YAML says of it, its last run."""

    jobs: tuple[tuple[str, Mapping[str, Any], JobRun | None], ...]

    def to_dict(self) -> Any:
        """A row per job; `last_run` is None for one that never ran."""
        return [{"job": name, **job, "last_run": run.to_dict() if run else None} for name, job, run in self.jobs]

    def blocks(self) -> Iterator[Block]:
        """A grid."""
        yield Grid(
            ["job", "notebook", "when", "parameters", "last run", "status"],
            [
                [name, job.get("notebook", ""), _when(job), " ".join(f"{k}={v}" for k, v in (job.get("parameters") or {}).items()),
                 run and run.started_at, run.status if run else "never"]
                for name, job, run in self.jobs
            ],
            empty="no job yet; write one under `jobs:` in sync_jobs/tables.yml",
        )  # fmt: skip


def _when(job: Mapping[str, Any]) -> str:
    return f"every {job['every']}" if job.get("every") else f"at {job['at']}" if job.get("at") else ""


class Runs:
    """Runs notebooks of one workspace, and remembers it."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake, self.settings = lake, settings
        self.folder = settings.state_dir / "runs"
        self._ready = False

    # --- one run

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        job: str = "",
        timeout_s: float | None = None,
        progress: Progress | None = None,
    ) -> JobRun:
        """Run a notebook with these parameters (texts or values) and wait for its end. `job` names it in the history.

        It runs in its own folder as a process of its own, with the workspace's kernel; `timeout_s` is for the whole run. An interrupt
        stops it, kernel and all, and is kept as such.

        Raises:
            UsageError, UnknownName: no such notebook or parameter, or a value of another type; no kernel was started.
        """  # fmt: skip
        values = typed(notebook, parameters or {})
        self._prepare()
        started, run_id = _now(), str(uuid.uuid4())
        name = job or notebook.stem
        folder = self.folder / _file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        output = folder / f"{started:%Y%m%dT%H%M%S}-{run_id[:8]}.ipynb"
        run = JobRun(run_id, name, self._short(notebook), values, "running", started, output=str(output), host=_host(), pid=os.getpid())
        self._write(run)
        log = logger(job=name, run_id=run_id)
        log.info("notebook begins", notebook=run.notebook)
        try:
            run = self._work(run, notebook, output, timeout_s, progress)
        except KeyboardInterrupt:
            self._write(replace(run, status="stopped", error="stopped before its end", finished_at=_now()))
            raise
        self._write(run)
        _forget_old(folder)
        log.info("notebook ended", status=run.status, elapsed_s=run.seconds, peak_mb=run.peak_mb, error=run.error or None)
        return run

    def _work(self, run: JobRun, notebook: Path, output: Path, timeout_s: float | None, progress: Progress | None) -> JobRun:
        path = write_kernel(self.settings.state_dir / "jupyter", self.settings.workspace)
        environ = {**self.settings.environment(), "JUPYTER_PATH": path, "SKYGRAPH_BATCH": "1", "SKYGRAPH_RUN_ID": run.run_id}
        told = output.with_suffix(".log")
        with open(told, "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workbench.scheduling.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                cwd=notebook.parent, env=environ, start_new_session=True,
            )  # fmt: skip
        said: dict[str, Any] = {}
        ended_by = ""
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            job = {"notebook": str(notebook.resolve()), "output": str(output), "parameters": dict(run.parameters)}
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.close()
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            for line in _lines(process.stdout, deadline):
                if line is None:
                    ended_by = "timeout"
                    break
                said = line
                if progress and "cell" in said:
                    progress(f"{run.job}: cell {said['cell']} of {said['of']}", said["cell"] - 1, said["of"])
        finally:
            _end(process)
        told.unlink(missing_ok=True) if "status" in said else None
        run = replace(run, finished_at=_now(), output=str(output) if output.exists() else "")
        if ended_by:
            return replace(run, status="timeout", error=f"it took longer than {timeout_s:g} s, and was ended")
        if "status" not in said:
            tail = told.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if told.exists() else []
            return replace(run, status="killed", error="; ".join([f"its process ended with status {process.returncode}", *tail]))
        return replace(run, status=said["status"], error=said["error"], peak_mb=said["peak_mb"])

    def _short(self, notebook: Path) -> str:
        with suppress(ValueError):
            return str(notebook.resolve().relative_to(self.settings.workspace.resolve()))
        return str(notebook)

    # --- what was run

    def history(self, job: str = "", *, limit: int = 50) -> JobHistory:
        """Past runs of a job or of all, the newest first. A run whose process is gone is `lost` from now on."""
        self._prepare()
        for run in self._read("where status = 'running' and host = {host:String}", {"host": _host()}):
            if not _lives(run):
                self._write(replace(run, status="lost", error=_LOST, finished_at=_now()))
        where = "where job = {job:String}" if job else ""
        return JobHistory(tuple(self._read(f"{where} order by started_at desc, run_id limit {{n:UInt32}}", {"job": job, "n": limit})))

    def _read(self, rest: str, parameters: Mapping[str, Any]) -> list[JobRun]:
        found = self.lake.rows(f"select * except _version from {TABLE} {rest}", parameters)
        return [JobRun(**{**row, "parameters": json.loads(row["parameters"])}) for row in found]

    def _prepare(self) -> None:
        if not self._ready:
            self.lake.create_database("skygraph")
            ddl = create_replacing(TABLE, _COLUMNS, key=["job", "started_at", "run_id"], version="_version", placement=self.lake.placement)
            self.lake.command(ddl, retry=True)
            self._ready = True

    def _write(self, run: JobRun) -> None:
        row = {f.name: getattr(run, f.name) for f in fields(run)}
        row |= {"parameters": json.dumps(dict(run.parameters), default=str), "_version": time.time_ns() // 1000}
        self.lake.insert_stream(TABLE, iter([json.dumps(row, default=_time_text).encode() + b"\n"]), "JSONEachRow")


def _lines(stdout: IO[bytes], deadline: float | None) -> Iterator[dict[str, Any] | None]:
    """The lines that a worker says, until it ends; None once, in place of the next, when the deadline comes first."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                yield None
                return
            if not selector.select(left):
                continue
            block = os.read(stdout.fileno(), 65536)
            if not block:
                return
            *whole, pending = (pending + block).split(b"\n")
            for line in whole:
                with suppress(ValueError):
                    yield json.loads(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker that has not ended, and the kernel it started, which lives in a session of its own."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _lives(run: JobRun) -> bool:
    """Whether the process that runs it is still there, and not another one that got its number."""
    import psutil

    try:
        return bool(psutil.Process(run.pid).create_time() <= run.started_at.timestamp() + 1)
    except psutil.NoSuchProcess:
        return False


def _forget_old(folder: Path) -> None:
    """Keep the newest outputs of a job."""
    for old in sorted(folder.glob("*.ipynb"), reverse=True)[_KEPT:]:
        for path in (old, old.with_suffix(".html"), old.with_suffix(".log")):
            path.unlink(missing_ok=True)


def _file_name(job: str) -> str:
    """A name for a folder; two jobs do not share one.

    >>> _file_name("nightly"), _file_name("../a b")
    ('nightly', '.._a_b-3fff7bbd')
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in job)
    return job if plain == job and job.strip(".") else f"{plain}-{zlib.crc32(job.encode()):08x}"


def _host() -> str:
    import socket

    return socket.gethostname()


def _now() -> dt.datetime:
    """The time to the millisecond, as the table keeps it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _time_text(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    raise SkyGraphError(f"{value!r} cannot be kept")
