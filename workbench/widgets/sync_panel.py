"""SyncPanel: where each synced table stands, how its last runs went, and a run of all or some of them that can be stopped."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W

from workbench.hermes.watermark import short_mark
from workbench.widgets.task import Throttle, write_line
from workbench.widgets.view import View, data_table, empty_state, escape, plural

__all__ = ["Progress", "SyncPanel", "is_bad", "sparkline"]

Progress = Callable[[str, int, int], None]

_RESULT_COLUMNS = ["table", "mode", "rows_read", "inserted", "unchanged", "deleted", "quarantined", "seconds", "note"]
_HEADINGS = {"rows_read": "read"}
_PAGE = 25
_SLOTS = 20
_LINES_EVERY_S = 10.0
_CHOOSE = '<span class="dim">tick tables to run only those</span>'

# a bar of the sparkline is _STEP wide and _HIGH high at most
_STEP, _WIDE, _HIGH = 7, 5, 22

_STYLE = f"""<style>
.sky-sync .sky-tables{{border:1px solid var(--sky-line);border-radius:6px;overflow:auto;max-height:440px;display:block;
container-type:inline-size}}
.sky-sync .sky-tables>*{{min-width:640px}}
.sky-sync .sky-head,.sky-sync .sky-table-row{{display:flex;flex-flow:row wrap;align-items:flex-start;column-gap:10px;padding:0 10px}}
.sky-sync .sky-table-row{{padding-top:5px;padding-bottom:5px;flex-shrink:0;
border-top:1px solid color-mix(in srgb,var(--sky-line) 45%,transparent)}}
.sky-sync .sky-table-row:hover{{background:color-mix(in srgb,var(--sky-soft) 55%,transparent)}}
.sky-sync .sky-table-row.sky-none{{display:none}}
.sky-sync .sky-tables>.widget-html{{position:sticky;top:0;z-index:1}}
.sky-sync .sky-head{{background:var(--jp-layout-color1,#fff);border-bottom:1px solid var(--sky-line);
color:var(--sky-dim);font-weight:600;font-size:12.5px;line-height:26px}}
.sky-sync .sky-head>:first-child,.sky-sync .sky-table-row>.widget-checkbox{{flex:1 1 100px;width:auto;min-width:0;
margin:0;box-sizing:border-box}}
.sky-sync .sky-head>:last-child{{flex:0 0 52px}}
.sky-sync .sky-table-row>.widget-checkbox,.sky-sync .widget-checkbox .widget-label-basic{{height:20px;line-height:20px;overflow:hidden}}
.sky-sync .widget-checkbox .widget-label-basic{{font-weight:600;width:100%;margin:0;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap;color:var(--sky-text);font-size:13px;cursor:pointer}}
.sky-sync .sky-table-row>.widget-html.sky-facts{{flex:6 1 460px;min-width:0}}
.sky-sync .sky-head>.sky-grid{{flex:6 1 460px;min-width:0}}
.sky-sync .sky-grid{{display:grid;column-gap:12px;align-items:start;
grid-template-columns:minmax(60px,1fr) 205px 84px {_SLOTS * _STEP}px minmax(150px,1.5fr)}}
.sky-sync .sky-grid>div{{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.sky-sync .sky-grid>.sky-free{{white-space:normal;overflow:visible}}
@container (max-width:940px){{.sky-sync .sky-grid{{column-gap:8px;
grid-template-columns:minmax(100px,205px) 78px {_SLOTS * _STEP}px minmax(122px,1fr)}}
.sky-sync .sky-grid>div:first-child{{display:none}}.sky-sync .sky-grid>div:nth-child(2){{white-space:normal}}}}
.sky-sync .sky-small{{font-size:11.5px;color:var(--sky-dim);overflow:hidden;text-overflow:ellipsis}}
.sky-sync .sky-grid>div>.sky-small{{display:block;white-space:nowrap}}.sky-sync .sky-small.warn{{color:var(--sky-warn)}}
.sky-sync .sky-table-row>.widget-button{{flex:0 0 52px;height:24px;line-height:22px;padding:0 6px}}
.sky-sync .sky-table-row>.widget-html.sky-fault{{flex:1 1 100%}}
.sky-sync .sky-fault pre.sky-pre{{margin:5px 0 3px 23px;padding:5px 10px;border-left:3px solid var(--sky-bad);color:var(--sky-bad);
background:color-mix(in srgb,var(--sky-bad) 8%,transparent);border-radius:0 4px 4px 0;max-height:180px;overflow:auto}}
.sky-sync .sky-runs{{display:block;overflow:visible}}
.sky-sync .sky-runs rect.area{{fill:transparent}}
.sky-sync .sky-runs g:hover rect.area{{fill:color-mix(in srgb,var(--sky-dim) 22%,transparent)}}
.sky-sync .sky-runs .ground{{stroke:var(--sky-line)}}
.sky-sync .sky-runs .some{{fill:var(--sky-brand)}}.sky-sync .sky-runs .none{{fill:var(--sky-dim);opacity:.55}}
.sky-sync .sky-runs .failed{{fill:var(--sky-bad)}}.sky-sync .sky-runs .hand{{fill:var(--sky-warn)}}
.sky-sync .sky-runs .stopped{{fill:none;stroke:var(--sky-dim);stroke-width:1.2}}
.sky-sync .sky-now{{white-space:pre-wrap;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}}
.sky-sync .sky-going .progress{{background:linear-gradient(90deg,var(--sky-soft) 0 35%,
color-mix(in srgb,var(--sky-brand) 35%,var(--sky-soft)) 50%,var(--sky-soft) 65% 100%) 0 0/200% 100%;
animation:sky-flow 1.6s linear infinite}}
@keyframes sky-flow{{from{{background-position:200% 0}}to{{background-position:0 0}}}}
@media (prefers-reduced-motion:reduce){{.sky-sync .sky-going .progress{{animation:none}}}}
</style>"""

_HEAD = (
    '<div class="sky-head"><div style="padding-left:23px">table</div><div class="sky-grid"><div>source</div><div>watermark</div>'
    f'<div>lag</div><div title="oldest left; a higher bar is more changes">last {_SLOTS} runs</div><div>last run</div></div>'
    "<div></div></div>"
)


class SyncPanel(View):
    """Watermark, lag and the last runs of each table; run all or some of them, and stop.

    Args:
        status: `[{table, source, watermark, lag_s, every_s, overdue, last_status, last_finished_at, rows_current, error, moved_by,
            quarantined, runs}]`, with `runs` oldest first: `[{mode, status, finished_at, rows_read, inserted, deleted, seconds}]`.
        run: syncs the tables it is given, calling `progress(message, done, total)` from any thread as it goes; a message that tells
            the end of a table begins with the table's name and a colon, and moves `done` on. It answers `{rows: [{table, mode,
            status, rows_read, inserted, unchanged, deleted, quarantined, seconds, note, error}]}`.
        stop: ends what `run` does now; called from another thread than `run`. What was ended is a failed run, with an error that
            begins with `interrupted`.
    """

    def __init__(
        self,
        status: Callable[[], Sequence[Mapping[str, Any]]],
        run: Callable[[list[str], Progress], Mapping[str, Any]],
        stop: Callable[[], None],
        *,
        live: bool | None = None,
    ) -> None:
        super().__init__("Sync", live=live)
        self.add_class("sky-sync")
        self._read_status, self._sync, self._end = status, run, stop
        self._status: list[Mapping[str, Any]] = []
        self._ticked: set[str] = set()
        self._page = 0
        self._rows_lock = threading.RLock()
        self._log: deque[str] = deque(maxlen=300)
        self._log_lock = threading.Lock()
        self._done = (0, 1)
        self._now = ""
        self._going: set[str] = set()  # tables of the run that have not been told to have ended
        self._line_at = 0.0
        self._stopping = False
        self._throttle = Throttle(self._draw_progress)

        style = W.HTML(_STYLE)
        style.add_class("sky-none")
        self.rows: list[TableRow] = []
        self._head = W.HTML(_HEAD)
        self._list = W.Box([self._head])
        self._list.add_class("sky-tables")
        self.run_all = W.Button(description="Run all", button_style="primary", tooltip="Sync every table now")
        self.run_chosen = W.Button(description="Run selected", tooltip="Sync the ticked tables now")
        self.stop = W.Button(description="Stop", disabled=True, tooltip="End the run that goes on; nothing is lost by it")
        self.refresh = W.Button(description="Refresh", tooltip="Read watermarks, lag and runs again")
        self._hint = W.HTML(_CHOOSE)
        self.find = W.Text(placeholder="find a table, a source or a state", continuous_update=True, layout=W.Layout(width="220px"))
        self.back = W.Button(description="‹", tooltip="The tables before these")
        self.on = W.Button(description="›", tooltip="The tables after these")
        self._where = W.HTML()
        self.bar = W.IntProgress(min=0, max=1, layout=W.Layout(flex="1 1 auto"), tooltip="Tables that have ended")
        self._bar_text = W.HTML(layout=W.Layout(width="130px"))
        self._now_view = W.HTML()
        self._log_view = W.HTML()
        self._result = W.HTML()
        self._empty = W.HTML()

        self.run_all.on_click(lambda _: self._start([s["table"] for s in self._status]))
        self.run_chosen.on_click(lambda _: self._start_chosen())
        self.stop.on_click(lambda _: self._stop_run())
        self.refresh.on_click(lambda _: self._run("reading", lambda: list(self._read_status()), self._draw_status))
        self.find.observe(lambda _: self._turn_to(0), "value")
        self.back.on_click(lambda _: self._turn_to(self._page - 1))
        self.on.on_click(lambda _: self._turn_to(self._page + 1))

        self._buttons = W.Box([self.run_all, self.run_chosen, self.stop, self.refresh, self._hint])
        self._pager = W.Box([self.find, self.back, self._where, self.on])
        self._running = W.Box([self.bar, self._bar_text])
        for row in (self._buttons, self._pager, self._running):
            row.add_class("sky-row")
        self._pager.layout.display = self._running.layout.display = "none"
        self._show(
            style, self._empty, self._buttons, self._running, self._now_view, self._pager, self._list, self._log_view, self._result
        )  # fmt: skip
        self._load(lambda: list(self._read_status()), self._draw_status)

    def _on_busy(self, busy: bool) -> None:
        super()._on_busy(busy)
        for button in (self.stop, self.back, self.on) if busy else ():  # of use just then; `stop` from when the run has begun
            button.disabled = self._held.pop(button)

    # --- run and stop

    @property
    def chosen(self) -> list[str]:
        """The ticked tables, in order."""
        return [s["table"] for s in self._status if s["table"] in self._ticked]

    def _start_chosen(self) -> None:
        if names := self.chosen:
            self._start(names)
        else:
            self._hint.value = '<span class="warn">Tick one or more tables first</span>'

    def _start(self, names: list[str]) -> None:
        def work() -> tuple[Mapping[str, Any] | Exception, list[Mapping[str, Any]] | Exception]:
            self._prepare(names)
            # a run that breaks off has moved some watermarks, so they are read again in any case
            report: Mapping[str, Any] | Exception
            status: list[Mapping[str, Any]] | Exception
            try:
                report = self._sync(names, self._progress)
            except Exception as error:
                report = error
            finally:
                self.stop.disabled = True
                self._throttle.stop()
            try:
                status = list(self._read_status())
            except Exception as error:
                status = error
            return report, status

        def done(found: tuple[Mapping[str, Any] | Exception, list[Mapping[str, Any]] | Exception]) -> None:
            report, status = found
            with self._log_lock:
                self._going.clear()
                self._now = ""
            self._running.remove_class("sky-going")
            self._draw_progress()
            self._draw_status(self._status if isinstance(status, Exception) else status)
            if isinstance(report, Exception):
                self.bar.bar_style = "danger"
                self._bar_text.value = '<span class="bad">broken off</span>'
                raise report
            self._draw_result(report)
            if isinstance(status, Exception):
                raise status

        if names:
            self._run("syncing", work, done)

    def _prepare(self, names: list[str]) -> None:
        self._hint.value = _CHOOSE
        self._result.value = ""
        with self._log_lock:
            self._log.clear()
            self._going = set(names)
            self._done = (0, 0)
            self._line_at = time.monotonic()
        self._stopping = False
        self._running.layout.display = "flex"
        self._running.add_class("sky-going")
        self.bar.bar_style = "info"
        self.stop.disabled = False
        self._progress(f"syncing {plural(len(names), 'table')}", 0, len(names))

    def _stop_run(self) -> None:
        """Ask for the end of what runs; asked again when it is pressed again."""
        if self.stop.disabled:  # the browser is not to be trusted with that
            return
        self._stopping = True
        self._draw_progress()
        try:
            self._end()
        except Exception as error:
            self._show_error(error)

    def _progress(self, message: str, done: int, total: int) -> None:
        """Keep the end of a table as a line; what is said in between replaces what was said before."""
        with self._log_lock:
            ended = done > self._done[0] or self._done[1] == 0
            self._done = (done, total)
            if ended:
                self._log.append(message)
                self._now = ""
                self._going.discard(max((t for t in self._going if message.startswith(f"{t}: ")), key=len, default=""))
            else:
                self._now = message
            if not self._task.live and (ended or time.monotonic() - self._line_at >= _LINES_EVERY_S):
                self._line_at = time.monotonic()
                write_line(f"[{done}/{total}] {message}")
        if self._task.live:
            self._throttle.ask()

    def _draw_progress(self) -> None:
        with self._log_lock:
            (done, total), now, lines = self._done, self._now, escape("\n".join(self._log))
        self.bar.max = max(total, 1)
        self.bar.value = min(done, self.bar.max)
        self._bar_text.value = f'<span class="dim">{done:,} of {total:,}{", stopping…" if self._stopping else ""}</span>'
        self._now_view.value = f'<div class="sky-now brand" role="status">{escape(now)}</div>' if now else ""
        self._log_view.value = f'<div class="sky-log"><pre class="sky-pre">{lines}</pre></div>' if lines else ""
        self._fill_rows()

    def _draw_result(self, report: Mapping[str, Any]) -> None:
        rows = list(report["rows"])
        tones = [_tone(r.get("status"), r.get("error")) for r in rows]
        bad, stopped = tones.count("bad"), tones.count("")
        inserted = sum(r.get("inserted") or 0 for r in rows)
        words = [f'<span class="bad">{bad:,} failed</span>'] if bad else []
        words += [f'<span class="dim">{stopped:,} stopped</span>'] if stopped else []
        self._bar_text.value = ", ".join(words) or '<span class="good">done</span>'
        self.bar.bar_style = "danger" if bad else "" if stopped else "success"
        self.bar.value = self.bar.max - stopped
        columns = [c for c in _RESULT_COLUMNS if any(r.get(c) not in (None, "") for r in rows)]
        columns = [c for c in columns if c != "quarantined" or any(r.get(c) for r in rows)]
        again = "; run it again: it goes on from where it was" if stopped else ""
        self._log_view.value = ""  # the same, and more, stands in the table
        self._result.value = (
            f'<div style="margin-bottom:4px"><span class="sky-label">This run</span> '
            f"{plural(len(rows), 'table')}, {plural(inserted, 'row')} inserted"
            + (f", {bad:,} failed" if bad else "")
            + (f", {stopped:,} stopped{again}" if stopped else "")
            + "</div>"
            + data_table(
                [_HEADINGS.get(c, c) for c in columns],
                [[r.get(c) for c in columns] for r in rows],
                lead=[_chip(r.get("status"), r.get("error")) for r in rows],
            )
        )
        if not self._task.live:
            write_line(
                f"{plural(len(rows), 'table')}, {plural(inserted, 'row')} inserted, {bad:,} failed"
                + (f", {stopped:,} stopped" if stopped else "")
            )

    # --- what is shown of the tables

    def _draw_status(self, status: list[Mapping[str, Any]]) -> None:
        self._status = status
        self._ticked &= {s["table"] for s in status}
        self._list.layout.display = "block" if status else "none"
        self._pager.layout.display = "flex" if len(status) > _PAGE else "none"
        self._empty.value = (
            ""
            if status
            else empty_state("No table to sync yet. Name one in sync_jobs/tables.yml; to see a working example:", "skygraph demo")
        )
        tones = [_tone(s["last_status"], s["error"]) for s in status]
        never = sum(_is_new(s) for s in status)
        kept = sum(s.get("quarantined") or 0 for s in status)
        parts = [plural(len(status), "table")]
        parts += [f"{tones.count('bad'):,} failed"] if "bad" in tones else []
        parts += [f"{plural(kept, 'row')} in quarantine"] if kept else []
        if status and never == len(status):
            parts.append("nothing synced yet: Run all, or skygraph sync --all")
        elif never:
            parts.append(f"{never:,} never synced")
        self._say(", ".join(parts) + f" · as of {dt.datetime.now(dt.timezone.utc):%H:%M:%S} UTC")
        for button in (self.run_all, self.run_chosen):
            self._enable(button, bool(status))
        self._fill_rows()

    def _turn_to(self, page: int) -> None:
        self._page = page
        self._fill_rows()

    def _fill_rows(self) -> None:
        """Show the tables of this page."""
        words = self.find.value.casefold().split()
        found = [s for s in self._status if all(w in _searched(s) for w in words)] if words else self._status
        pages = max(1, math.ceil(len(found) / _PAGE))
        with self._rows_lock:
            self._page = min(max(self._page, 0), pages - 1)
            first = self._page * _PAGE
            shown = found[first : first + _PAGE]
            self._where.value = (
                f'<span class="dim">{first + 1:,} to {first + len(shown):,} of {len(found):,}</span>' if shown else "no such table"
            )
            self._enable(self.back, self._page > 0)
            self._enable(self.on, self._page < pages - 1)
            if len(self.rows) < len(shown):
                self.rows += [TableRow(self._tick, self._start) for _ in range(len(shown) - len(self.rows))]
                self._list.children = (self._head, *self.rows)
            for row, status in zip(self.rows, shown, strict=False):
                row.fill(status, ticked=status["table"] in self._ticked, runs=status["table"] in self._going)
            for row in self.rows[len(shown) :]:
                row.add_class("sky-none")

    def _tick(self, table: str, ticked: bool) -> None:
        (self._ticked.add if ticked else self._ticked.discard)(table)
        self.run_chosen.description = f"Run selected ({len(self._ticked):,})" if self._ticked else "Run selected"

    def _summary(self) -> str:
        """Says nothing that the clock changes."""
        if not self._status:
            return "Sync: no table to sync yet"
        failed = [str(s["table"]) for s in self._status if _tone(s["last_status"], s["error"]) == "bad"]
        never = sum(_is_new(s) for s in self._status)
        kept = sum(s.get("quarantined") or 0 for s in self._status)
        return (
            f"Sync: {plural(len(self._status), 'table')}"
            + (", nothing synced yet" if never == len(self._status) else f", {never:,} never synced" if never else "")
            + (f", {plural(kept, 'row')} in quarantine" if kept else "")
            + (f", failed: {', '.join(failed[:8])}" if failed else "")
        )


class TableRow(W.Box):  # type: ignore[misc]
    """One table: a tick, the facts, a button that runs it, and under them its last error."""

    def __init__(self, on_tick: Callable[[str, bool], None], on_run: Callable[[list[str]], None]) -> None:
        self.table = ""
        self._filling = False
        self.tick = W.Checkbox(indent=False)
        self.facts = W.HTML()
        self.facts.add_class("sky-facts")
        self.run = W.Button(description="Run")
        self.fault = W.HTML()
        self.fault.add_class("sky-fault")
        super().__init__([self.tick, self.facts, self.run, self.fault])
        self.add_class("sky-table-row")
        self._on_tick = on_tick
        self.tick.observe(self._ticked, "value")
        self.run.on_click(lambda _: on_run([self.table]))

    def _ticked(self, change: Any) -> None:
        if not self._filling:
            self._on_tick(self.table, bool(change["new"]))

    def fill(self, status: Mapping[str, Any], *, ticked: bool, runs: bool) -> None:
        """Show this table; nobody is called."""
        self._filling = True
        try:
            self.table = status["table"]
            self.tick.description = self.tick.tooltip = str(status["table"])
            self.tick.value = ticked
        finally:
            self._filling = False
        self.run.tooltip = f"Sync {status['table']} now"
        self.facts.value = _facts(status, runs)
        bad = _tone(status["last_status"], status["error"]) == "bad"
        self.fault.value = f'<pre class="sky-pre">{escape(status["error"])}</pre>' if bad and status["error"] and not runs else ""
        self.remove_class("sky-none")


def _facts(status: Mapping[str, Any], runs: bool) -> str:
    """The cells of a table's row, in the order of the head."""
    table, source, hand, kept = status["table"], escape(status["source"]), status.get("moved_by"), status.get("quarantined")
    mark, lag = escape(short_mark(str(status["watermark"] or ""))), status["lag_s"]
    rows = status.get("rows_current")
    chip = '<span class="sky-chip brand">running</span>' if runs else _chip(status["last_status"], status["error"])
    if kept:
        how = escape(f"rows with a value that does not fit: skygraph sync quarantine list {table}")
        chip += f' <span class="sky-chip warn" title="{how}">{kept:,} in quarantine</span>'
    cells = [
        ("", source, source + _under("" if rows is None else plural(rows, "row"))),
        ("", mark, (mark or '<span class="dim">none</span>') + _under(f"moved by {hand}" if hand and hand != "sync" else "", "warn")),
        (
            "warn" if status.get("overdue") and lag is not None else "",
            "since the last good run ended",
            (_lag(lag) or '<span class="dim">never</span>') + _under(f"every {_lag(status['every_s'])}" if status.get("every_s") else ""),
        ),
        ("sky-free", "", sparkline(status.get("runs") or (), str(status["error"] or ""))),
        ("sky-free", "", chip + _under(_when(status["last_finished_at"]))),
    ]
    inside = "".join(f'<div class="{kind}" title="{title}">{cell}</div>' for kind, title, cell in cells)
    return f'<div class="sky-grid">{inside}</div>'


def _under(words: str, tone: str = "") -> str:
    """A second, smaller line of a cell."""
    return f'<span class="sky-small {tone}" title="{escape(words)}">{escape(words)}</span>' if words else ""


def sparkline(runs: Sequence[Mapping[str, Any]], error: str = "") -> str:
    """The last runs as a small SVG, oldest left, each with its facts on hovering; `error` is that of the newest.

    A bar is as high as the run's changes, on a logarithmic scale. A failed run is an exclamation mark, a stopped one an empty
    square, a watermark moved by hand a triangle: form tells them apart, not colour alone.
    """
    runs = list(runs)[-_SLOTS:]
    if not runs:
        return '<span class="dim">no run yet</span>'
    most = max(_changes(r) for r in runs)
    marks, counts = [], {"failed": 0, "stopped": 0}
    for n, run in enumerate(runs):
        x = (_SLOTS - len(runs) + n) * _STEP + 1
        why = str(run.get("error") or (error if n == len(runs) - 1 else ""))
        tone = _tone(run.get("status"), why)
        word = str(run.get("status") or "")
        if tone == "bad":
            counts["failed"] += 1
            mark = f'<path class="failed" d="M{x + 0.5} 1h4l-.7 14h-2.6zM{x + 1} 17.5h3v3h-3z"/>'
        elif tone == "":
            counts["stopped"] += 1
            word = "stopped"
            mark = f'<rect class="stopped" x="{x + 0.6}" y="{_HIGH - 5.4}" width="3.8" height="3.8"/>'
        elif run.get("mode") == "rewind":
            mark = f'<path class="hand" d="M{x + _WIDE} {_HIGH - 9}v8l-{_WIDE} -4z"/>'
        else:
            changes = _changes(run)
            high = 4 + (_HIGH - 7) * math.log1p(changes) / math.log1p(most) if changes else 2
            kind = "some" if changes else "none"
            mark = f'<rect class="{kind}" x="{x}" y="{_HIGH - 1 - high:.1f}" width="{_WIDE}" height="{high:.1f}" rx="1"/>'
        told = escape(_told(run, word))
        marks.append(f'<g><title>{told}</title><rect class="area" x="{x - 1}" y="0" width="{_STEP}" height="{_HIGH}"/>{mark}</g>')
    bad = "".join(f", {count} {word}" for word, count in counts.items() if count)
    label = f"last {plural(len(runs), 'run')}{bad}; newest: {_told(runs[-1], word)}"
    width = _SLOTS * _STEP
    return (
        f'<svg class="sky-runs" role="img" aria-label="{escape(label)}" width="{width}" height="{_HIGH}" viewBox="0 0 {width} {_HIGH}">'
        f'<line class="ground" x1="0" x2="{width}" y1="{_HIGH - 0.5}" y2="{_HIGH - 0.5}"/>{"".join(marks)}</svg>'
    )


def is_bad(status: Any) -> bool:
    """Whether a status word means that something did not work."""
    return str(status or "").casefold() in ("error", "failed", "fail", "crashed", "partial")


def _tone(status: Any, error: Any) -> str:
    """`good`, `bad`, or nothing for what a person stopped.

    >>> _tone("ok", ""), _tone("failed", "no such table"), _tone("failed", "interrupted; run it again")
    ('good', 'bad', '')
    """
    if str(status) == "stopped" or str(error or "").startswith("interrupted"):
        return ""
    return "bad" if error or is_bad(status) else "good"


def _chip(status: Any, error: Any) -> str:
    if not status or status == "never":
        return '<span class="sky-chip">never</span>'
    tone = _tone(status, error)
    return f'<span class="sky-chip {tone}">{escape(status) if tone else "stopped"}</span>'


def _is_new(status: Mapping[str, Any]) -> bool:
    return status["last_finished_at"] is None


def _searched(status: Mapping[str, Any]) -> str:
    state = "stopped" if _tone(status["last_status"], status["error"]) == "" else status["last_status"]
    return f"{status['table']} {status['source']} {state} {'quarantine' if status.get('quarantined') else ''}".casefold()


def _changes(run: Mapping[str, Any]) -> int:
    return int(run.get("inserted") or 0) + int(run.get("deleted") or 0)


def _told(run: Mapping[str, Any], word: str) -> str:
    """A run in a line."""
    parts = [_when(run.get("finished_at")), str(run.get("mode") or ""), word]
    if run.get("mode") != "rewind" and not is_bad(run.get("status")):
        read, inserted, deleted = (int(run.get(k) or 0) for k in ("rows_read", "inserted", "deleted"))
        parts.append(f"{plural(read, 'row')} read, {inserted:,} inserted" + (f", {deleted:,} deleted" if deleted else ""))
    parts.append(f"{run['seconds']:,.2f} s" if run.get("seconds") is not None else "")
    return " · ".join(p for p in parts if p)


def _when(time: Any) -> str:
    """A time in UTC to the second; a text as it is."""
    if not isinstance(time, dt.datetime):
        return str(time or "")
    utc = time.astimezone(dt.timezone.utc) if time.tzinfo else time
    return f"{utc:%Y-%m-%d %H:%M:%S}"


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
