"""Answers that are kept on the server while somebody pages through them.

The rows of a SELECT have no lasting order, and what it reads may change from one page to the next. So an answer that is paged is
written once, by the server, into a table with a number for each row; pages, orders and sums are then read from that, all of the
same rows. It is dropped when its reader ends, when eight newer ones are there, or by the next one after four hours; its rows go
by themselves then, whatever became of us.
"""

from __future__ import annotations

import atexit
import datetime as dt
import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workbench.errors import LakeError, QueryError, SkyGraphError, UsageError
from workbench.lake import Lake, Running, as_it_runs, watched
from workbench.lake.sql import Column, quote, quote_table

__all__ = ["DATABASE", "Kept", "Shelf", "Sort"]

DATABASE = "skygraph_results"

_LIFE_S = 4 * 3600
_MOST_KEPT = 8
_MOST_ROWS = 100_000_000
_MOST_BYTES = 20_000_000_000  # before they are compressed

Sort = tuple[int, bool]  # a column's place, and whether the largest come first


@dataclass(frozen=True)
class Kept:
    """An answer in a table: columns `c0`, `c1`, ... and `_row`, from 0."""

    table: str
    columns: tuple[Column, ...]
    row_count: int
    kept_at: dt.datetime
    until_s: float  # by the clock of this machine

    @property
    def is_fresh(self) -> bool:
        """Whether it will be there for some minutes more."""
        return time.time() < self.until_s - 300

    def page(self, start: int, limit: int, sort: Sort | None = None) -> str:
        """A SELECT of some rows in order; rows that are alike in the sorted column stay in the order of the answer."""
        names = ", ".join(f"c{i}" for i in range(len(self.columns)))
        table = quote_table(self.table)
        start, limit = int(start), int(limit)
        if sort is None:
            return f"select {names} from {table} where _row >= {start} and _row < {start + limit} order by _row"
        order = f"c{int(sort[0])}{' desc' if sort[1] else ''}, _row"
        # only the sorted column is read of all rows
        chosen = f"select _row from {table} order by {order} limit {limit} offset {start}"
        return f"select {names} from {table} where _row in ({chosen}) order by {order}"

    def all(self, names: Sequence[str], sort: Sort | None = None) -> str:
        """A SELECT of all rows in order, its columns under these names."""
        columns = ", ".join(f"c{i} as {quote(name)}" for i, name in enumerate(names))
        order = f"c{int(sort[0])}{' desc' if sort[1] else ''}, _row" if sort else "_row"
        return f"select {columns} from (select * from {quote_table(self.table)} order by {order})"


