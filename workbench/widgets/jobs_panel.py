"""JobsPanel: every job with its state, when it is due, how its last runs went, and the page of any run. Drawn by jobs_panel.js.

The browser asks by messages and the kernel answers. Whoever can reach the page can send any message: a job is one of those that are shown,
a run is looked up by who has it. A run's page is the work of a notebook: it is shown in a frame that runs no script and loads nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.asking import Asked
from workbench.widgets.task import Task, is_live
from workbench.widgets.view import plural

__all__ = ["JobsPanel"]

_PAGE = 100  # runs sent at once
_BARS = 40  # runs of a job's line
_TEXT = 4_000  # characters of an error
_MOST_PAGE = 8_000_000  # characters of a run's page that are shown
_MOST_ID = 100

# stands before a run's page: whatever is in it, its frame asks nobody for anything
_ALONE = (
    '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:\">"
)


class JobsPanel(Asked):
    """Jobs with state, next time, a line of their last runs, the last error in full; a click on a run shows its output.

    Args:
        jobs: `{jobs: [{job, notebook, when, parameters, state, next_due, error, runs}], scheduler: {running, problems}}`, with `runs`
            newest first: `[{run_id, status, started_at, seconds, error}]`.
        history: the runs of a job, newest first: `[{run_id, job, status, started_at, finished_at, seconds, due_at, attempt, peak_mb,
            parameters, error, output}]`.
        page: the HTML page of a run by its id. Raises when there is none, or none any more.
    """

    _esm = Path(__file__).with_name("jobs_panel.js")
    _css = Path(__file__).with_name("jobs_panel.css")

    def __init__(
        self,
        jobs: Callable[[], Mapping[str, Any]],
        history: Callable[[str], Sequence[Mapping[str, Any]]],
        page: Callable[[str], str],
        *,
        live: bool | None = None,
    ) -> None:
        self._jobs, self._history, self._read_page = jobs, history, page
        self._names: frozenset[str] = frozenset()
        self._runs: tuple[str, Sequence[Mapping[str, Any]]] = ("", ())
        self._live = is_live() if live is None else live
        asks: Mapping[str, Callable[..., Mapping[str, Any]]] = {"jobs": self._show_jobs, "runs": self._show_runs, "page": self._show_page}
        self._asks = asks
        self._tasks = {kind: Task(_nothing, _nothing, live=self._live) for kind in asks}
        self._begin(list(self._tasks.values()))

    # --- what a page asks

    def set_state(self, sync_data: Any) -> None:
        """Take no state from a page: it asks by messages only."""

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message and answer it. Of several questions of a kind that wait, the newest is answered."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > _MOST_ID:
            return  # there is nobody to answer
        id, kind = message["id"], message.get("ask")
        values = {name: value for name, value in message.items() if name not in ("id", "ask")}
        try:
            _check(kind, values)
        except SkyGraphError as error:
            self.send({"id": id, "error": _said(error)})
            return

        def work() -> dict[str, Any]:
            try:
                return {"id": id, "answer": self._asks[str(kind)](**values)}
            except Exception as error:
                return {"id": id, "error": _said(error)}

        self._tasks[str(kind)].start(work, self._answer, queue=True)

    def _show_jobs(self) -> Mapping[str, Any]:
        found = self._jobs()
        rows = [
            {
                **{name: _plain(job.get(name)) for name in ("job", "notebook", "when", "state", "next_due", "error")},
                "parameters": _words(job.get("parameters")),
                "runs": [
                    {n: _plain(r.get(n)) for n in ("run_id", "status", "started_at", "seconds", "error")} for r in job["runs"][:_BARS]
                ],
            }
            for job in found["jobs"]
        ]
        self._names = frozenset(str(row["job"]) for row in rows)
        scheduler = found.get("scheduler") or {}
        return {
            "at": dt.datetime.now(dt.timezone.utc).isoformat(), "jobs": rows, "running": bool(scheduler.get("running")),
            "problems": [_plain(problem) for problem in scheduler.get("problems") or ()],
        }  # fmt: skip

    def _show_runs(self, job: str, first: int) -> Mapping[str, Any]:
        if job not in self._names:
            raise UsageError(f"there is no job {job[:80]!r} here", hint="read the jobs again")
        if first == 0 or self._runs[0] != job:
            self._runs = (job, self._history(job))
        names = ("run_id", "job", "status", "started_at", "finished_at", "seconds", "due_at", "attempt", "peak_mb", "error", "output")
        rows = [
            {**{n: _plain(run.get(n)) for n in names}, "parameters": _words(run.get("parameters"))}
            for run in self._runs[1][first : first + _PAGE]
        ]
        return {"job": job, "first": first, "total": len(self._runs[1]), "rows": rows}

    def _show_page(self, run: str) -> Mapping[str, Any]:
        page = self._read_page(run)
        if len(page) > _MOST_PAGE:
            raise SkyGraphError(f"the page of this run has {len(page) / 1e6:,.0f} MB, too much to show here", hint="open its file")
        return {"run": run, "page": _ALONE + page}

    def __repr__(self) -> str:
        """Says nothing that the clock changes."""
        if self._closed:
            return "Jobs (closed)"
        try:
            found = self._jobs()
        except SkyGraphError as error:
            return f"Jobs: {error.message}"
        jobs = found["jobs"]
        wrong = [str(job["job"]) for job in jobs if job["state"] in ("failing", "late")]
        return (
            (f"Jobs: {plural(len(jobs), 'job')}" if jobs else "Jobs: no job yet")
            + (f", in trouble: {', '.join(wrong[:8])}" if wrong else "")
            + ("" if (found.get("scheduler") or {}).get("running") else "; the scheduler does not run")
        )


def _nothing(_: Any) -> None:
    """Say nothing: each question answers for itself."""


def _check(kind: Any, values: Mapping[str, Any]) -> None:
    """Whether a question is one of ours.

    Raises:
        UsageError: it is not.
    """
    wanted: Mapping[str, Mapping[str, type]] = {"jobs": {}, "runs": {"job": str, "first": int}, "page": {"run": str}}
    if not isinstance(kind, str) or kind not in wanted or set(values) != set(wanted[kind]):
        raise UsageError("the jobs panel is asked for jobs, for the runs of a job or for the page of a run")
    for name, expected in wanted[kind].items():
        value = values[name]
        if type(value) is not expected or (isinstance(value, int) and not 0 <= value <= 10_000_000):
            raise UsageError(f"{name} is not what was expected")
        if isinstance(value, str) and len(value) > 1_000:
            raise UsageError(f"{name} is too long")


def _words(parameters: Any) -> str:
    found = " ".join(f"{name}={value}" for name, value in (parameters or {}).items())
    return found if len(found) <= _TEXT else f"{found[: _TEXT - 1]}…"


def _plain(value: Any) -> Any:
    """A value as the page takes it: times in ISO 8601 with zone, long texts cut."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)).isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


def _said(error: BaseException) -> dict[str, str]:
    """An error as one line and what to do; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        return {"message": " ".join(error.message.split())[:1000], "hint": error.hint or ""}
    first = (str(error).strip().splitlines() or [""])[0][:500]
    return {"message": f"{type(error).__name__}: {first}" if first else type(error).__name__, "hint": ""}
