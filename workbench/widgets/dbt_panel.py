"""DbtPanel: run, test or build models, see every node's state as it happens, open the rows that fail a test."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W

from workbench.widgets.task import Throttle, write_line
from workbench.widgets.view import View, as_rows, close_tree, data_table, empty_state, escape, plural

__all__ = ["DbtPanel", "NodeEvent"]

NodeEvent = Callable[[Mapping[str, Any]], None]

_VERBS = ("build", "run", "test")
_TONES = {
    "started": "brand",
    "success": "good",
    "pass": "good",
    "error": "bad",
    "fail": "bad",
    "warn": "warn",
    "skipped": "",
}
_MOST_LINES = 200
_MOST_BUTTONS = 40


class DbtPanel(View):
    """Run dbt and watch it.

    Args:
        nodes: `[{name, kind, layer, description}]`.
        run: of a verb, a selector ("" means everything) and a listener for events `{name, kind, status, seconds,
            message}`, called from any thread; answers `{success, nodes}` with the last event of each node.
        failing: of a test's name, `{sql, columns, rows}`: its compiled query and the rows that fail it.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[Mapping[str, Any]]],
        run: Callable[[str, str, NodeEvent], Mapping[str, Any]],
        failing: Callable[[str], Mapping[str, Any]],
        *,
        live: bool | None = None,
    ) -> None:
        super().__init__("dbt", live=live)
        self._read_nodes, self._dbt, self._read_failing = nodes, run, failing
        self._nodes: dict[str, Mapping[str, Any]] = {}
        self._events: dict[str, Mapping[str, Any]] = {}
        self._events_lock = threading.Lock()
        self._throttle = Throttle(self._draw_run)

        self.verb = W.ToggleButtons(options=list(_VERBS), tooltips=["Run models and test them, in order", "Run models", "Test models"])
        self.select = W.Combobox(
            placeholder="everything; or a model, staging.stg_invoices, +fct_sales, tag:daily",
            ensure_option=False,
            tooltip="What to run, as in dbt --select",
            layout=W.Layout(flex="1 1 240px"),
        )
        self.go = W.Button(description="Start", button_style="primary", tooltip="Start dbt with this selection")
        self._outcome = W.HTML()
        self._table = W.HTML()
        self.failures = W.Box()
        self._failures_label = W.HTML()
        self._rows = W.HTML()
        self.go.on_click(lambda _: self._start())

        controls = W.Box([self.verb, self.select, self.go])
        for row in (controls, self.failures):
            row.add_class("sky-row")
        self._show(controls, self._outcome, self._table, self._failures_label, self.failures, self._rows)
        self._load(lambda: list(self._read_nodes()), self._draw_nodes)

    def _draw_nodes(self, nodes: list[Mapping[str, Any]]) -> None:
        self._nodes = {str(n["name"]): n for n in nodes}
        kinds = Counter(str(n["kind"]) for n in nodes)
        self._say(", ".join(plural(count, kind) for kind, count in kinds.items()) or "no models yet")
        self.select.options = [str(n["name"]) for n in nodes if n["kind"] != "test"][:500]
        self._enable(self.go, bool(nodes))
        self._table.value = (
            self._lines()
            if nodes
            else empty_state("No dbt models yet. Put SQL files into dbt/models/; to see a working example:", "skygraph demo")
        )

    def _start(self) -> None:
        verb, select = _VERBS[self.verb.index or 0], self.select.value.strip()

        def work() -> Mapping[str, Any]:
            with self._events_lock:
                self._events.clear()
            self._set_failures([])
            self._rows.value = self._outcome.value = ""
            self._table.value = '<div class="dim">waiting for the first node…</div>'
            try:
                return self._dbt(verb, select, self._hear)
            finally:
                self._throttle.stop()
                if not self._events:
                    self._table.value = self._lines()

        if self._nodes:
            self._run(f"dbt {verb}", work, lambda report: self._finish(verb, report))

    def _hear(self, event: Mapping[str, Any]) -> None:
        with self._events_lock:
            self._events[str(event["name"])] = event
            if not self._task.live and event["status"] != "started":
                seconds = event.get("seconds")
                write_line(f"{event['status']}  {event['name']}" + (f"  {seconds:.2f} s" if seconds else ""))
        if self._task.live:
            self._throttle.ask()

    def _draw_run(self) -> None:
        with self._events_lock:
            lines, counts = self._lines(), self._counts()
        self._table.value, self._outcome.value = lines, counts

    def _finish(self, verb: str, report: Mapping[str, Any]) -> None:
        with self._events_lock:
            for node in report["nodes"]:
                self._events[str(node["name"])] = node
            words = '<b class="good">done</b>' if report["success"] else '<b class="bad">failed</b>'
            self._outcome.value = f"dbt {escape(verb)} {words} &nbsp; {self._counts()}"
            self._table.value = self._lines() if self._events else empty_state("Nothing matches this selection.")
            failed = [
                name for name, event in self._events.items() if event.get("kind") == "test" and event["status"] in ("fail", "error", "warn")
            ]
        self._set_failures(failed)
        if not self._task.live:
            write_line(f"dbt {verb}: {'done' if report['success'] else 'failed'}")

    def _set_failures(self, names: list[str]) -> None:
        old, self.failures.children = self.failures.children, ()
        close_tree(*old)
        more = f" (first {_MOST_BUTTONS} of {len(names):,})" if len(names) > _MOST_BUTTONS else ""
        self._failures_label.value = f'<div class="sky-label">Failing tests: see the rows{more}</div>' if names else ""
        buttons = []
        for name in names[:_MOST_BUTTONS]:
            button = W.Button(description=name, tooltip=f"Show the rows that fail {name}")
            button.layout.max_width = "100%"
            button.on_click(lambda _, name=name: self._open(name))
            buttons.append(button)
        self.failures.children = tuple(buttons)

    def _open(self, name: str) -> None:
        def done(found: Mapping[str, Any]) -> None:
            columns, rows = as_rows(found)
            table = data_table(columns, rows) if rows else empty_state("No row fails this test now.")
            self._rows.value = (
                f'<div style="margin-bottom:4px"><b>{escape(name)}</b> <span class="dim">'
                f"{plural(len(rows), 'failing row')}</span></div>{table}"
                f'<details style="margin-top:6px"><summary>SQL of the test</summary><div class="sky-log">'
                f'<pre class="sky-pre">{escape(found["sql"])}</pre></div></details>'
            )

        self._run("reading failing rows", lambda: self._read_failing(name), done)

    def _counts(self) -> str:
        counts = Counter(str(e["status"]) for e in self._events.values())
        return " ".join(
            f'<span class="sky-chip {_TONES.get(s, "")}">{n:,} {escape("running" if s == "started" else s)}</span>'
            for s, n in counts.items()
        )

    def _lines(self) -> str:
        """The nodes of this run, what needs eyes first; before any run, all nodes."""
        shown: list[tuple[str, Mapping[str, Any] | None]]
        if self._events:
            order = {"error": 0, "fail": 0, "started": 1, "warn": 2}
            first = sorted(self._events.items(), key=lambda item: order.get(str(item[1]["status"]), 3))
            shown = [(name, event) for name, event in first]
        else:
            shown = [(name, None) for name in self._nodes]
        lines = []
        for name, event in shown[:_MOST_LINES]:
            node = self._nodes.get(name, {})
            status = str(event["status"]) if event else ""
            label = "running" if status == "started" else status
            seconds = f"{event['seconds']:.2f} s" if event and event.get("seconds") is not None else ""
            words = (event.get("message") if event else node.get("description")) or ""
            tone = "bad" if status in ("error", "fail") else "dim"
            lines.append(
                f'<tr><td style="width:1%">{_chip(label, status)}</td><td class="mono">{escape(name)}</td>'
                f'<td class="dim sky-word">{escape(node.get("kind") or (event or {}).get("kind") or "")}</td>'
                f'<td class="dim">{escape(node.get("layer") or "")}</td><td class="n">{seconds}</td>'
                f'<td class="{tone}">{escape(words)}</td></tr>'
            )
        more = f'<div class="dim">and {len(shown) - _MOST_LINES:,} more</div>' if len(shown) > _MOST_LINES else ""
        head = "".join(f'<th scope="col">{h}</th>' for h in ("", "node", "kind", "layer"))
        return (
            '<div class="sky-scroll" style="max-height:330px"><table class="sky-table"><thead><tr>'
            f'{head}<th scope="col" class="n">time</th><th scope="col"></th></tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>{more}"
        )

    def _summary(self) -> str:
        kinds = Counter(str(n["kind"]) for n in self._nodes.values())
        text = ", ".join(plural(count, kind) for kind, count in kinds.items()) or "no models yet"
        counts = Counter(str(e["status"]) for e in self._events.values())
        last = "; last run: " + ", ".join(f"{n:,} {s}" for s, n in counts.items()) if counts else ""
        return f"dbt: {text}{last}"


def _chip(label: str, status: str) -> str:
    if not label:
        return '<span class="dim">·</span>'
    return f'<span class="sky-chip {_TONES.get(status, "")}">{escape(label)}</span>'
