"""What scheduling answers: one run, past runs, and the plan with what is due."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.scheduling.journal import text, time_of

__all__ = ["JobHistory", "JobList", "JobRun", "JobState"]

_TIMES = ("started_at", "finished_at", "due_at")


@dataclass(frozen=True)
class JobRun(Answer):
    """One run of a notebook.

    `status` is running, ok, failed (a cell or the notebook is wrong), timeout, killed (its kernel or process was), stopped (by a
    person, or because the scheduler ended) or lost (its process is gone without an end). `output` is the notebook with what it gave, a
    page (`.html`) beside it, both under the workspace's `.skygraph/`. `peak_mb` is the most memory that the kernel held, None when nobody
    could tell. `result` is what the notebook told with `bench.tell`. `due_at` is None for a run that a person asked for.
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
    due_at: dt.datetime | None = None
    attempt: int = 1
    result: Mapping[str, Any] = field(default_factory=dict)

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

    def facts(self) -> dict[str, Any]:
        """The run as the journal and the lake keep it: times as UTC text."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return found | {name: text(found[name]) if found[name] else None for name in _TIMES}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> JobRun:
        """The run that `facts` wrote."""
        return cls(**{**facts, **{name: time_of(facts[name]) if facts.get(name) else None for name in _TIMES}})

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
    """Past runs, the newest first. `note` says so when they are of this machine's journal, because the lake did not answer."""

    runs: tuple[JobRun, ...]
    note: str = ""

    def to_dict(self) -> Any:
        """A row per run."""
        return [run.to_dict() for run in self.runs]

    def blocks(self) -> Iterator[Block]:
        """A grid, then every error in full."""
        yield Grid(
            ["job", "status", "started", "seconds", "MB", "try", "parameters"],
            [
                [r.job, r.status, _to_second(r), _rounded(r.seconds), r.peak_mb and round(r.peak_mb), r.attempt, _words(r.parameters)]
                for r in self.runs
            ],
            empty="no notebook was run yet; `skygraph run jobs/sync.ipynb`",
        )  # fmt: skip
        if self.note:
            yield Note(self.note, "quiet")
        for run in self.runs:
            if run.error:
                yield Note(f"{run.job}, {run.started_at:%Y-%m-%d %H:%M:%S}: {run.error}", "bad")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _to_second(run: JobRun | None) -> dt.datetime | None:
    return None if run is None else run.started_at.replace(microsecond=0)


def _words(parameters: Mapping[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in parameters.items())


@dataclass(frozen=True)
class JobState:
    """A job of the plan as it stands.

    `state` is never, ok, failing, running, waiting (due, but its data is not there yet, or a try is to come) or late. `next_due` is None
    for a job that is not due by time. `last_run` is what came of it last; a table's is the run that it shared.
    """

    name: str
    notebook: str
    when: str
    parameters: Mapping[str, Any]
    state: str
    next_due: dt.datetime | None
    last_due: dt.datetime | None
    last_run: JobRun | None
    error: str = ""

    @property
    def seconds(self) -> float | None:
        """How long its last run took; of a run that tables shared, this table's part."""
        told = self.last_run.result.get("tables") if self.last_run else None
        mine = told.get(self.parameters.get("table")) if isinstance(told, Mapping) else None
        if isinstance(mine, Mapping) and isinstance(mine.get("seconds"), (int, float)):
            return float(mine["seconds"])
        return self.last_run.seconds if self.last_run else None

    def to_dict(self) -> dict[str, Any]:
        """The job as data."""
        return {
            "job": self.name, "notebook": self.notebook, "when": self.when, "parameters": dict(self.parameters), "state": self.state,
            "next_due": self.next_due, "last_due": self.last_due, "last_run": self.last_run.to_dict() if self.last_run else None,
            "error": self.error,
        }  # fmt: skip


@dataclass(frozen=True)
class JobList(Answer):
    """The plan: jobs and tables that are synced by time, when each is due and what came of it last.

    `scheduler` is what the scheduler told of itself: `running`, `tick_at`, `problems` of an edit that it did not take.
    """

    jobs: tuple[JobState, ...]
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> Any:
        """`jobs`: a row for each; `scheduler`."""
        return {"jobs": [job.to_dict() for job in self.jobs], "scheduler": dict(self.scheduler)}

    def blocks(self) -> Iterator[Block]:
        """A grid, then what is wrong."""
        yield Grid(
            ["job", "when", "state", "next due", "last run", "seconds", "notebook", "parameters"],
            [
                [j.name, j.when, j.state, j.next_due, _to_second(j.last_run), _rounded(j.seconds), j.notebook, _words(j.parameters)]
                for j in self.jobs
            ],
            empty="no job yet; write one under `jobs:` in sync_jobs/tables.yml",
        )  # fmt: skip
        for job in self.jobs:
            if job.error:
                yield Note(f"{job.name}: {job.error}", "bad")
        for problem in self.scheduler.get("problems", ()):
            yield Note(f"the plan before the last edit is in use: {problem}", "bad")
        if not self.scheduler.get("running"):
            yield Note("the scheduler does not run, so nothing starts by itself; `skygraph sync serve`, or `skygraph up`", "quiet")
