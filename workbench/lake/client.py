"""The one way to ClickHouse: reads of current rows, reads of history, inserts and statements."""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from workbench.errors import LakeError, LakeUnavailable, QueryError, UnknownName, UsageError
from workbench.lake.running import Running, told_while_running
from workbench.lake.server import Address, EmbeddedLake
from workbench.lake.sql import (
    CURRENT_SETTINGS,
    Column,
    Placement,
    find_no_read,
    find_prewhere,
    find_reading_setting,
    key_names,
    quote,
    quote_table,
    shape_of,
)
from workbench.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HISTORY_COMMENT", "Lake"]

T = TypeVar("T")
Parameters = Mapping[str, Any]

# reads of all physical rows say so in the server's query log; every other read is of current rows
HISTORY_COMMENT = "skygraph: history"

_HISTORY_SETTINGS: Parameters = {"final": 0, "log_comment": HISTORY_COMMENT}

_QUERY_TIMEOUT_S = 6 * 3600

# A read cannot write, whatever its text; and when its reader is gone, however it went, the server ends it.
_READ_SETTINGS: Parameters = {"readonly": 2, "cancel_http_readonly_queries_on_client_close": 1}

# as `--json` has it: decimals as texts, times in ISO 8601; in CSV nothing stands for NULL, and "" for a text without characters
_FORMAT_SETTINGS: Parameters = {
    "format_csv_null_representation": "",
    "output_format_decimal_trailing_zeros": 1,
    "output_format_json_quote_decimals": 1,
    "output_format_json_quote_denormals": 1,
    "date_time_output_format": "iso",
}

# a few rows: an error that comes late is an error all the same; bytes that are no text come as they are
_VALUE_SETTINGS: Parameters = {
    "wait_end_of_query": 1, "output_format_json_quote_64bit_integers": 0, "output_format_json_validate_utf8": 0,
}  # fmt: skip
_EXACT_NUMBERS: Parameters = {"output_format_json_quote_64bit_integers": 0, "output_format_json_named_tuples_as_objects": 0}

# measured on 6 million rows from PostgreSQL: 1.2 times the rows a second of the defaults. Rows of one key in one block are kept
# apart, so that a key that stands twice at a source is seen.
_LARGE_BLOCKS: Parameters = {
    "min_insert_block_size_rows": 1_000_000,
    "min_insert_block_size_bytes": 512 << 20,
    "optimize_on_insert": 0,
    "max_bytes_before_external_group_by": 1 << 30,
}

# ClickHouse error numbers, and what to do about them
_HINTS = {
    60: "",  # unknown table: the message names it
    62: "check the statement's syntax",
    81: "",
    159: "the statement ran out of its time; narrow it",
    164: "reads cannot write; rows come in by `skygraph sync`, tables by `skygraph dbt run`",
    241: "the statement ran out of memory; narrow it or read fewer columns",
    243: "the lake's disk is full; free some space and run it again: nothing half-written is kept",
    516: "check user and password of SKYGRAPH_CLICKHOUSE_URL",
}


_LIMIT_S: ContextVar[float | None] = ContextVar("limit_s", default=None)


@contextmanager
def reads_within(seconds: float) -> Iterator[None]:
    """Reads begun here, in this thread or task and those made from it, are ended by the lake after so many seconds, as a QueryError."""
    before = _LIMIT_S.set(seconds)
    try:
        yield
    finally:
        _LIMIT_S.reset(before)


_HOW: ContextVar[Mapping[str, Any] | None] = ContextVar("how", default=None)


@contextmanager
def reads_with(settings: Mapping[str, Any]) -> Iterator[None]:
    """What `query`, `rows`, `values`, `stream` and `fill` read of current rows in here, in this thread or task: with these settings."""
    before = _HOW.set(settings)
    try:
        yield
    finally:
        _HOW.reset(before)


def _current_settings() -> dict[str, Any]:
    return {**CURRENT_SETTINGS, **(_HOW.get() or {})}


def _time_limit() -> dict[str, float]:
    limit = _LIMIT_S.get()
    return {} if limit is None else {"max_execution_time": limit}


_MAY_START: ContextVar[bool] = ContextVar("may_start", default=True)


@contextmanager
def as_it_runs() -> Iterator[None]:
    """In here, in this thread or task, no embedded lake is started: one that does not run is LakeUnavailable."""
    before = _MAY_START.set(False)
    try:
        yield
    finally:
        _MAY_START.reset(before)


