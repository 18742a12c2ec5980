"""The plan that the scheduler goes by: jobs and tables of `sync_jobs/`, read again when a file is saved.

An edit that is wrong keeps the plan before it. The files of the plan in use are kept under `.skygraph/scheduler/plan/`, so that a restart
in the middle of an edit, and the notebooks of scheduled runs, go by the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.errors import InvalidFiles, Problem, SkyGraphError, nearest
from workbench.hermes.jobs import Alerts, JobSpec
from workbench.hermes.tables import SyncPlan, load_plan
from workbench.log import logger
from workbench.scheduling.parameters import typed

__all__ = ["TABLE_PREFIX", "LivePlan", "Plan", "find_notebook"]

TABLE_PREFIX = "sync "  # a table's job is `sync invoices`; a job of a person has no space in its name
SHARED = "sync"  # the run of several tables
_SYNC_NOTEBOOK = "jobs/sync.ipynb"
_PACKAGED = Path(__file__).resolve().parents[1] / "starter/workspace/notebooks"


@dataclass(frozen=True)
class Plan:
    """Jobs by name, tables among them, each with the alerts that are its own or everybody's."""

    sync: SyncPlan = field(default_factory=lambda: SyncPlan({}, {}, {}))
    jobs: Mapping[str, JobSpec] = field(default_factory=dict)

    @classmethod
    def of(cls, sync: SyncPlan, own: Sequence[JobSpec] = ()) -> Plan:
        """The jobs of a plan of `sync_jobs/`: a table with `every` is one too. `own` are the workbench's own, which no file names."""
        tables = {
            f"{TABLE_PREFIX}{t.table}": JobSpec(
                f"{TABLE_PREFIX}{t.table}", _SYNC_NOTEBOOK, {"table": t.table}, every_s=t.every_s, retries=2
            )
            for t in sync.tables.values()
            if t.every_s
        }
        every = {**{job.name: job for job in own}, **tables, **sync.jobs}
        jobs = {name: replace(job, alerts=job.alerts or sync.alerts) for name, job in every.items()}
        return cls(sync, jobs)

    def alerts(self, job: str) -> Alerts | None:
        """Who is told of a job; of one that is gone from the plan, whoever is told of all."""
        return self.jobs[job].alerts if job in self.jobs else self.sync.alerts


def find_notebook(workspace: Path, name: str) -> Path | None:
    """The file of a job's notebook: from the workspace or its `notebooks/`; ours where a workspace has no `jobs/sync.ipynb` of its own."""
    places = [workspace / name, workspace / "notebooks" / name, *([_PACKAGED / name] if name == _SYNC_NOTEBOOK else [])]
    return next((place for place in places if place.is_file()), None)


def _notebook_problems(workspace: Path, jobs: Mapping[str, JobSpec]) -> Iterator[Problem]:
    known = [str(p.relative_to(workspace / "notebooks")) for p in (workspace / "notebooks").rglob("*.ipynb")]
    for job in jobs.values():
        found = find_notebook(workspace, job.notebook)
        if found is None:
            near = nearest(job.notebook, known)
            tail = f"; did you mean {near[0]!r}?" if near else ""
            yield Problem(job.file, job.line, f"job {job.name!r}: there is no notebook {job.notebook!r}{tail}")
            continue
        try:
            typed(found, job.parameters)
        except SkyGraphError as error:
            yield Problem(job.file, job.line, f"job {job.name!r}: {error}")


class LivePlan:
    """The plan as it was last right. `problems` are of the files as they are now."""

    def __init__(self, workspace: Path, state_dir: Path, own: Sequence[JobSpec] = ()) -> None:
        self.workspace = workspace
        self.own = tuple(own)
        self.kept = state_dir / "scheduler/plan"
        self.plan = Plan.of(SyncPlan({}, {}, {}), self.own)
        self.problems: tuple[Problem, ...] = ()
        self.read_at: dt.datetime | None = None
        self._seen: object = None

    def refresh(self) -> bool:
        """Look whether a file was saved, and read them again; whether another plan is in use now."""
        seen = _signature(self.workspace / "sync_jobs")
        if seen == self._seen:
            return False
        try:
            found = load_plan(self.workspace)
            if problems := list(_notebook_problems(self.workspace, found.jobs)):
                raise InvalidFiles("sync_jobs", problems)
            if not found.tables and not found.jobs and self._seen is not None and (self.plan.sync.tables or self.plan.sync.jobs):
                raise InvalidFiles("sync_jobs", [Problem("sync_jobs", 0, "has no table and no job any more; put the files back")])
        except InvalidFiles as error:
            return self._refuse(error, seen)
        if seen != _signature(self.workspace / "sync_jobs"):
            return False  # saved while it was read: next time
        self._seen, self.problems, self.read_at = seen, (), dt.datetime.now(dt.timezone.utc)
        changed = Plan.of(found, self.own)
        is_other, self.plan = changed.sync != self.plan.sync, changed
        self._keep()
        logger().info("plan read", jobs=len(found.jobs), tables=len(found.tables), changed=is_other)
        return is_other

    def read(self) -> None:
        """Read the plan for a look at it: the files where they are right, the plan in use where not. Keeps and logs nothing.

        Raises:
            InvalidFiles: the files are wrong, and there is no plan in use.
        """
        try:
            self.plan = Plan.of(load_plan(self.workspace), self.own)
            self.problems = tuple(_notebook_problems(self.workspace, self.plan.sync.jobs))
        except InvalidFiles as error:
            if self.home == self.workspace:
                raise
            self.problems = error.problems
        if self.problems and self.home != self.workspace:
            self.plan = Plan.of(load_plan(self.home), self.own)

    def _refuse(self, error: InvalidFiles, seen: object) -> bool:
        first = self._seen is None
        self._seen, self.problems = seen, error.problems
        if first:
            with suppress(SkyGraphError, OSError):
                self.plan = Plan.of(load_plan(self.home), self.own)
        logger().warning("plan kept", problem_count=len(error.problems), first=str(error.problems[0]), jobs=len(self.plan.jobs))
        return first

    def _keep(self) -> None:
        """Keep the files of the plan in use, in a folder that is never changed again; a disk that refuses costs only the keeping."""
        with suppress(OSError):
            files = {path.name: path.read_bytes() for path in sorted((self.workspace / "sync_jobs").glob("*.yml"))}
            name = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
            for file, data in files.items():
                whole = self.kept / name / "sync_jobs" / file
                whole.parent.mkdir(parents=True, exist_ok=True)
                whole.write_bytes(data)
            (self.kept / "current.new").write_text(name, encoding="utf-8")
            (self.kept / "current.new").replace(self.kept / "current")
            others = [path for path in self.kept.iterdir() if path.is_dir() and path.name != name]
            for old in sorted(others, key=lambda path: path.stat().st_mtime)[:-5]:  # a run that goes on may still read its own
                shutil.rmtree(old, ignore_errors=True)

    @property
    def home(self) -> Path:
        """A folder whose `sync_jobs/` are the files of the plan in use."""
        with suppress(OSError):
            found = self.kept / (self.kept / "current").read_text(encoding="utf-8")
            if (found / "sync_jobs").is_dir():
                return found
        return self.workspace


def _signature(folder: Path) -> object:
    found = []
    for path in sorted(folder.glob("*.yml")):
        with suppress(OSError):
            facts = path.stat()
            found.append((path.name, facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return tuple(found)
