"""Board: a dashboard of tiles, charts and tables over the lake, with filters. The drawing is in board.js beside this.

A notebook says what there is; nothing is read until a page opens it and asks, so one that was made ready before its reader came shows
what is true then. Whoever can reach the page can send any message: each is read strictly, a filter takes only values that it offers,
and those reach SQL as bound parameters, never as its text.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import ipaddress
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

import anywidget
import traitlets

from workbench.errors import QueryError, SkyGraphError, UnknownName, UsageError
from workbench.widgets.task import Task, is_live
from workbench.widgets.view import beside, close_tree, plural

__all__ = ["Board"]

Row = Mapping[str, Any]
Values = Mapping[str, str]
Source = str | Callable[[Values], Sequence[Row]]
Options = str | Mapping[str, str] | Callable[[], Mapping[str, str]]

_TO_PAGE = 1_000  # rows of one part
_TO_FILE = 10_000  # rows of a CSV
_CHOICES = 1_000  # options of a filter
_TEXT = 200  # characters of a filter's value
_FIELD = 2_000  # characters of a text in the page

_NOT_BUILT = (60, 81)  # ClickHouse: unknown table, unknown database
_NOT_GRANTED = 497
_CELLS = ("text", "number", "duration", "status", "ago", "spark", "change", "lag")


class Rows(Protocol):
    """Runs a SELECT with bound parameters."""

    def __call__(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        """Its rows."""


@dataclass(frozen=True)
class _Filter:
    name: str
    label: str
    options: Options
    default: str | Callable[[Mapping[str, str]], str] | None
    moments: Callable[[], Sequence[Row]] | None = None  # then it is a bar of time, and these are its options


@dataclass(frozen=True)
class _Part:
    id: str
    kind: str
    title: str
    source: Source
    shown: Mapping[str, Any]  # what the page needs to draw it


class Board(anywidget.AnyWidget):
    """A dashboard. Declare filters and parts, in the order that people see them, then show it.

    A source is SQL, in which `{name:String}` stands for the value of the filter `name`; or a function that takes all values by filter
    and gives rows as mappings.

    Args:
        title: what it is called where there is no page around it.
        rows: runs SQL.
        stamp: `{age_s, at, table, watermark, every_s, built_at, never}` of the oldest data behind the board; `age_s` None for no data.
        every_s: seconds between two reads while somebody looks; 0 for never.
    """

    _esm = beside("timebar.js", "board.js")
    _css = beside("timebar.css", "board.css")

    plan = traitlets.Dict().tag(sync=True)

    def __init__(self, title: str, rows: Rows, stamp: Callable[[], Row], *, every_s: float = 60, live: bool | None = None) -> None:
        self.title = title
        self._rows, self._stamp = rows, stamp
        self._every_s = float(every_s)
        self._filters: dict[str, _Filter] = {}
        self._parts: dict[str, _Part] = {}
        self._live = is_live() if live is None else live
        self._asked = ""
        self._lock = threading.Lock()
        self._show_task, self._save_task = (Task(lambda _: None, lambda _: None, live=self._live) for _ in range(2))
        super().__init__(plan=self._plan())
        self.on_msg(self._hear)

    # --- what a notebook declares

    def choice(
        self, name: str, label: str, options: Options, *, every: str | None = None, default: str | Callable[[Values], str] | None = None
    ) -> None:
        """A filter that takes one of some values.

        Args:
            name: in the page's address, and in SQL as `{name:String}`.
            options: value to label; or SQL whose first column is the value and the second, if any, the label; or a function.
            every: the label of one more option, the first, whose value is '': no filter.
            default: the value at first; the first option when it is left out. A function chooses among the options of that time.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in self._filters:
            raise UsageError(f"a filter cannot be called {name!r}", hint="take a name of its own in small letters")

        def with_every() -> Mapping[str, str]:
            found = self._read_options(options)
            return found if every is None else {"": every, **found}

        self._filters[name] = _Filter(name, label, with_every, default)
        self.plan = self._plan()

    def moments(self, name: str, label: str, moments: Callable[[], Sequence[Row]]) -> None:
        """A filter that is a bar of time, to be moved along and played: `bench.moments` gives those of the snapshots.

        Args:
            name: as of a choice.
            moments: rows with `value`, `label` and `count` (how much happened, drawn as a bar), in order of time. The last one is
                chosen at first; of more than 1,000, the last ones are offered.
        """
        self.choice(name, label, {}, default=lambda options: list(options)[-1] if options else "")
        self._filters[name] = replace(self._filters[name], moments=moments)
        self.plan = self._plan()

    def tiles(self, source: Source) -> None:
        """Figures side by side: rows with `label`, `value`, and if wanted `unit`, `before` (shown as the change), `note`, `tone`."""
        self._add("tiles", "", source, width=12)

    def columns(
        self, title: str, source: Source, x: str, y: str, *, unit: str = "", label: str = "", before: str = "", before_label: str = "",
        note: str = "", width: int = 12, empty: str = "",
    ) -> None:  # fmt: skip
        """A column per row, in their order; `before` is a column that is drawn as a line over them."""
        names = {"x": x, "y": y, "unit": unit, "label": label, "before": before, "before_label": before_label}
        self._add("columns", title, source, width=width, note=note, empty=empty, **names)

    def ranks(
        self, title: str, source: Source, x: str, y: str, *, unit: str = "", label: str = "", note: str = "", width: int = 6,
        empty: str = "",
    ) -> None:  # fmt: skip
        """A bar per row, in their order, the name `x` before it and the value `y` after it."""
        self._add("ranks", title, source, width=width, note=note, empty=empty, x=x, y=y, unit=unit, label=label)

    def table(
        self, title: str, source: Source, columns: Mapping[str, str], *, note: str = "", width: int = 12, empty: str = "", page: int = 12
    ) -> None:
        """A table. `columns` maps a column of the rows to `label`, `label:kind` or `label:number:unit`.

        Kinds: text, number, duration (seconds), status (a word with its colour), ago (a time), spark (a list of numbers),
        lag (seconds, as a bar up to the row's `every_s`), change (a list of `name`, `old`, `new`). `page` rows are shown at first.
        """
        cells = []
        for name, said in columns.items():
            label, _, rest = said.partition(":")
            kind, _, unit = rest.partition(":")
            if kind and kind not in _CELLS:
                raise UnknownName("kind of column", kind, _CELLS)
            cells.append({"name": name, "label": label, "kind": kind or "text", "unit": unit})
        self._add("table", title, source, width=width, note=note, empty=empty, columns=cells, page=page)

    def flaps(
        self, title: str, source: Source, columns: Mapping[str, str], *, note: str = "", width: int = 12, empty: str = "", page: int = 14
    ) -> None:
        """A board of flaps, as in stations: what changes turns over. `columns` maps a column to `label:characters`; longer is cut.

        A row's `tone` (good, warn, bad) colours its last column. The first `page` rows are shown.
        """
        cells = []
        for name, said in columns.items():
            label, _, size = said.rpartition(":")
            if not size.isdecimal() or not 1 <= int(size) <= 40:
                raise UsageError(f"{title}: {name} is {said!r}", hint="write it as `label:characters`, with 1 to 40 characters")
            cells.append({"name": name, "label": label, "size": int(size)})
        self._add("flaps", title, source, width=width, note=note, empty=empty, columns=cells, page=page)

    def rows(self, sql: str, values: Values | None = None) -> Sequence[Row]:
        """Run a SELECT; `{name:String}` in it is bound to the value of that name."""
        given = values or {}
        return self._rows(sql, {name: given[name] for name in _names_in(sql) if name in given})

    def _add(self, kind: str, title: str, source: Source, *, width: int, **shown: Any) -> None:
        if isinstance(source, str):
            for name in _names_in(source):
                if name not in self._filters:
                    raise UnknownName("filter", name, self._filters)
        if not 1 <= width <= 12:
            raise UsageError(f"{title}: the width is {width}", hint="12 is the whole page, 6 a half")
        shown["empty"] = shown.get("empty") or "Nothing to show here yet."
        part = _Part(f"p{len(self._parts) + 1}", kind, title, source, {"width": width, **shown})
        self._parts[part.id] = part
        self.plan = self._plan()

    def _plan(self) -> dict[str, Any]:
        parts = [{"id": p.id, "kind": p.kind, "title": p.title, **p.shown} for p in self._parts.values()]
        filters = [{"name": f.name, "label": f.label, "moments": f.moments is not None} for f in self._filters.values()]
        return {"title": self.title, "every_s": self._every_s, "filters": filters, "parts": parts}

    # --- what a page asks

    def set_state(self, sync_data: Any) -> None:
        """Take no state from a page: it asks by messages only."""

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message and answer it, in a thread when a page is there; of two questions to show, the newer counts."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > 64:
            return  # there is nobody to answer
        id = message["id"]
        try:
            part = self._read_question(message)
        except SkyGraphError as error:
            self.send({"id": id, "refused": _said(error)})
            return
        given = message["filters"]
        if part is not None:
            self._save_task.start(lambda: self._save(id, part, given), self.send, queue=True)
            return
        with self._lock:
            self._asked = id
        self._show_task.start(lambda: self._show(id, given), lambda _: None, queue=True)

    def _read_question(self, message: Mapping[str, Any]) -> _Part | None:
        """The part that is to be saved; None when all are to be shown.

        Raises:
            UsageError: it is not a question of ours.
        """
        kind, given = message.get("ask"), message.get("filters")
        if kind not in ("show", "csv") or set(message) != {"id", "ask", "filters"} | ({"part"} if kind == "csv" else set()):
            raise UsageError("a dashboard is asked to show or to save a part")
        if not isinstance(given, dict):
            raise UsageError("the filters are not names and values")
        for name, value in given.items():
            if name not in self._filters:
                raise UnknownName("filter", str(name)[:40], self._filters)
            if not isinstance(value, str) or len(value) > _TEXT:
                raise UsageError(f"the value of {name} is not a short text")
        if kind == "show":
            return None
        part = self._parts.get(message["part"]) if isinstance(message["part"], str) else None
        if part is None:
            raise UsageError("there is no such part")
        return part

    def _show(self, id: str, given: Values) -> None:
        try:
            filters = self._settled(given)
            stamp = {**self._stamp()}
        except Exception as error:
            # a filter's value that is not there, or a lake that does not answer: then the same may be asked again
            kind = "refused" if isinstance(error, UsageError) else "failed"
            self.send({"id": id, kind: _said(error)})
            return
        values = {one["name"]: one["value"] for one in filters}
        self.send({"id": id, "filters": filters, "stamp": _plain(stamp)})
        for part in list(self._parts.values()):
            with self._lock:
                if self._asked != id:
                    return  # a newer question waits
            try:
                found = self._read(part, values)[:_TO_PAGE]
                self.send({"id": id, "part": part.id, "rows": [_plain(row) for row in found]})
            except Exception as error:
                if isinstance(error, QueryError) and error.code in _NOT_BUILT:
                    self.send({"id": id, "part": part.id, "rows": []})
                else:
                    self.send({"id": id, "part": part.id, "error": _said(error)})
        self.send({"id": id, "done": True})

    def _save(self, id: str, part: _Part, given: Values) -> dict[str, Any]:
        try:
            values = {one["name"]: one["value"] for one in self._settled(given)}
            rows = self._read(part, values)[:_TO_FILE]
        except Exception as error:
            return {"id": id, "error": _said(error)}
        stem = re.sub(r"[^a-z0-9]+", "_", part.title.lower()).strip("_") or part.kind
        return {"id": id, "name": f"{stem}.csv", "csv": _as_csv(rows)}

    def _settled(self, given: Values) -> list[dict[str, Any]]:
        """Every filter with its options and its value now.

        Raises:
            UsageError: a value that the filter does not offer.
        """
        found = []
        for one in self._filters.values():
            moments = list(one.moments())[-_CHOICES:] if one.moments else []
            options = {str(m["value"]): str(m["label"]) for m in moments} if one.moments else self._read_options(one.options)
            wanted = one.default(options) if callable(one.default) else one.default
            first = wanted if wanted is not None and wanted in options else next(iter(options), "")
            value = given.get(one.name, first)
            if value != first and value not in options:
                raise UsageError(f"{one.label}: there is no {value[:60]!r}", hint=f"{len(options):,} to choose from")
            counts = {str(m["value"]): [int(m["count"])] for m in moments}
            listed = [[key, label, *counts.get(key, ())] for key, label in options.items()]
            found.append({"name": one.name, "label": one.label, "options": listed, "value": value, "first": first})
        return found

    def _read_options(self, options: Options) -> Mapping[str, str]:
        if callable(options):
            found = options()
        elif isinstance(options, str):
            try:
                rows = [list(row.values()) for row in self._rows(options)]
            except QueryError as error:
                if error.code not in _NOT_BUILT:
                    raise
                rows = []
            found = {str(row[0]): str(row[-1]) for row in rows if row[0] is not None}
        else:
            found = options
        return dict(list(found.items())[:_CHOICES])

    def _read(self, part: _Part, values: Values) -> Sequence[Row]:
        return self.rows(part.source, values) if isinstance(part.source, str) else list(part.source(values))

    # --- for others

    def close(self) -> None:
        """Take it off the screen; waits for a read that runs."""
        for task in (self._show_task, self._save_task):
            task.close()
        if self.comm is not None:
            close_tree(self)

    def __repr__(self) -> str:
        """The board in a line; without a page, as in a run of the notebook by a job, with what it would show."""
        text = f"{self.title}: {plural(len(self._parts), 'part')}"
        if self._live or self.comm is None:
            return text
        values = {one["name"]: one["value"] for one in self._settled({})}
        lines = []
        for part in self._parts.values():
            try:
                lines.append(f"  {part.title or part.kind}: {plural(len(self._read(part, values)), 'row')}")
            except QueryError as error:
                if error.code not in _NOT_BUILT:
                    raise
                lines.append(f"  {part.title or part.kind}: {part.shown['empty']}")
        return "\n".join([text, *lines])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = repr(self)
        return bundle