def _found(embedded: EmbeddedLake) -> Address:
    if _MAY_START.get():
        return embedded.ensure()
    if (at := embedded.address()) is None:
        raise LakeUnavailable("the embedded lake does not run", hint="`skygraph up` starts it")
    return at


class Lake:
    """The lake of one workspace: the embedded one, started when first needed, or the server of `clickhouse_url`.

    Safe to use from several threads. `readable` are source folders that an embedded engine may read.
    """

    def __init__(self, settings: Settings, *, readable: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.placement = Placement(settings.cluster)
        self.is_read_only = settings.role == "viewer"
        remote = settings.clickhouse_url or (self.is_read_only and settings.viewer_url)
        self.embedded = None if remote else EmbeddedLake(settings, readable=readable)
        self._lock = threading.RLock()
        self._connected: Any = None
        self._running: set[str] = set()
        self._address: Address | None = None

    # --- reads

    def query(self, sql: str, parameters: Parameters | None = None, *, settings: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a SELECT over current rows: one per key, deleted keys left out, whatever tables and views it reads.

        `{name:Type}` placeholders are bound by the server from `parameters`. Times come back as aware UTC.

        Raises:
            UsageError: the statement has an explicit PREWHERE, which would look at rows before versions are merged, or sets by itself
                which versions it reads (`final` and three more settings); or it is KILL or the like.
            QueryError: the lake refused it.
            LakeUnavailable: the lake did not answer; trying again may help.
        """
        _refuse(sql)
        return self._arrow(sql, parameters, {**_current_settings(), **(settings or {})})

    def stream(
        self, sql: str, parameters: Parameters | None, form: str, *, settings: Mapping[str, Any] | None = None, history: bool = False
    ) -> Iterator[bytes]:
        """The answer to a SELECT over current rows, in an output format of ClickHouse, written by the server; in blocks of bytes.

        With `history` it is over all physical rows. No row is held here. An answer that the server breaks off is an error, also after
        some of it has come.

        Raises:
            UsageError, QueryError, LakeUnavailable: as `query`.
        """
        from urllib3.exceptions import HTTPError

        (_refuse_no_read if history else _refuse)(sql)
        kind = _HISTORY_SETTINGS if history else _current_settings()
        query_id = str(uuid.uuid4())

        def run(client: Any) -> Any:
            every = {**_READ_SETTINGS, **kind, **_FORMAT_SETTINGS, **(settings or {}), "query_id": query_id}
            with self._interruptible(client, query_id=query_id):
                return client.raw_stream(sql, parameters=_bound(parameters), settings=self._allowed(every), fmt=form)

        answer = self._call(run, retry=True)  # refused at once, not when the first block is asked for

        def blocks() -> Iterator[bytes]:
            try:
                with self._interruptible(self._client(), query_id=query_id):
                    while block := answer.read(1 << 20):
                        yield block
            except HTTPError as error:
                raise LakeError("the lake broke off its answer", hint="`skygraph logs clickhouse` tells why") from error
            finally:
                answer.close()

        return blocks()

    def values(
        self, sql: str, parameters: Parameters | None = None, *, history: bool = False
    ) -> tuple[tuple[Column, ...], list[list[Any]]]:
        """A few rows of a SELECT as `query`, or with `history` as `query_history` reads them: columns with their types, and rows.

        The values are those of ClickHouse's JSON, so that what stands inside arrays and maps is right too: enums by name, addresses,
        decimals and NaN as texts, times in ISO 8601, whole numbers of any size. Bytes that are not UTF-8 are surrogates in their text.
        """
        import json

        limit = _LIMIT_S.get()
        within = {} if limit is None else {"max_execution_time": limit}
        # of the formats of JSON the one that leaves bytes as they are
        form = "JSONCompactEachRowWithNamesAndTypes"
        body = b"".join(self.stream(sql, parameters, form, settings={**_VALUE_SETTINGS, **within}, history=history))
        lines = body.decode("utf-8", "surrogateescape").split("\n")
        names, types, *rows = (json.loads(line, object_pairs_hook=_pairs) for line in lines if line)
        return tuple(map(Column, names, types)), rows

    def query_history(self, sql: str, parameters: Parameters | None = None, *, settings: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a SELECT over all physical rows: superseded versions and deleted keys too."""
        _refuse_no_read(sql)
        return self._arrow(sql, parameters, {**_HISTORY_SETTINGS, **(settings or {})})

    def rows(
        self, sql: str, parameters: Parameters | None = None, *, settings: Mapping[str, Any] | None = None, history: bool = False
    ) -> list[dict[str, Any]]:
        """A few rows, as `query` or with `history` as `query_history` gives them, by column name; times as aware UTC."""
        from workbench.lake.types import to_rows

        return to_rows((self.query_history if history else self.query)(sql, parameters, settings=settings))

    def facts(
        self, sql: str, parameters: Parameters | None = None, *, settings: Mapping[str, Any] | None = None, history: bool = False
    ) -> list[list[Any]]:
        """A few numbers and texts, row by row, as `query` or with `history` as `query_history` gives them; every other type as its text.

        They come as JSON: a process that asks for nothing else never holds Arrow, which is half of its memory.
        """
        if not history:
            _refuse(sql)
        reads: Parameters = {"final": 0, "log_comment": HISTORY_COMMENT} if history else CURRENT_SETTINGS

        def run(client: Any) -> bytes:
            with self._interruptible(client) as query_id:
                every = {**_READ_SETTINGS, **_time_limit(), **_EXACT_NUMBERS, **reads, **(settings or {}), "query_id": query_id}
                return bytes(client.raw_query(sql, parameters=_bound(parameters), settings=self._allowed(every), fmt="JSONCompactEachRow"))

        return [json.loads(row) for row in self._call(run, retry=True).split(b"\n") if row]

    def meaning(self, table: pa.Table, sql: str, parameters: Parameters | None = None, *, types: Sequence[str] | None = None) -> pa.Table:
        """The answer to a SELECT with times, enums, addresses and wide numbers as its types mean them: Arrow has them as numbers and bytes.

        Asks the lake for the types of the statement, unless they are given, when the answer has a column that may be one of those.
        """
        from workbench.lake.types import as_meant, is_ambiguous

        if not is_ambiguous(table):
            return table
        if types is not None and len(types) == table.num_columns:
            return as_meant(table, types)
        try:
            types = self.query(f"describe (\n{sql.strip().rstrip(';')}\n)", parameters).column("type").to_pylist()
        except QueryError:
            return table  # no SELECT: SHOW, DESCRIBE, EXPLAIN
        return as_meant(table, types) if len(types) == table.num_columns else table

    def scalar(self, sql: str, parameters: Parameters | None = None) -> Any:
        """The first value of the first row of a SELECT over current rows; None when there is no row."""
        table = self.query(sql, parameters)
        return table.column(0)[0].as_py() if table.num_rows else None

    def current(self, table: str, *, where: str = "", parameters: Parameters | None = None, limit: int | None = None) -> pa.Table:
        """The newest version of each row of a table, deleted keys left out, in key order.

        When nothing matches, the answer has zero rows and the full schema. `where` is SQL over the table's columns.

        Raises:
            UnknownName: there is no such table; names the nearest.
        """
        return self.query(self._select(table, where, limit), parameters)

    def history(self, table: str, *, where: str = "", parameters: Parameters | None = None, limit: int | None = None) -> pa.Table:
        """All physical rows of a table: every version of every key that the engine still has, in key order."""
        return self.query_history(self._select(table, where, limit), parameters)

    def columns(self, table: str) -> dict[str, str]:
        """Column name to ClickHouse type, in order; empty when there is no such table."""
        database, _, name = table.partition(".")
        found = self.facts(
            "select name, type from system.columns where database = {d:String} and table = {t:String} order by position",
            {"d": database, "t": name},
        )
        return dict(found)

    def shape(self, table: str) -> tuple[dict[str, str], list[str]]:
        """Column name to ClickHouse type, in order, and the columns of the sorting key; both empty when there is no such table."""
        ((columns, key),) = self.facts(f"select {shape_of(table)}")
        return dict(columns), key_names(key or "")

    def tables(self, database: str) -> list[str]:
        """Names of the tables and views of a database, sorted; empty when there is no such database."""
        found = self.facts("select name from system.tables where database = {d:String} order by name", {"d": database})
        return [str(name) for (name,) in found]

    def key(self, table: str) -> list[str]:
        """The columns of a table's sorting key; empty for a view.

        Raises:
            UnknownName: there is no such table; names the nearest.
        """
        database, _, name = table.partition(".")
        found = self.query(
            "select sorting_key from system.tables where database = {d:String} and name = {t:String}",
            {"d": database, "t": name},
        )
        if not found.num_rows:
            raise self.unknown_table(table)
        return key_names(str(found.column(0)[0].as_py()))

    def unknown_table(self, table: str) -> UnknownName:
        """The error for a table that is not there."""
        known = self.query(
            "select concat(database, '.', name) from system.tables "
            "where database not in ('system', 'information_schema', 'INFORMATION_SCHEMA', 'default', 'skygraph_results') "
            "and not startsWith(name, '_')"
        )
        hint = None if known.num_rows else "the lake has no table yet; run `skygraph sync`"
        return UnknownName("table", table, [str(n) for n in known.column(0).to_pylist()], hint=hint)

    # --- writes

    def insert(self, table: str, rows: pa.Table | pa.RecordBatch) -> int:
        """Append rows to a table, by column name; returns how many. Not retried by itself."""
        import pyarrow as pa

        self._refuse_writing()
        arrow = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        if not arrow.num_rows:
            return 0

        # the whole name at once: the driver drops the database of a name that has a dot
        def run(client: Any) -> None:
            with self._interruptible(client) as query_id:
                client.insert_arrow(quote_table(table), arrow, settings={"query_id": query_id})

        self._call(run, retry=False)
        return int(arrow.num_rows)

    def insert_stream(self, table: str, blocks: Iterator[bytes], form: str, *, settings: Mapping[str, Any] | None = None) -> None:
        """Append rows that come as bytes in an input format of ClickHouse, a block at a time. Not retried by itself."""

        self._refuse_writing()

        def run(client: Any) -> None:
            with self._interruptible(client) as query_id:
                every = {**(settings or {}), "query_id": query_id}
                client.raw_insert(quote_table(table), insert_block=blocks, fmt=form, settings=every)

        self._call(run, retry=False)

    def command(
        self, sql: str, parameters: Parameters | None = None, *, settings: Mapping[str, Any] | None = None, retry: bool = False
    ) -> int:
        """Run DDL or an INSERT ... SELECT, whose reads are of current rows; returns the rows written.

        With `retry` it is run again after a lost connection: only for statements that may run twice.
        """
        return self._write(sql, parameters, settings, retry=retry)[0]

    def fill(
        self, sql: str, parameters: Parameters | None = None, *, tag: str, history: bool = False, settings: Parameters | None = None
    ) -> tuple[int, int]:
        """Run an INSERT ... SELECT of many rows, in large blocks; returns the rows and bytes written. Not retried by itself.

        It reads current rows, or with `history` all physical ones.

        The query's id begins with `tag`, by which `running` sees it and `stop_tagged` ends it, from another process too.
        """
        reads = _HISTORY_SETTINGS if history else _current_settings()
        return self._write(sql, parameters, {**_LARGE_BLOCKS, **reads, **(settings or {})}, tag=tag)

    def _write(
        self, sql: str, parameters: Parameters | None, settings: Mapping[str, Any] | None, *, retry: bool = False, tag: str = ""
    ) -> tuple[int, int]:
        self._refuse_writing()
        every = {"wait_end_of_query": 1, **CURRENT_SETTINGS, **(settings or {})}

        def run(client: Any) -> tuple[int, int]:
            with self._interruptible(client, tag) as query_id:
                summary = client.command(sql, parameters=_bound(parameters), settings={**every, "query_id": query_id})
            said = getattr(summary, "summary", {})
            return int(said.get("written_rows", 0)), int(said.get("written_bytes", 0))

        return self._call(run, retry=retry)

    def running(self, tag: str) -> tuple[int, int, float]:
        """Of the queries whose id begins with `tag`: rows read so far, rows written so far, and seconds of the longest."""
        ((read, written, seconds),) = self.facts(
            "select sum(read_rows), sum(written_rows), max(elapsed) from system.processes where startsWith(query_id, {tag:String})",
            {"tag": tag},
        )
        return int(read or 0), int(written or 0), float(seconds or 0)

    def stop_tagged(self, tag: str) -> None:
        """End the queries whose id begins with `tag`, whoever began them, and wait until they have ended."""
        self.command("kill query where startsWith(query_id, {tag:String}) sync", {"tag": tag})

    def create_database(self, name: str) -> None:
        """Make a database; does nothing when it exists."""
        self.command(self.placement.create_database(name), retry=True)

    # --- the connection

    @property
    def address(self) -> Address:
        """Where the lake answers, starting an embedded one when needed."""
        with self._lock:
            if self._address is None:
                self._address = _found(self.embedded) if self.embedded else _remote_address(self._remote_url)
            return self._address

    @property
    def _remote_url(self) -> str:
        if not self.is_read_only:
            return self.settings.clickhouse_url
        if not self.settings.viewer_url:
            said = "a viewer of this server needs a sign-in of its own"
            raise UsageError(said, hint="set SKYGRAPH_VIEWER_URL; docs/dashboards.md has it")
        return self.settings.viewer_url

    def _allowed(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a read that its user may give: those of a viewer are fixed by its profile, for all its reads alike."""
        return {name: value for name, value in settings.items() if not self.is_read_only or name == "query_id"}

    def _refuse_writing(self) -> None:
        if self.is_read_only:
            raise UsageError("this is a read-only view of the workspace", hint="its owner can do that, in JupyterLab or a terminal")

    @cached_property
    def years(self) -> tuple[int, int]:
        """The first and last year that a Date32 of this server holds: newer ones hold more."""
        far = self.facts("select toString(toDate32('9999-12-31')) = '9999-12-31'")[0][0]
        return (1, 9999) if far else (1900, 2299)

    @property
    def notes(self) -> list[str]:
        """What people should know about how the lake was started: a port other than the default, ..."""
        return self.embedded.notes if self.embedded else []

    def ping(self) -> str:
        """The server's version. Starts an embedded lake when needed.

        Raises:
            LakeUnavailable: it does not answer.
        """
        return str(self.facts("select version()")[0][0])

    def close(self) -> None:
        """Drop the connections; an embedded lake goes on running."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
            self._connected = self._address = None

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                import clickhouse_connect

                # the driver logs every failed request as an error with its SQL: callers decide what is said
                logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
                at = self.address
                self._connected = clickhouse_connect.get_client(
                    host=at.host, port=at.port, username=at.user, password=at.password, secure=at.secure,
                    autogenerate_session_id=False, connect_timeout=5, send_receive_timeout=_QUERY_TIMEOUT_S,
                    query_retries=0, client_name="skygraph", tz_mode="aware",
                    settings={} if self.is_read_only else {"session_timezone": "UTC"},
                )  # fmt: skip
                if self.is_read_only:
                    _check_viewer(self._connected)
            return self._connected

    def _call(self, action: Callable[[Any], T], *, retry: bool) -> T:
        """Run an action on the client, its errors in our words; once more after a lost connection if `retry`."""
        try:
            return self._translated(action)
        except LakeUnavailable:
            # an embedded lake may have been stopped, or killed and moved: look again before giving up
            self.close()
            if not retry:
                raise
            return self._translated(action)

    def _translated(self, action: Callable[[Any], T]) -> T:
        from clickhouse_connect.driver.exceptions import ClickHouseError, StreamClosedError, StreamCompleteException

        try:
            return action(self._client())
        except (ClickHouseError, StreamClosedError, StreamCompleteException) as error:
            raise _in_our_words(error, self._address) from error

    def _arrow(self, sql: str, parameters: Parameters | None, settings: Mapping[str, Any]) -> pa.Table:
        def run(client: Any) -> pa.Table:
            with self._interruptible(client) as query_id:
                every = {**_READ_SETTINGS, **_time_limit(), **settings, "query_id": query_id}
                return client.query_arrow(sql, parameters=_bound(parameters), settings=self._allowed(every), use_strings=True)

        return self._call(run, retry=True)

    @contextmanager
    def _interruptible(self, client: Any, tag: str = "", *, query_id: str = "") -> Iterator[str]:
        """A query id; when the caller is interrupted, the query of that id is ended on the server too. Whoever listens is told."""
        query_id = query_id or f"{tag}{uuid.uuid4()}"
        self._running.add(query_id)
        try:
            with told_while_running(lambda: _look(client, query_id)):
                yield query_id
        except KeyboardInterrupt:
            with suppress(Exception):  # the interrupt is what the caller has to see
                client.command("kill query where query_id = {id:String} async", parameters={"id": query_id})
            raise
        finally:
            self._running.discard(query_id)

    def stop_queries(self) -> None:
        """End every query of this object that runs now, in whatever thread; their callers get a QueryError."""
        ids = list(self._running)
        if ids and not self.is_read_only:  # a viewer's reads end by the limits of its profile
            self.command("kill query where query_id in {ids:Array(String)} async", {"ids": ids})

    def _select(self, table: str, where: str, limit: int | None) -> str:
        key = self.key(table)
        order = f" order by {', '.join(quote(k) for k in key)}" if key else ""
        return (
            f"select * from {quote_table(table)}"
            + (f" where {where}" if where else "")
            + order
            + (f" limit {int(limit)}" if limit is not None else "")
        )


def _refuse(sql: str) -> None:
    """Refuse a statement that would not read current rows."""
    if find_prewhere(sql):
        raise UsageError(
            "PREWHERE looks at rows before their versions are merged, so the answer would not be of current rows",
            hint="write WHERE; the engine moves it by itself where that is safe",
        )
    if setting := find_reading_setting(sql):
        raise UsageError(
            f"the statement sets `{setting}` by itself, so nobody could say which rows it reads",
            hint="leave it out for current rows, or ask for all physical rows with --raw",
        )
    _refuse_no_read(sql)


def _refuse_no_read(sql: str) -> None:
    if word := find_no_read(sql):
        raise UsageError(f"{word} is no statement to read with", hint=_HINTS[164])


def _look(client: Any, query_id: str) -> Running | None:
    """How a statement goes; None before it has begun and after it has ended."""
    wanted = (
        "select read_rows, total_rows_approx, written_rows, written_bytes, memory_usage, elapsed from system.processes "
        "where query_id = {id:String}"
    )
    rows = client.query(wanted, parameters={"id": query_id}).result_rows
    return Running(*rows[0]) if rows else None


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    """An object of JSON; one that has a name twice, as a Map of ClickHouse may, as its pairs."""
    return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else pairs


def _bound(parameters: Parameters | None) -> dict[str, Any] | None:
    return dict(parameters) if parameters else None


def _remote_address(url: str) -> Address:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return Address(
        parts.hostname or "localhost", parts.port or (8443 if secure else 8123), unquote(parts.username or "default"),
        unquote(parts.password or ""), secure=secure,
    )  # fmt: skip


def _check_viewer(client: Any) -> None:
    """Refuse a viewer's sign-in that may write, or whose reads would not be of current rows.

    Raises:
        UsageError: says which setting its profile lacks.
    """
    wanted = "select name, value from system.settings where name in ('readonly', 'final', 'session_timezone')"
    found = dict(client.query(wanted).result_rows)
    if found.get("readonly") not in ("1", "2") or found.get("final") != "1" or found.get("session_timezone") != "UTC":
        raise UsageError(
            "the sign-in of SKYGRAPH_VIEWER_URL needs a settings profile with readonly = 1, final = 1 and session_timezone = 'UTC'",
            hint="docs/dashboards.md has the statements that make it",
        )


def _in_our_words(error: Exception, address: Address | None) -> LakeError:
    """The driver's error as ours. A server that answered has a code; without one, it was not reached."""
    from clickhouse_connect.driver.exceptions import DatabaseError, InterfaceError, OperationalError, scrub_error_details

    code = getattr(error, "code", None)
    text = " ".join(scrub_error_details(re.sub(r"\s*\(for url [^)]*\)\s*$", "", str(error))).split())
    text = re.sub(r"\s*FORMAT Arrow\.?", "", re.sub(r"\. Expected one of: .*", "", text))
    where = address.url if address else "the lake"
    if code is None and isinstance(error, (OperationalError, InterfaceError)) or type(error) is DatabaseError and not code:
        return LakeUnavailable(f"the lake at {where} does not answer: {text[:300]}", hint="`skygraph health` tells more")
    if code in (516, 194):
        return LakeUnavailable(f"the lake at {where} refused the sign-in of {address.user if address else '?'}", hint=_HINTS[516])
    text = re.split(r"DB::\w*Exception: ", text, maxsplit=1)[-1]
    if code == 62 and re.search(r"failed at position \d+ \((Arrow|FORMAT)\)", text):  # the words that the driver puts behind it
        text = "Syntax error at the end of the statement: it breaks off, or has a FORMAT of its own"
    return QueryError(text[:2000], code=code or 0, hint=_HINTS.get(code or 0) or None)
