"""What a grid asks of a relation: rows by their place, the count, a row in full, sums of a column, a file; as data that can be sent.

It takes numbers and names from a person's browser and answers with JSON-able data whose values are already written for people.
Orders and sums are always of the whole answer. The first rows are read by themselves; whatever lies behind them, and every order, is
read from the answer as it is kept on the server. Where it cannot be kept, the first thousand rows in each order can be seen.
"""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import LakeError, QueryError, SkyGraphError, UsageError
from workbench.lake import Lake, Running, reads_with, watched
from workbench.lake.files import FORMATS, write_file
from workbench.lake.sql import quote
from workbench.lake.types import bare
from workbench.relations.cells import is_number, shown_type, written
from workbench.relations.kept import Kept, Sort
from workbench.relations.relation import FIRST, Relation, in_the_words_of_the_statement

__all__ = ["Pages"]

_CUT = 300  # characters of a value in the grid, and of the text under the pointer
_HOVER = 2_000
_VALUE = 100_000  # characters of a value of one row
_CELLS = 12_000  # of one page: with many columns it has fewer rows
_HEAD = 1_000  # rows in an order, where the answer cannot be kept
_EXACT = 1_000_000  # rows within which different values are counted exactly
_GONE = (60, 81)
_LONG = ("page", "count", "summary", "row", "export")

Cell = str | dict[str, Any] | None