class Shelf:
    """The kept answers of one workbench, by the id of what they answer. Thread safe."""

    def __init__(self, lake: Callable[[], Lake]) -> None:
        self._lake = lake
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._ends = False

    def found(self, key: str) -> Kept | None:
        """What is kept under an id, if it is still fresh."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept if kept is not None and kept.is_fresh else None

    def keep(
        self, key: str, sql: str, parameters: Mapping[str, Any], columns: tuple[Column, ...], *, raw: bool = False,
        lake: Lake | None = None, listen: Callable[[Running], None] | None = None,
    ) -> Kept:  # fmt: skip
        """The answer of a SELECT, kept now unless it is already; `lake` is the connection that writes it.

        Raises:
            UsageError: this user may not write, or the answer is too large to be kept.
            LakeError: the lake failed; nothing half-written is left.
        """
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            if (kept := self.found(key)) is not None:
                return kept
            self.drop(key)
            on = lake or self._lake()
            kept = _write(on, sql, parameters, columns, raw=raw, listen=listen)
            with self._lock:
                self._kept[key] = kept
                old = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - _MOST_KEPT)]
                if not self._ends:
                    self._ends = True
                    atexit.register(self.close)
            for one in old:
                _drop(on, one.table)
            return kept

    def drop(self, key: str) -> None:
        """Forget an answer, and drop its table."""
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is not None:
            _drop(self._lake(), kept.table)

    def close(self) -> None:
        """Drop all; an embedded lake that does not run is not started for it."""
        with self._lock:
            tables = [kept.table for kept in self._kept.values()]
            self._kept.clear()
            if self._ends:
                self._ends = False
                atexit.unregister(self.close)
        if tables:
            with as_it_runs():
                for table in tables:
                    _drop(self._lake(), table)


def _write(
    lake: Lake, sql: str, parameters: Mapping[str, Any], columns: tuple[Column, ...], *, raw: bool, listen: Callable[[Running], None] | None
) -> Kept:
    lake.create_database(DATABASE)
    _sweep(lake)
    name = uuid.uuid4().hex[:12]
    until_s = time.time() + _LIFE_S
    table, tag = f"{DATABASE}.a{int(until_s)}_{name}", f"skygraph-keep-{name}-"
    stored = ",\n    ".join(f"c{i} {_storable(column.type)}" for i, column in enumerate(columns))
    lake.command(
        f"create table {quote_table(table)}\n\n"
        f"(\n    _row UInt64 codec(DoubleDelta, LZ4),\n    _until DateTime codec(ZSTD),\n    {stored}\n)\n"
        "engine = MergeTree order by _row ttl _until settings ttl_only_drop_parts = 1, index_granularity = 2048, allow_nullable_key = 1",
        settings={"allow_suspicious_low_cardinality_types": 1, "enable_time_time64_type": 1},
    )
    too_large = ""

    def heard(running: Running) -> None:
        nonlocal too_large
        if running.written_rows > _MOST_ROWS or running.written_bytes > _MOST_BYTES:
            too_large = f"more than {_MOST_ROWS:,} rows" if running.written_rows > _MOST_ROWS else f"more than {_MOST_BYTES / 1e9:.0f} GB"
            lake.stop_tagged(tag)
        elif listen is not None:
            listen(running)

    try:
        with watched(heard):
            # one thread writes, so that the rows are numbered in the order of the answer
            numbered = f"select rowNumberInAllBlocks(), toDateTime({int(until_s)}), * from (\n{sql}\n)"
            one = {"max_insert_threads": 1, "query_plan_remove_redundant_sorting": 0}
            rows, _ = lake.fill(f"insert into {quote_table(table)} {numbered}", parameters, tag=tag, history=raw, settings=one)
        seen, last = lake.values(f"select count(), max(_row) from {quote_table(table)}")[1][0]
        if seen != rows or (rows and last != rows - 1):
            raise LakeError(f"the answer was kept with {seen} of {rows} rows", hint="try again")
    except BaseException as error:
        _drop(lake, table)
        if too_large and isinstance(error, QueryError):
            raise UsageError(f"the answer has {too_large}, too many to page through", hint="narrow it, or write it to a file") from None
        raise
    return Kept(table, columns, rows, dt.datetime.now(dt.timezone.utc), until_s)


def _storable(type_: str) -> str:
    """A type that a table can have, for one that only an answer can.

    >>> _storable("Nullable(Nothing)"), _storable("Tuple(IntervalDay, Array(Nothing))")
    ('Nullable(UInt8)', 'Tuple(Int64, Array(UInt8))')
    """
    return re.sub(r"\bInterval[A-Z]\w+", "Int64", re.sub(r"\bNothing\b", "UInt8", type_))


def _sweep(lake: Lake) -> None:
    """Drop what has outlived its time, whoever kept it."""
    found = lake.rows(
        "select name from system.tables where database = {d:String} and toUInt32OrZero(extract(name, '^a([0-9]+)_')) < {now:UInt32}",
        {"d": DATABASE, "now": int(time.time())},
    )
    for row in found:
        _drop(lake, f"{DATABASE}.{row['name']}")


def _drop(lake: Lake, table: str) -> None:
    with suppress(SkyGraphError):  # then its rows go by themselves
        lake.command(f"drop table if exists {quote_table(table)} sync")
