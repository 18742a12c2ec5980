"""SyncPanel: where each synced table stands, and a run of all or some of them with progress."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W

from workbench.widgets.row_list import RowList
from workbench.widgets.task import Throttle, write_line
from workbench.widgets.view import View, data_table, empty_state, escape, plural

__all__ = ["Progress", "SyncPanel"]

Progress = Callable[[str, int, int], None]

_STATUS_COLUMNS = ["table", "source", "watermark", "lag", "last run", "finished", "rows"]
_RESULT_COLUMNS = ["table", "status", "read", "inserted", "unchanged", "deleted", "seconds", "error"]


class SyncPanel(View):
    """Watermarks, lag and last run per table; run all or the chosen tables.

    Args:
        status: `[{table, source, watermark, lag_s, last_status, last_finished_at, rows_current, error}]`.
        run: syncs the tables it is given, calling `progress(message, done, total)` from any thread as it goes;
            answers `{rows: [{table, status, read, inserted, unchanged, deleted, seconds, error}]}`.
    """

    def __init__(
        self,
        status: Callable[[], Sequence[Mapping[str, Any]]],
        run: Callable[[list[str], Progress], Mapping[str, Any]],
        *,
        live: bool | None = None,
    ) -> None:
        super().__init__("Sync", live=live)
        self._read_status, self._sync = status, run
        self._status: list[Mapping[str, Any]] = []
        self._log: deque[str] = deque(maxlen=300)
        self._log_lock = threading.Lock()
        self._done = (0, 1)
        self._throttle = Throttle(self._draw_progress)

        self.tables = RowList("Tables to sync; hold Ctrl or Shift to choose several", several=True, height="250px")
        self.run_all = W.Button(description="Run all", button_style="primary", tooltip="Sync every table now")
        self.run_chosen = W.Button(description="Run selected", tooltip="Sync the chosen tables now")
        self.refresh = W.Button(description="Refresh", tooltip="Read the watermarks again")
        self._hint = W.HTML('<span class="dim">Ctrl or Shift chooses several</span>')
        self.bar = W.IntProgress(min=0, max=1, layout=W.Layout(flex="1 1 auto"), tooltip="Progress of the run")
        self._bar_text = W.HTML(layout=W.Layout(width="130px"))
        self._log_view = W.HTML()
        self._result = W.HTML()
        self._errors = W.HTML()
        self._empty = W.HTML()

        self.run_all.on_click(lambda _: self._start([s["table"] for s in self._status]))
        self.run_chosen.on_click(lambda _: self._start_chosen())
        self.refresh.on_click(lambda _: self._run("reading", lambda: list(self._read_status()), self._draw_status))

        buttons = W.Box([self.run_all, self.run_chosen, self.refresh, self._hint])
        self._running = W.Box([self.bar, self._bar_text])
        for row in (buttons, self._running):
            row.add_class("sky-row")
        self._running.layout.display = "none"
        self._show(self._empty, self.tables, buttons, self._running, self._log_view, self._result, self._errors)
        self._load(lambda: list(self._read_status()), self._draw_status)

    def _start_chosen(self) -> None:
        names = [self._status[i]["table"] for i in self.tables.chosen]
        if names:
            self._start(names)
        else:
            self._hint.value = '<span class="warn">Choose one or more tables first</span>'

    def _start(self, names: list[str]) -> None:
        def prepare() -> None:
            self._hint.value = '<span class="dim">Ctrl or Shift chooses several</span>'
            self._log.clear()
            self._result.value = ""
            self._running.layout.display = "flex"
            self.bar.bar_style = "info"
            self._progress(f"syncing {plural(len(names), 'table')}", 0, len(names))

        def work() -> tuple[Mapping[str, Any] | Exception, list[Mapping[str, Any]]]:
            prepare()
            # a run that breaks off has moved some watermarks, so they are read again in any case
            report: Mapping[str, Any] | Exception
            try:
                report = self._sync(names, self._progress)
            except Exception as error:
                report = error
            finally:
                self._throttle.stop()
            return report, list(self._read_status())

        def done(found: tuple[Mapping[str, Any] | Exception, list[Mapping[str, Any]]]) -> None:
            report, status = found
            self._draw_status(status)
            self._draw_progress()
            if isinstance(report, Exception):
                self._bar_text.value = '<span class="bad">stopped</span>'
                raise report
            self._draw_result(report)

        if names:
            self._run("syncing", work, done)

    def _progress(self, message: str, done: int, total: int) -> None:
        with self._log_lock:
            self._log.append(message)
            self._done = (done, total)
            if not self._task.live:
                write_line(f"[{done}/{total}] {message}")
        if self._task.live:
            self._throttle.ask()

    def _draw_progress(self) -> None:
        with self._log_lock:
            (done, total), lines = self._done, escape("\n".join(self._log))
        self.bar.max = max(total, 1)
        self.bar.value = min(done, self.bar.max)
        self._bar_text.value = f'<span class="dim">{done:,} of {total:,}</span>'
        self._log_view.value = f'<div class="sky-log"><pre class="sky-pre">{lines}</pre></div>' if lines else ""

    def _draw_status(self, status: list[Mapping[str, Any]]) -> None:
        chosen = {self._status[i]["table"] for i in self.tables.chosen}
        self._status = status
        self.tables.fill(
            _STATUS_COLUMNS,
            [
                [s["table"], s["source"], s["watermark"], _lag(s["lag_s"]), _state(s), s["last_finished_at"], s["rows_current"]]
                for s in status
            ],
        )
        self.tables.box.index = tuple(i for i, s in enumerate(status) if s["table"] in chosen)
        self.tables.layout.display = "flex" if status else "none"
        self.tables.fit_height(12)
        self._empty.value = (
            ""
            if status
            else empty_state("No table to sync yet. Name one in sync_jobs/tables.yml; to see a working example:", "skygraph demo")
        )
        never = bool(status) and all(s["last_finished_at"] is None for s in status)
        failed = [s for s in status if s["error"]]
        self._say(
            plural(len(status), "table")
            + (f", {len(failed):,} failed" if failed else "")
            + (", nothing synced yet: Run all, or skygraph sync --all" if never else "")
        )
        for button in (self.run_all, self.run_chosen):
            self._enable(button, bool(status))
        shown = "".join(
            f'<div style="margin-top:4px"><span class="sky-chip bad">{escape(s["table"])}</span> last error'
            f'<pre class="sky-pre bad" style="margin:3px 0 0 8px">{escape(s["error"])}</pre></div>'
            for s in failed[:20]
        )
        more = f'<div class="dim">and {plural(len(failed) - 20, "more table")}</div>' if len(failed) > 20 else ""
        self._errors.value = shown + more

    def _draw_result(self, report: Mapping[str, Any]) -> None:
        rows = list(report["rows"])
        bad = [r for r in rows if r.get("error") or is_bad(r.get("status"))]
        inserted = sum(r.get("inserted") or 0 for r in rows)
        self.bar.value, self.bar.bar_style = self.bar.max, "danger" if bad else "success"
        self._bar_text.value = f'<span class="bad">{len(bad):,} failed</span>' if bad else '<span class="good">done</span>'
        columns = [c for c in _RESULT_COLUMNS if c not in ("status", "error") and any(c in r for r in rows)]
        if bad:
            columns.append("error")
        chips = [_chip(r) for r in rows]
        self._result.value = (
            f'<div style="margin-bottom:4px"><span class="sky-label">Last run</span> '
            f"{plural(len(rows), 'table')}, {plural(inserted, 'row')} inserted</div>"
            + data_table(columns, [[r.get(c) for c in columns] for r in rows], lead=chips)
        )
        if not self._task.live:
            write_line(f"{plural(len(rows), 'table')}, {plural(inserted, 'row')} inserted, {len(bad):,} failed")

    def _summary(self) -> str:
        if not self._status:
            return "Sync: no table to sync yet"
        failed = [str(s["table"]) for s in self._status if s["error"]]
        lags = [s["lag_s"] for s in self._status if s["lag_s"] is not None]
        return (
            f"Sync: {plural(len(self._status), 'table')}"
            + (f", largest lag {_lag(max(lags))}" if lags else ", nothing synced yet")
            + (f", failed: {', '.join(failed[:8])}" if failed else "")
        )


def is_bad(status: Any) -> bool:
    """Whether a status word means that something did not work."""
    return str(status or "").casefold() in ("error", "failed", "fail", "crashed", "partial")


def _state(row: Mapping[str, Any]) -> str:
    if row["last_status"] is None:
        return "· never"
    return ("✗ " if row["error"] or is_bad(row["last_status"]) else "✓ ") + str(row["last_status"])


def _chip(row: Mapping[str, Any]) -> str:
    tone = "bad" if row.get("error") or is_bad(row.get("status")) else "good"
    return f'<span class="sky-chip {tone}">{escape(row.get("status") or tone)}</span>'


def _lag(seconds: float | None) -> str:
    """A lag as people say it, in its largest whole unit.

    >>> _lag(42), _lag(200), _lag(90_000), _lag(None)
    ('42 s', '3 min', '25 h', '')
    """
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h"
    return f"{seconds // 86400:,.0f} days"