class Pages:
    """Reads of one relation. Thread safe: questions of different kinds may run at the same time.

    Args:
        lake: a further connection; each kind of question has one, so that `stop` ends its statements alone.
        folder: where files are written; None: nobody may write one from here.
    """

    def __init__(self, relation: Relation, *, lake: Callable[[], Lake] | None = None, folder: Path | None = None) -> None:
        self.relation = relation
        self._make_lake, self._folder = lake, folder
        self._lock = threading.Lock()
        self._lakes: dict[str, Lake] = {}
        self._head: tuple[Sort | None, list[list[Any]]] | None = None
        self._refused = ""  # why the answer cannot be kept
        self._total: int | None = None
        self._say: Callable[[str, str, int | None], None] = lambda kind, text, percent: None

    def listen(self, say: Callable[[str, str, int | None], None]) -> None:
        """Tell how long questions go: their kind, a line, and percent if known; '' when they have ended."""
        self._say = say

    def _lake(self, kind: str) -> Lake:
        with self._lock:
            if self._make_lake is None or kind not in _LONG:
                return self.relation.lake
            if kind not in self._lakes:
                self._lakes[kind] = self._make_lake()
            return self._lakes[kind]

    def stop(self, kind: str) -> None:
        """End the statements that a kind of question runs now; its caller gets an error."""
        with self._lock:
            lake = self._lakes.get(kind)
        if lake is not None:
            lake.stop_queries()

    def halt(self) -> dict[str, Any]:
        """End the statements of every kind of question."""
        for kind in _LONG:
            self.stop(kind)
        return {}

    def close(self) -> None:
        """Drop the connections."""
        with self._lock:
            lakes, self._lakes = list(self._lakes.values()), {}
        for lake in lakes:
            lake.close()

    # --- what is asked

    def open(self) -> dict[str, Any]:
        """What it is: its columns, its text, and how its rows come."""
        relation = self.relation
        first = relation.first
        columns = relation.columns or first.columns
        return {
            "name": relation.name, "sql": relation.statement, "raw": relation.raw, "size": self._size(len(columns)),
            "columns": [
                {
                    "name": name, "type": shown_type(c.type), "full": c.type[:_HOVER], "number": is_number(c.type),
                    "sorts": relation.is_rows and _sorts(c.type),
                }
                for name, c in zip(relation.names, columns, strict=True)
            ],
            "total": len(first.rows) if first.is_all else None, "ms": round(first.seconds * 1000),
            "files": list(FORMATS) if self._folder is not None else [],
        }  # fmt: skip

    def count(self) -> dict[str, Any]:
        """How many rows there are: of the answer that is kept, or counted now."""
        kept = self.relation.kept()
        first = self.relation.first
        if kept is not None:
            self._total = kept.row_count
        elif first.is_all:
            self._total = len(first.rows)
        else:
            self._total = self._values("count", f"select count() from (\n{self.relation.sql}\n)")[0][0]
        return {"total": self._total}

    def page(self, start: int, sort: int | None, down: bool) -> dict[str, Any]:
        """The rows of a page in an order, how many rows there are, and of which moment they are.

        `of` names the answer that they are of: rows of another one are not to be shown beside them. `shown` is how many can be paged to.
        """
        relation, first = self.relation, self.relation.first
        order = self._order(sort, down)
        size = self._size(len(first.columns))
        is_head = order is None and start + size <= FIRST and start + size <= len(first.rows)
        if first.is_all and order is None:
            return self._page(first.rows[start : start + size], first.read_at, "first", total=len(first.rows), shown=len(first.rows))
        kept = relation.kept()
        if kept is None and is_head:
            shown = min(_HEAD, self._total) if self._refused and self._total is not None else None
            return self._page(first.rows[start : start + size], first.read_at, "first", total=self._total, shown=shown)
        if not self._refused:
            try:
                kept, rows = self._from_kept("page", lambda kept: kept.page(start, size, order))
            except SkyGraphError as error:
                if not _cannot_keep(error):
                    raise
                self._refused = f"{error.message}; {error.hint}" if error.hint else error.message
            else:
                return self._page(rows, kept.kept_at, f"{kept.table}", total=kept.row_count, shown=kept.row_count)
        rows = self._head_rows(order)
        total = self._total if self._total is not None else self.count()["total"]
        moment = dt.datetime.now(dt.timezone.utc)
        return self._page(rows[start : start + size], moment, f"head {sort} {down}", total=total, shown=min(len(rows), total))

    def row(self, index: int, sort: int | None, down: bool) -> dict[str, Any]:
        """One row, every value in full."""
        order = self._order(sort, down)
        first = self.relation.first
        if order is None and index < len(first.rows) and (first.is_all or self.relation.kept() is None):
            rows = [first.rows[index]]
        elif self._refused:
            rows = self._head_rows(order)[index : index + 1]
        else:
            _, rows = self._from_kept("row", lambda kept: kept.page(index, 1, order))
        if not rows:
            raise UsageError(f"there is no row {index + 1:,}")
        values = [
            None if v is None else written(v, c.type, c.name) for v, c in zip(rows[0], self.relation.columns or first.columns, strict=True)
        ]
        return {"values": [None if v is None else {"text": v[:_VALUE], "more": max(0, len(v) - _VALUE)} for v in values]}

    def summary(self, column: int) -> dict[str, Any]:
        """Sums of a column over all rows: `facts` with a name and a text each, and the rows that they are of."""
        relation = self.relation
        self._order(column, False)
        type_, name = relation.columns[column].type, relation.names[column]
        kept = relation.kept()
        total = kept.row_count if kept is not None else self.count()["total"]
        source, at = (
            (f"(select * from {quote(kept.table.partition('.')[0])}.{quote(kept.table.partition('.')[2])})", f"c{column}")
            if kept
            else (relation.source, quote(name))
        )
        asked = _sums(type_, at, exact=total <= _EXACT)
        sql = f"select {', '.join(asked.values())} from {source}"
        values, columns = self._values("summary", sql, parameters=None if kept else relation.parameters, with_columns=True)
        facts = []
        for label, value, meant in zip(asked, values[0], columns, strict=True):
            if label == "rows":
                total = value
            text = None if value is None else written(value, meant.type, "")
            facts.append({"name": label, "text": None if text is None else _cut(text)})
        return {"name": name, "type": type_[:_HOVER], "total": total, "facts": facts}

    def export(self, format: str, sort: int | None, down: bool) -> dict[str, Any]:
        """Write the whole answer to a file beside the notebook, by the server: the one that is kept in its order, or else read now."""
        if self._folder is None:
            raise UsageError("files are written by the workspace's owner", hint="in JupyterLab or a terminal")
        if format not in FORMATS:
            raise UsageError(f"{format[:20]!r} is no format", hint=f"there is {', '.join(FORMATS)}")
        relation, order, kept = self.relation, self._order(sort, down), self.relation.kept()
        if order is not None and kept is None and not self._refused:
            kept, _ = self._from_kept("export", lambda kept: kept.page(0, 0))
        lake = self._lake("export")
        target = _unused(self._folder / f"{relation.name or 'answer'}.{format}")
        began = time.perf_counter()
        by = f" order by {order[0] + 1}{' desc' if order[1] else ''}" if order else ""
        sql = kept.all(relation.names, order) if kept else f"select * from {relation.source}{by}" if relation.is_rows else relation.sql
        history = relation.raw and kept is None

        def said(written_bytes: int) -> None:
            self._say("export", f"{written_bytes / 1e6:,.1f} MB written to {target.name}", None)

        try:
            with reads_with(relation.how):
                answer = lake.stream(sql, {} if kept else relation.parameters, FORMATS[format], history=history)
            size = write_file(target, answer, say=said)
        except QueryError as error:
            raise in_the_words_of_the_statement(error, lake) from None
        finally:
            self._say("export", "", None)
        return {"path": str(target), "file": target.name, "bytes": size, "seconds": round(time.perf_counter() - began, 2)}

    # --- how it is read

    def _size(self, columns: int) -> int:
        return max(20, min(FIRST, _CELLS // max(1, columns)))

    def _order(self, sort: int | None, down: bool) -> Sort | None:
        if sort is None:
            return None
        if not self.relation.is_rows or not 0 <= sort < len(self.relation.columns):
            raise UsageError(f"there is no column {sort + 1} to sort by")
        return sort, down

    def _from_kept(self, kind: str, ask: Callable[[Kept], str]) -> tuple[Kept, list[list[Any]]]:
        """Rows of the kept answer; one that went away meanwhile is kept anew."""
        for again in (True, False):
            kept = self._kept(kind)
            try:
                return kept, self._values(kind, ask(kept), parameters={}, history=False)
            except QueryError as error:
                if error.code not in _GONE or not again:
                    raise
                self.relation.shelf.drop(self.relation.id)
        raise AssertionError  # the second time raises

    def _kept(self, kind: str) -> Kept:
        try:
            kept = self.relation.keep(lake=self._lake(kind), listen=lambda running: self._hear(kind, running))
        except QueryError as error:
            raise in_the_words_of_the_statement(error, self._lake(kind)) from None
        finally:
            self._say(kind, "", None)
        self._total = kept.row_count
        return kept

    def _head_rows(self, order: Sort | None) -> list[list[Any]]:
        """The first thousand rows in an order of the whole answer, read once for each order."""
        with self._lock:
            held = self._head
        if held is None or held[0] != order:
            by = f" order by {order[0] + 1}{' desc' if order[1] else ''}" if order else ""
            held = (order, self._values("page", f"select * from {self.relation.source}{by} limit {_HEAD}"))
            with self._lock:
                self._head = held
        return held[1]

    def _values(
        self, kind: str, sql: str, *, parameters: Mapping[str, Any] | None = None, history: bool | None = None, with_columns: bool = False
    ) -> Any:
        relation = self.relation
        lake = self._lake(kind)
        bound = relation.parameters if parameters is None else parameters
        try:
            with watched(lambda running: self._hear(kind, running)), reads_with(relation.how):
                columns, rows = lake.values(sql, bound, history=relation.raw if history is None else history)
        except QueryError as error:
            if history is False:
                raise
            raise in_the_words_of_the_statement(error, lake) from None
        finally:
            self._say(kind, "", None)
        return (rows, columns) if with_columns else rows

    def _hear(self, kind: str, running: Running) -> None:
        self._say(kind, str(running), running.percent)

    def _page(self, rows: list[list[Any]], moment: dt.datetime, of: str, *, total: int | None, shown: int | None) -> dict[str, Any]:
        columns = self.relation.columns or self.relation.first.columns
        return {
            "rows": [[_cell(v, c.type, c.name) for v, c in zip(row, columns, strict=True)] for row in rows],
            "of": of, "total": total, "shown": shown, "at": moment.strftime("%H:%M:%S UTC"), "refused": self._refused[:500],
        }  # fmt: skip


def _cannot_keep(error: SkyGraphError) -> bool:
    """Whether an answer cannot be kept at all, so that its head has to do: no right to write, no type of a table, too large."""
    if isinstance(error, QueryError):
        return error.code in (497, 164, 44, 50, 370, 455, 723)  # denied, read-only, columns that no table may have
    return isinstance(error, UsageError) and not isinstance(error, LakeError)


def _sorts(type_: str) -> bool:
    """Whether the engine puts values of a type in order."""
    return not re.match(r"(Map|JSON|Object|Dynamic|Variant|AggregateFunction|Nothing)\b", bare(type_))


def _sums(type_: str, at: str, *, exact: bool) -> dict[str, str]:
    """The sums of a column that make sense for its type. None of them can overflow."""
    kind = bare(type_)
    asked = {"rows": "count()", "without a value (NULL)": f"countIf(isNull({at}))"}
    if kind.startswith(("String", "FixedString")):
        asked["empty texts"] = f"countIf({at} = '')"
        asked["longest, in characters"] = f"max(lengthUTF8({at}))"
    if kind.startswith(("Float", "BFloat")):
        asked["NaN"] = f"countIf(isNaN({at}))"
    if not _sorts(type_):
        return asked
    asked["different values" if exact else "different values, about"] = f"{'uniqExact' if exact else 'uniq'}({at})"
    asked["smallest"], asked["largest"] = f"min({at})", f"max({at})"
    if is_number(type_):
        wide = f"toInt256({at})" if re.match("U?Int", kind) else at
        if match := re.match(r"Decimal\(\d+, (\d+)\)", kind):
            wide = f"toDecimal256({at}, {match[1]})"
        asked["sum"] = f"sum({wide})"
        asked["mean"] = f"avg({at})"
    if kind.startswith("Bool"):
        asked["true"] = f"countIf({at})"
    return asked


def _cell(value: Any, type_: str, column: str) -> Cell:
    """A value in the grid: None, its text, or of a long one its beginning and a longer beginning to hover over."""
    if value is None:
        return None
    text = written(value, type_, column)
    line = re.sub(r"\r\n|[\r\n\t]", lambda m: " ⇥ " if m[0] == "\t" else " ⏎ ", text[: _CUT * 2])
    if line == text and len(text) <= _CUT:
        return text
    return {"cut": _cut(line), "title": text[:_HOVER] + ("…" if len(text) > _HOVER else "")}


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1] + "…"


def _unused(path: Path) -> Path:
    """A path that no file has: `answer.csv`, `answer-2.csv`, ..."""
    count, chosen = 1, path
    while chosen.exists():
        count += 1
        chosen = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return chosen