def _names_in(sql: str) -> list[str]:
    """The parameters of a statement."""
    return list(dict.fromkeys(re.findall(r"\{(\w+):", sql)))


def _said(error: Exception) -> dict[str, Any]:
    """An error for a visitor: nothing of where it happened, and of the lake's words none."""
    if isinstance(error, QueryError):
        if error.code == _NOT_GRANTED:
            return {"message": "Dashboards may not read this", "hint": "they see marts and history only"}
        return {"message": "The lake could not answer this", "hint": "try again in a moment"}
    if isinstance(error, SkyGraphError):
        return {"message": error.message, "hint": error.hint}
    return {"message": f"This could not be read ({type(error).__name__})", "hint": "the notebook in JupyterLab tells why"}


def _plain(value: Any) -> Any:
    """A value as the page takes it: times in ISO 8601 with zone, decimals as numbers, long texts cut."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, (float, Decimal)):
        number = float(value)
        return number if number - number == 0 else None  # no NaN and no infinity in JSON
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)).isoformat()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")[:_FIELD]
    text = str(value)
    return text if len(text) <= _FIELD else f"{text[: _FIELD - 1]}…"


def _as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV. A text that a spreadsheet would take for a formula gets an apostrophe in front."""

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, (str, bytes)):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
        if isinstance(value, (dt.datetime, dt.date)):
            return value.isoformat()
        if isinstance(value, (list, tuple, dict)):
            return "; ".join(str(_plain(one)) for one in value)
        if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address, uuid.UUID)):
            return str(value)
        return str(value)

    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([[cell(row.get(name)) for name in names] for row in rows])
    return out.getvalue()
