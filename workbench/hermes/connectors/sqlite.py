"""SQLite files. The engine reads the file itself when it may; else rows come through Python in Arrow batches.

| declared type | lands as |
| --- | --- |
| contains INT | Int64 |
| DECIMAL(p, s), NUMERIC(p, s) | Decimal(p, s) |
| DATETIME, TIMESTAMP: ISO 8601 text, without a zone UTC | DateTime64(6, 'UTC') |
| DATE: ISO 8601 text | Date32 |
| BOOL, BOOLEAN: 0 or 1 | Bool |
| contains REAL, FLOA, DOUB | Float64 |
| anything else | String |

A column is Nullable unless it is declared NOT NULL or belongs to the key. SQLite lets any value stand in any column, and the
engine would read what does not fit as 0 or cut it short; so the rows to be read are checked in SQLite first, and one that does
not fit is an error that names it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from glob import escape as glob_escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote as quote_url

from workbench.errors import LakeUnavailable, Misfit, QueryError, SourceError, UnknownName
from workbench.hermes.connector import Ranges, SourceColumn, SourceTable, Span, staged
from workbench.hermes.landing import strict_text
from workbench.hermes.sample import build_sample
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Options:
    """`path`: the file. `sample`: a folder that the file is made from when it is not there."""

    path: str
    sample: str = ""


@dataclass(frozen=True)
class TableOptions:
    """`query`: SQL to be read instead of a table or view."""

    query: str = ""


class Connector:
    """One SQLite file, opened read-only."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions
    is_near: ClassVar[bool] = True  # a page of the file holds whole rows: all columns cost little more than some

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        self.path = (workspace / Path(options.path).expanduser()).resolve()
        self.sample = (workspace / Path(options.sample).expanduser()).resolve() if options.sample else None
        self.lake = lake
        self._open: sqlite3.Connection | None = None

    @staticmethod
    def readable(options: Options, workspace: Path) -> Path:
        """The folder that an embedded engine should be allowed to read."""
        return (workspace / Path(options.path).expanduser()).resolve().parent

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """See `Connector.describe`."""
        if options is not None and options.query:
            return self._describe_query(table, options, key)
        found = self._read('select name, type, "notnull" from pragma_table_info(?)', (table,))
        if not found:
            known = self._read("select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'")
            raise UnknownName(f"table of {self.path.name}", table, [name for (name,) in known])
        columns = []
        for name, declared, not_null in found:
            base = _type_of(declared)
            columns.append(SourceColumn(name, base if not_null or name in key else f"Nullable({base})", declared))
        ((schema,),) = self._read("pragma schema_version")
        return SourceTable(table, tuple(columns), identity=str(schema))

    def _describe_query(self, table: str, options: TableOptions, key: Sequence[str]) -> SourceTable:
        """A query has names but no declared types: a temporary view of it has both, where its columns are plain ones of a table."""
        connection = self._connection()
        try:
            connection.execute(f"create temporary view if not exists {_name(_view(options.query))} as {options.query}")
        except sqlite3.Error as error:
            raise SourceError(f"{self.path.name}: the query of {table} cannot be read: {error}", hint="check `query:`") from None
        found = self._read('select name, type, "notnull" from pragma_table_info(?)', (_view(options.query),))
        columns = tuple(
            SourceColumn(name, _type_of(declared) if name in key else f"Nullable({_type_of(declared)})", declared)
            for name, declared, _ in found
        )
        return SourceTable(_view(options.query), columns, options)

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`."""
        kind, name, source = _bare(table.column(column).type), _name(column), _name(table.name)
        if kind.startswith("DateTime"):
            # SQLite knows times to the millisecond: the last of that millisecond is found among the texts
            text = _time_text(name)
            last = self._read(f"select distinct {text}, {name} from {source} where {text} = (select max({text}) from {source})")
            return max((Watermark(_parse_time(exact, rounded)) for rounded, exact in last), key=lambda m: m.text(), default=None)
        top = {"Date32": f"date({name})", "String": f"cast({name} as text) collate binary"}.get(kind, name)
        ((value,),) = self._read(f"select max({top}) from {source}")
        if value is None:
            return None
        return Watermark(dt.datetime.fromisoformat(value) if kind == "Date32" else value if isinstance(value, int) else str(value))

    @contextmanager
    def rows(
        self, table: SourceTable, columns: Sequence[str], *, within: Span | Ranges | None = None, as_text: bool = False
    ) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        span = within if isinstance(within, Span) else None
        watermark, since = (span.column, span.low) if span else ("", None)
        if as_text:
            bound, parameters, _ = _bound(watermark, since)
            texts = [SourceColumn(c.name, "Nullable(String)", c.source_type) for c in wanted]
            with staged(self.lake, texts, self._batches(table, texts, bound, parameters, meant=wanted)) as select:
                yield select
            return
        # a type of the user's that this module does not read is cast to, in the lake, from the type of the column
        read = [_read_as(c) for c in wanted]
        casts = ", ".join(
            quote(w.name) if r.type == w.type else f"{_given(quote(w.name), r.type, w.type)} as {quote(w.name)}"
            for w, r in zip(wanted, read, strict=True)
        )
        bound, parameters, engine_bound = _bound(watermark, since)
        must_go_through_python = self._check(table, read, bound, parameters)
        if not must_go_through_python and self._engine_reads(table, read):
            yield f"select {casts} from (\n{self._engine_select(table, read, engine_bound)}\n)"
        else:
            with staged(self.lake, read, self._batches(table, read, bound, parameters)) as select:
                yield f"select {casts} from ({select})"

    def close(self) -> None:
        """See `Connector.close`."""
        if self._open is not None:
            self._open.close()
            self._open = None

    # --- positions

    def position(self) -> str:
        """See `HasPositions.position`: what every write to the file changes."""
        self._connection()
        try:
            with open(self.path, "rb") as file:
                head = file.read(100)[24:100].hex()  # the change counter, and what the schema and version count
            wal, shared = (self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))
            index = shared.read_bytes()[:48].hex() if shared.exists() else ""
            sizes = [f"{at.st_ino}.{at.st_size}.{at.st_mtime_ns}" for f in (self.path, wal) if f.exists() and (at := f.stat())]
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror}", hint="check the rights of the file") from None
        return f"{' '.join(sizes)} {head} {index}"

    def unchanged(self, position: str) -> bool:
        """See `HasPositions.unchanged`. A file written within the last second may have the same time for two states."""
        fresh = max((f.stat().st_mtime for f in self.path.parent.glob(f"{glob_escape(self.path.name)}*")), default=0.0)
        return time.time() - fresh > 1.0 and self.position() == position

    # --- reading SQLite

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            if self.sample is not None:
                build_sample(self.sample, self.path)
            if not self.path.is_file():
                raise SourceError(f"there is no SQLite file {self.path}", hint="check `path:` in sync_jobs")
            # ro: reading never changes the source
            try:
                opened = sqlite3.connect(f"file:{quote_url(str(self.path))}?mode=ro", uri=True, timeout=30)
            except sqlite3.Error as error:
                raise self._broken(error) from error
            opened.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            self._open = opened
        return self._open

    def _broken(self, error: sqlite3.Error) -> SourceError:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            return SourceError(f"{self.path} is not a SQLite file, or a damaged one: {text}", hint="check `path:` in sync_jobs")
        if "unable to open" in text:
            return SourceError(f"{self.path} cannot be opened", hint="check the rights of the file and its folder")
        return SourceError(f"{self.path}: {text}")

    def _check(self, table: SourceTable, wanted: Sequence[SourceColumn], bound: str, parameters: list[Any]) -> bool:
        """Refuse values that do not fit; whether some fit but only Python reads them right (binary data)."""
        misfits = {c.name: found for c in wanted if (found := _misfit(c)) is not None}
        binary = [c.name for c in wanted if _bare(c.type) == "String"]
        counts = [f"count(case when {misfits[c]} then 1 end)" for c in misfits]
        counts += [f"count(case when typeof({_name(c)}) = 'blob' or instr(cast({_name(c)} as blob), x'00') then 1 end)" for c in binary]
        if not counts:
            return False
        (seen,) = self._read(f"select {', '.join(counts)} from {_name(table.name)} where {bound}", parameters)
        for column, count in zip(misfits, seen, strict=False):
            if count:
                where = f"from {_name(table.name)} where {bound} and {misfits[column]} limit 1"
                ((value,),) = self._read(f"select {_name(column)} {where}", parameters)
                kind = table.column(column)
                raise Misfit(
                    f"{self.path.name}: {table.name}.{column} ({kind.source_type}) has {count} value(s) that do not fit {kind.type}, "
                    f"for example {_shown(value)}{self._row(where, parameters)}",
                    hint="correct them at the source, or give the column another type under `columns:`",
                )
        return any(seen[len(misfits) :])

    def _row(self, where: str, parameters: list[Any]) -> str:
        """The number of the first row of a FROM clause, in words; nothing for a view or a table that has no row numbers."""
        try:
            found = self._connection().execute(f"select rowid {where}", parameters).fetchone()
        except sqlite3.Error:
            return ""
        return f" in row {found[0]}" if found and found[0] is not None else ""

    # --- the engine reads

    def _engine_reads(self, table: SourceTable, wanted: Sequence[SourceColumn]) -> bool:
        """Whether the engine opens the file, and sees the names and types that this module counts on."""
        if any(re.search(r'["\\\x00-\x1f]', name) for name in (table.name, *(c.name for c in table.columns))):
            return False  # it quotes such names in a way that SQLite does not read
        function = f"sqlite({quote_text(str(self.path))}, {quote_text(table.name)})"
        if self.lake.embedded is None and not self.path.exists() or table.options is not None and table.options.query:
            return False  # on another machine, or a temporary view that only this connection knows
        try:
            seen = self.lake.query(f"describe table {function}")
        except LakeUnavailable:
            raise
        except QueryError:
            return False  # another machine, or a folder that the engine may not read
        types = dict(zip(seen.column("name").to_pylist(), seen.column("type").to_pylist(), strict=True))
        wide = {"Int64": ("Int64",), "Float64": ("Float64", "String")}
        return all(_bare(types.get(c.name, "")) in wide.get(_bare(c.type), ("String",)) for c in wanted)

    def _engine_select(self, table: SourceTable, wanted: Sequence[SourceColumn], bound: str) -> str:
        columns = ",\n    ".join(f"{_engine_expression(c)} as {quote(c.name)}" for c in wanted)
        # the alias keeps the outer names apart from the file's: `id` here is always the file's own column
        return f"select\n    {columns}\nfrom sqlite({quote_text(str(self.path))}, {quote_text(table.name)}) as source\nwhere {bound}"

    # --- Python reads

    def _batches(
        self, table: SourceTable, wanted: Sequence[SourceColumn], bound: str, parameters: list[Any], *, meant: Sequence[SourceColumn] = ()
    ) -> Iterator[pa.RecordBatch]:
        """The rows; with `meant` as the texts of values of those columns, whether they fit or not."""
        import pyarrow as pa

        readers = [_text_reader(_read_as(c)) for c in meant] or [_reader(c) for c in wanted]
        types = [_arrow_type(c) for c in wanted]
        names = ", ".join(_name(c.name) for c in wanted)
        try:
            cursor = self._connection().execute(f"select {names} from {_name(table.name)} where {bound}", parameters)
            while rows := cursor.fetchmany(_BATCH_ROWS):
                columns = zip(*rows, strict=True)
                arrays = [
                    pa.array([None if v is None else read(v) for v in values], type_)
                    for values, read, type_ in zip(columns, readers, types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=[c.name for c in wanted])
        except sqlite3.Error as error:
            raise self._broken(error) from error


# --- bounds and types


def _bound(watermark: str, since: Watermark | None) -> tuple[str, list[Any], str]:
    """Conditions that hold for at least the rows at or past `since`: in SQLite, with its values, and in the engine."""
    if since is None:
        return "1 = 1", [], "true"
    name, source = _name(watermark), f"source.{quote(watermark)}" if watermark else ""
    if isinstance(since.value, dt.datetime):
        # Text in any ISO form and zone: compare by its date, a day early; the exact bound is applied to parsed times. What
        # is no text at all is read too, so that it is refused.
        early = max(since.value, dt.datetime(1900, 1, 2, tzinfo=dt.timezone.utc)) - dt.timedelta(days=1)
        day = early.strftime("%Y-%m-%d")
        bound = f"({name} >= ? or {name} is null or typeof({name}) <> 'text')"
        return bound, [day], f"({source} >= {quote_text(day)} or {source} is null)"
    if isinstance(since.value, int):
        return f"({name} >= ? or {name} is null)", [since.value], f"({source} >= {since.value} or {source} is null)"
    # a column may have an order of its own (NOCASE), which the engine would push the bound down into
    return f"(cast({name} as text) collate binary >= ? or {name} is null)", [since.value], "true"


def _read_as(column: SourceColumn) -> SourceColumn:
    """The column with the type that it is read as: its own if this module reads that, else the one of its declaration."""
    if re.fullmatch(r"Int64|Float64|String|Bool|Date32|Decimal\(.*\)|DateTime64\(6, 'UTC'\)", _bare(column.type)):
        return column
    return SourceColumn(column.name, f"Nullable({_type_of(column.source_type)})", column.source_type)


def _given(value: str, read: str, wanted: str) -> str:
    """The engine's expression of a value in a type of the user's; fails when it does not fit."""
    if _bare(read) == "String":
        return strict_text(value, wanted)
    return f"accurateCast({value}, {quote_text(wanted)})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _parse_time(text: Any, otherwise: str = "") -> dt.datetime:
    """An ISO 8601 time as aware UTC; one without a zone is UTC. `otherwise` is read when `text` is no such time."""
    try:
        read = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        if not otherwise:
            raise
        read = dt.datetime.fromisoformat(otherwise)
    return read.astimezone(dt.timezone.utc) if read.tzinfo else read.replace(tzinfo=dt.timezone.utc)


def _view(query: str) -> str:
    return f"query {hashlib.sha256(query.encode()).hexdigest()[:16]}"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _type_of(declared: str) -> str:
    """The ClickHouse type, without Nullable, of a declared SQLite type.

    >>> _type_of("DECIMAL(10,2)"), _type_of("varchar(20)"), _type_of("timestamp")
    ('Decimal(10, 2)', 'String', "DateTime64(6, 'UTC')")
    """
    word = declared.upper().strip()
    decimal = re.fullmatch(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", word)
    if decimal and int(decimal[2]) <= int(decimal[1]) <= 76:
        return f"Decimal({decimal[1]}, {decimal[2]})"
    if "INT" in word:
        return "Int64"
    if word.startswith(("DATETIME", "TIMESTAMP")):
        return "DateTime64(6, 'UTC')"
    if word == "DATE":
        return "Date32"
    if word in ("BOOL", "BOOLEAN"):
        return "Bool"
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return "Float64"
    return "String"


def _bare(type_: str) -> str:
    return type_.removeprefix("Nullable(").removesuffix(")") if type_.startswith("Nullable(") else type_


def _time_text(column: str) -> str:
    """A SQLite expression: a time in any ISO form as UTC text, cut to the second so that a mark is never ahead of its row."""
    return f"strftime('%Y-%m-%d %H:%M:%S', {column})"


def _misfit(column: SourceColumn) -> str | None:
    """A SQLite condition: the value does not fit the column's type. None when everything fits."""
    name, type_ = _name(column.name), _bare(column.type)
    null = f"{name} is not null and " if column.type.startswith("Nullable(") else f"{name} is null or "
    if type_ == "Int64":
        wrong = f"typeof({name}) <> 'integer'"
    elif type_ == "Float64":
        wrong = f"typeof({name}) not in ('integer', 'real')"
    elif type_.startswith("Decimal"):
        digits, scale = (int(part) for part in re.findall(r"\d+", type_))
        wrong = (
            f"(typeof({name}) not in ('integer', 'real') or abs({name} - round({name}, {scale})) > 1e-9 "
            f"or abs({name}) >= 1e{digits - scale})"
        )
    elif type_.startswith("DateTime"):
        wrong = f"(typeof({name}) <> 'text' or datetime({name}) is null or {_no_day(name)})"
    elif type_ == "Date32":
        wrong = f"(typeof({name}) <> 'text' or {_no_day(name)})"
    elif type_ == "Bool":
        wrong = f"(typeof({name}) <> 'integer' or {name} not in (0, 1))"
    else:
        return None if column.type.startswith("Nullable(") else f"{name} is null"
    return f"({null}{wrong})"


def _no_day(name: str) -> str:
    """A SQLite condition: the text does not begin with a day of the calendar, of a year from 1000 to 2999."""
    return f"(date(substr({name}, 1, 10), '+0 days') is not substr({name}, 1, 10) or {name} not glob '[12][0-9][0-9][0-9]-*')"


def _engine_expression(column: SourceColumn) -> str:
    """The engine's value (Int64, Float64 or String, Nullable) as the column's type."""
    name, type_ = f"source.{quote(column.name)}", _bare(column.type)
    if type_.startswith("DateTime"):
        # the engine's parser is given the '' beneath a NULL, and fails on it
        value = f"if({name} is null, null, parseDateTime64BestEffort(ifNull({name}, '1970-01-01'), 6, 'UTC'))"
    elif type_ == "Date32":
        value = f"if({name} is null, null, toDate32(substring(ifNull({name}, '1970-01-01'), 1, 10)))"
    elif type_ == "Bool":
        value = f"{name} = '1'"
    elif type_ == "Float64":
        value = f"toFloat64({name})"
    else:
        value = name
    # rows were checked: a NULL here would be a row that changed under our hands, and the cast refuses it
    return f"cast({value} as {column.type})"


def _reader(column: SourceColumn) -> Callable[[Any], Any]:
    """What turns a value of SQLite into one that Arrow takes for the column."""
    type_ = _bare(column.type)
    if type_.startswith("Decimal"):
        step = Decimal(1).scaleb(-int(type_.split(",")[1].strip(" )")))
        return lambda value: Decimal(str(value)).quantize(step)
    if type_.startswith("DateTime"):
        return _parse_time
    if type_ == "Date32":
        return lambda value: dt.date.fromisoformat(value[:10])
    if type_ == "Bool":
        return bool
    if type_ == "String":
        return lambda value: value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return lambda value: value


def _text_reader(column: SourceColumn) -> Callable[[Any], bytes]:
    """What turns a value of SQLite into the text of it as the column's type, or into the text that it is."""
    read, as_text = _reader(column), _reader(SourceColumn("", "String", ""))

    def text(value: Any) -> bytes:
        try:
            known = read(value)
        except (TypeError, ValueError, ArithmeticError):
            return bytes(as_text(value))
        if isinstance(known, dt.datetime):
            return known.strftime("%Y-%m-%d %H:%M:%S.%f").encode()
        if isinstance(known, Decimal) and isinstance(value, float) and abs(value - float(known)) > 1e-9:
            known = value
        return bytes(as_text(value if isinstance(known, bool) or not isinstance(value, (float, str)) else known))

    return text


def _arrow_type(column: SourceColumn) -> Any:
    import pyarrow as pa

    type_ = _bare(column.type)
    if type_.startswith("Decimal"):
        precision, scale = (int(part) for part in re.findall(r"\d+", type_))
        return pa.decimal256(precision, scale) if precision > 38 else pa.decimal128(precision, scale)
    if type_.startswith("DateTime"):
        return pa.timestamp("us", tz="UTC")
    simple = {"Date32": pa.date32(), "Bool": pa.bool_(), "Int64": pa.int64(), "Float64": pa.float64()}
    return simple.get(type_, pa.binary())
