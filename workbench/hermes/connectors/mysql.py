"""MySQL and MariaDB. The engine pulls by itself with its `mysql` table function; facts are asked through the engine too.

What is sent is a SELECT of our own, `mysql(..., query('...'))`: the span is in it, and so are the forms in which values come.
No driver is needed, and no name at the source can be quoted in a way that its server does not read.

    at the source                                  lands as
    tinyint ... bigint, signed or unsigned          Int8 ... Int64, UInt8 ... UInt64
    tinyint(1) (boolean), bit(1)                    Bool; another number than 0 or 1 does not fit
    bit(n)                                          UInt64
    decimal(p, s), up to 65 digits                  Decimal(p, s)
    float, double                                   Float32, Float64
    date                                            Date32
    datetime(n), which has no zone and is UTC here  DateTime64(6, 'UTC')
    timestamp(n), the instant                       DateTime64(6, 'UTC')
    year                                            UInt16
    time, which goes from -838 to 838 hours         String
    char, varchar, text of any charset, enum, set,  String, in UTF-8
      json, inet4, inet6
    uuid                                            UUID
    binary, varbinary, blob                         String, the bytes as they are
    geometry                                        String, as WKT

A date with a zero in it (`0000-00-00`, `2024-05-00`) is no date and does not fit: it never becomes another one. In a `query`
a tinyint(1) is an Int8 and a year is text: what an expression gives has no more than a size.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from workbench.errors import QueryError, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import SourceColumn, SourceTable, Span
from workbench.hermes.landing import strict_text
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text

# a statement that says nothing for longer than this is given up by the engine: an aggregate over a large table takes its time
_SILENT_S = 3600
_CONNECT_S = 10

_UTC_ZONES = {"+00:00", "UTC", "Etc/UTC", "GMT", "Etc/GMT", "Universal", "Zulu"}
_INTEGERS = {"tinyint": "Int8", "smallint": "Int16", "mediumint": "Int32", "int": "Int32", "integer": "Int32", "bigint": "Int64"}
_SHAPES = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection",
}  # fmt: skip
_SINGLE = {
    "float": "Float32", "double": "Float64", "real": "Float64", "bit": "UInt64", "date": "Date32", "year": "UInt16", "uuid": "UUID",
}  # fmt: skip
_BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}


@dataclass(frozen=True)
class Options:
    """`dsn`: mysql://user:${NAME}@host:3306/database, or its parts one by one; the password comes from the environment."""

    dsn: str = ""
    host: str = ""
    port: str = ""
    user: str = ""
    password: str = ""
    database: str = ""


@dataclass(frozen=True)
class TableOptions:
    """`query`: a SELECT that is read instead of a table or view."""

    query: str = ""


class Connector:
    """One database of a MySQL or MariaDB server. It sends SELECT statements and nothing else."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        self.lake = lake
        parts = _parts(options)
        # to the engine `localhost` is a socket file, which it may not open
        self.host = "127.0.0.1" if parts["host"] in ("", "localhost") else parts["host"]
        self.port = _port(parts["port"])
        self.user, self.password, self.database = parts["user"], parts["password"], parts["database"]
        if re.search(r"[|{},\s/?#]", self.host):
            raise SourceError(f"mysql: the host {self.host!r} is not one name or address", hint="one source is one server")
        if not self.user or not self.database:
            missing = "database" if self.user else "user"
            raise SourceError(f"a mysql source has no {missing}", hint="write dsn: mysql://user:${NAME}@host:3306/database")
        self._is_utc: bool | None = None

    @property
    def where(self) -> str:
        """The source in words, without the password."""
        return f"mysql {self.user}@{self.host}:{self.port}/{self.database}"

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """See `Connector.describe`."""
        query = _query_of(options)
        if query:
            return SourceTable(table or "query", self._describe_query(query, key), options)
        # a name is compared without regard to case there: the exact one is picked here
        found = self._ask(
            "select t.table_name as t, c.column_name as c, c.column_type as y, c.is_nullable as n, t.table_rows as r, "
            "@@lower_case_table_names as f from information_schema.columns c join information_schema.tables t "
            "on t.table_schema = c.table_schema and t.table_name = c.table_name "
            f"where c.table_schema = database() and t.table_name = {_literal(table)} order by c.ordinal_position"
        )
        name = table
        if found and table not in {row["t"] for row in found} and int(found[0]["f"]):
            name = str(found[0]["t"])
        facts = [row for row in found if row["t"] == name]
        if not facts:
            known = self._ask("select table_name as t from information_schema.tables where table_schema = database()")
            raise UnknownName(f"table of {self.where}", table, [str(row["t"]) for row in known])
        columns = []
        for row in facts:
            source_type = str(row["y"])
            base = _natural(source_type)
            nullable = row["n"] == "YES" and row["c"] not in key
            columns.append(SourceColumn(str(row["c"]), f"Nullable({base})" if nullable else base, source_type))
        rows = facts[0]["r"]
        return SourceTable(name, tuple(columns), options, int(rows) if rows is not None else None)

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`."""
        found, name = table.column(column), _name(column)
        kind, word, source = _mark_kind(found), _word(found.source_type), self._from(table)
        if kind == "":
            return None
        if kind == "text":
            value = self._one(f"select max({_bytes_of(found)}) as v from {source}")
            return None if value is None else Watermark(str(value))
        if kind == "integer":
            value = self._one(f"select max({_source_expression(found)}) as v from {source}")
            return None if value is None else Watermark(int(value))
        if word == "timestamp":
            # the highest by the session's zone, which an index gives at once, may be an hour off; by the instant it is not
            near = f"select max({name}) from {source}"
            value = self._one(
                f"select cast({_instant(f'max(unix_timestamp({name}))')} as char) as v from {source} "
                f"where {name} > 0 and {name} >= ({near}) - interval 1 day"
            )
            return _time_mark(value)
        mark = _time_mark(self._one(f"select cast(max({name}) as char) as v from {source}"))
        if mark is None:  # none at all, or the highest is no real date
            real = f"month({name}) > 0 and dayofmonth({name}) between 1 and dayofmonth(last_day({name}))"
            mark = _time_mark(self._one(f"select cast(max({name}) as char) as v from {source} where {real}"))
        return mark

    @contextmanager
    def rows(self, table: SourceTable, columns: Sequence[str], *, within: Span | None = None, as_text: bool = False) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        sent = ", ".join(f"{_source_expression(c)} as c{n}" for n, c in enumerate(wanted))
        condition = _condition(table.column(within.column), within) if within is not None else ""
        statement = f"select {sent} from {self._from(table)}" + (f" where {condition}" if condition else "")
        body = ",\n    ".join(f"{_expression(c, f'source.c{n}', as_text)} as {quote(c.name)}" for n, c in enumerate(wanted))
        with self._engine_errors():
            yield f"select\n    {body}\nfrom {self._function(statement)} as source"

    def close(self) -> None:
        """See `Connector.close`. The engine keeps no connection that is ours."""

    # --- speaking to the server

    def _function(self, statement: str) -> str:
        """The engine's table function over a SELECT; the lake masks its password in the query log."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        first, rest = (f"{host}:{self.port}", self.database), (self.user, self.password)
        arguments = [*map(quote_text, first), f"query({quote_text(statement)})", *map(quote_text, rest)]
        return f"mysql({', '.join(arguments)}, settings connect_timeout = {_CONNECT_S}, read_write_timeout = {_SILENT_S})"

    def _from(self, table: SourceTable) -> str:
        query = _query_of(table.options)
        return f"(\n{query}\n) as `query`" if query else _name(table.name)

    def _ask(self, statement: str) -> list[dict[str, Any]]:
        with self._engine_errors():
            found: list[dict[str, Any]] = self.lake.query(f"select * from {self._function(statement)}").to_pylist()
            return found

    def _one(self, statement: str) -> Any:
        (row,) = self._ask(statement)
        return row["v"]

    def _describe_query(self, query: str, key: Sequence[str]) -> tuple[SourceColumn, ...]:
        with self._engine_errors():
            seen = self.lake.query(f"describe table {self._function(query)}")
        columns = []
        for name, engine_type in zip(seen.column("name").to_pylist(), seen.column("type").to_pylist(), strict=True):
            source_type = _source_type(_bare(str(engine_type)))
            if source_type == "datetime(6)":
                self._require_utc(str(name))
            base = _natural(source_type)
            columns.append(SourceColumn(str(name), base if name in key else f"Nullable({base})", source_type))
        return tuple(columns)

    def _require_utc(self, column: str) -> None:
        """In a query nobody can tell an instant, which comes in the session's zone, from a time without one."""
        if self._is_utc is None:
            (zones,) = self._ask("select @@session.time_zone as s, @@system_time_zone as y")
            zone = zones["y"] if zones["s"] == "SYSTEM" else zones["s"]
            self._is_utc = zone in _UTC_ZONES
            self._zone = str(zone)
        if not self._is_utc:
            raise SourceError(
                f"{self.where}: the query has the time {column!r}, and the server's sessions are in the zone {self._zone}: "
                "an instant (timestamp) would be read as if it were UTC",
                hint="make the query a view at the source and read that; or give the time as text, cast(... as char), and its type under "
                "`columns:`",
            )

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        """The engine's troubles with the source, as the source's."""
        try:
            yield
        except QueryError as error:
            if error.code == 279 and "mysqlxx" in error.message:
                raise self._unavailable(error.message) from None
            if error.code == 1000 and "mysqlxx" in error.message:
                raise self._refused(error.message) from None
            if self.password and self.password in str(error):  # the lake masks it; an old one may not
                raise SourceError(f"{self.where}: {error.message.replace(self.password, '***')}") from None
            raise

    def _unavailable(self, text: str) -> SourceError:
        said = self._masked(text)
        code = _server_code(said)
        if code == 1045 or "Access denied for user" in said and code != 1044:
            return SourceUnavailable(f"{self.where} refused the sign-in", hint="check user and password")
        if code in (1044, 1049):
            reason = "may not be used by that user" if code == 1044 else "is not there"
            return SourceError(f"{self.where}: the database {self.database!r} {reason}", hint="check the name of the database")
        if code == 2005:
            return SourceUnavailable(f"{self.where}: the name {self.host!r} is not known to the lake's machine", hint="check the host")
        if code in (2002, 2003):
            return SourceUnavailable(f"{self.where} refused the connection", hint="is the server up, and the port right?")
        return SourceUnavailable(f"{self.where} does not answer: {_said(said)}", hint="check the address and the server")

    def _refused(self, text: str) -> SourceError:
        said = self._masked(text)
        code = _server_code(said)
        if code in (2006, 2013, 1053, 1927):
            return SourceUnavailable(f"{self.where} went away in the middle: {_said(said)}", hint="is the server up?")
        if code in (1142, 1143):
            return SourceError(f"{self.where}: {_said(said)}", hint="grant SELECT on it to that user")
        return SourceError(f"{self.where}: {_said(said)}")

    def _masked(self, text: str) -> str:
        said = " ".join(text.split())
        return said.replace(self.password, "***") if self.password else said


# --- options


def _parts(options: Options) -> dict[str, str]:
    single = {name: str(getattr(options, name) or "") for name in ("host", "port", "user", "password", "database")}
    if not options.dsn:
        return single
    if given := [name for name, value in single.items() if value]:
        raise SourceError(f"a mysql source has both a dsn and {given[0]}", hint="write the one or the other")
    try:
        address = urlsplit(options.dsn)
        port, host = address.port, address.hostname
    except ValueError:
        address, port, host = urlsplit(""), None, None
    if address.scheme not in ("mysql", "mariadb") or not host or address.fragment:
        # the text may hold a password: it is not repeated
        raise SourceError(
            "the dsn of a mysql source is not an address",
            hint="write mysql://user:${NAME}@host:3306/database, with / ? # @ : and % in a password as %2F %3F %23 %40 %3A %25; "
            "or write host, user, password and database one by one",
        )
    if address.query:
        name = address.query.partition("=")[0]
        raise SourceError(f"the dsn of a mysql source has {name!r}, which is not read", hint="leave it out")
    return {
        "host": host, "port": str(port or ""), "user": unquote(address.username or ""), "password": unquote(address.password or ""),
        "database": unquote(address.path.removeprefix("/")),
    }  # fmt: skip


def _port(text: str) -> int:
    if not text:
        return 3306
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SourceError(f"mysql: the port {text!r} is not a number from 1 to 65535", hint="3306 is MySQL's own")
    return int(text)


def _query_of(options: Any) -> str:
    return str(options.query).strip().rstrip(";").rstrip() if options is not None and options.query else ""


# --- SQL for the source


def _name(text: str) -> str:
    return "`" + text.replace("`", "``") + "`"


def _literal(text: str) -> str:
    """A text that no mode of the server reads otherwise.

    >>> _literal("it's")
    "_utf8mb4 x'69742773'"
    """
    return f"_utf8mb4 x'{text.encode().hex()}'"


def _bytes_of(column: SourceColumn) -> str:
    """A text as its UTF-8 bytes: compared as the lake compares, not by the rules of a language."""
    if _word(column.source_type) in _BYTES:
        return _name(column.name)
    return f"cast(convert({_name(column.name)} using utf8mb4) as binary)"


def _instant(seconds: str) -> str:
    """Seconds since 1970 as a time in UTC, whatever the session's zone is."""
    return f"(timestamp'1970-01-01 00:00:00' + interval {seconds} second)"


def _source_expression(column: SourceColumn) -> str:
    """What is asked of the server for a column: a form in which the engine takes every value as it is."""
    name, word = _name(column.name), _word(column.source_type)
    if word == "float":
        return f"cast({name} + 0e0 as char)"  # by itself it is printed with six digits
    if word in ("double", "real"):
        return f"cast({name} as char)"  # as a number the engine reads it wrong by a bit or two
    if word == "bit":
        return f"{name} + 0"
    if word == "timestamp":
        # the instant itself: a text in the session's zone has an hour twice in autumn
        return f"if({name} = 0, '0000-00-00 00:00:00', cast({_instant(f'unix_timestamp({name})')} as char))"
    if word in _SHAPES:
        return f"st_astext({name})"
    if word in ("date", "datetime", "time"):
        return f"cast({name} as char)"
    return name


def _condition(column: SourceColumn, span: Span) -> str:
    """A condition that holds for at least the rows of the span; empty when it would not be the same there."""
    bounds = [("low", span.low), ("high", span.high)]
    kind, parts = _mark_kind(column), []
    for side, mark in bounds:
        if mark is None:
            continue
        if mark.kind != kind:
            return ""  # the column has another type in the lake than here: nothing is left out
        parts += _bound(column, side, mark)
    if not parts:
        return "" if span.nulls else f"{_name(column.name)} is not null"
    within = " and ".join(parts)
    if not span.nulls:
        return within
    none = f"{_name(column.name)} is null"
    if kind == "time":  # a zero date is no watermark either
        none += f" or {_name(column.name)} = 0"
    return f"({within}) or {none}"


def _bound(column: SourceColumn, side: str, mark: Watermark) -> list[str]:
    name, sign = _name(column.name), ">=" if side == "low" else "<"
    if isinstance(mark.value, int):
        return [f"{_source_expression(column)} {sign} {mark.value}"]
    if isinstance(mark.value, str):
        return [f"{_bytes_of(column)} {sign} x'{mark.value.encode().hex()}'"]
    word = _word(column.source_type)
    if word == "date":
        day = mark.value.date().isoformat()
        return [f"{name} {'>=' if side == 'low' else '<='} date'{day}'"]
    if word == "datetime":
        return [f"{name} {sign} timestamp'{mark.text()}'"]
    # An instant is compared as seconds, which no index helps with. So the rows are narrowed first by a bound that an index
    # helps with, a day wide of the mark: it is in the session's zone, and NULL beyond what that function takes.
    seconds = (mark.value - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) / dt.timedelta(microseconds=1)
    whole = int(seconds)
    text = f"{'-' if whole < 0 else ''}{abs(whole) // 1_000_000}.{abs(whole) % 1_000_000:06d}"
    conditions = [f"unix_timestamp({name}) {sign} {text}"]
    near = whole // 1_000_000 + (-86400 if side == "low" else 86400)
    if 0 < near < 2**31 - 1:
        conditions.insert(0, f"{name} {'>=' if side == 'low' else '<='} from_unixtime({near})")
    return conditions


def _time_mark(text: Any) -> Watermark | None:
    """A mark from the server's text of a time; None for none, or for one that is no real date."""
    if text is None:
        return None
    try:
        return Watermark(dt.datetime.fromisoformat(str(text)))
    except ValueError:
        return None


# --- types


def _word(source_type: str) -> str:
    """The first word of a declared type.

    >>> _word("decimal(10,2) unsigned"), _word("timestamp")
    ('decimal', 'timestamp')
    """
    return re.split(r"[\s(]", source_type.strip().lower(), maxsplit=1)[0]


def _natural(source_type: str) -> str:
    """The ClickHouse type, without Nullable, of a declared type.

    >>> _natural("bigint(20) unsigned"), _natural("decimal(12,3)"), _natural("tinyint(1)"), _natural("enum('a','b')")
    ('UInt64', 'Decimal(12, 3)', 'Bool', 'String')
    """
    declared = source_type.strip().lower()
    word = _word(declared)
    if declared in ("tinyint(1)", "bit(1)"):
        return "Bool"
    if word in _INTEGERS:
        return ("U" if "unsigned" in declared or "zerofill" in declared else "") + _INTEGERS[word]
    if word in ("decimal", "numeric"):
        digits = re.findall(r"\d+", declared) or ["10", "0"]
        return f"Decimal({digits[0]}, {digits[1] if len(digits) > 1 else 0})"
    if word in ("datetime", "timestamp"):
        return "DateTime64(6, 'UTC')"
    return _SINGLE.get(word, "String")


def _source_type(engine_type: str) -> str:
    """The declared type that stands for a column of a query, from the type that the engine sees there.

    >>> _source_type("UInt16"), _source_type("Decimal(32, 4)"), _source_type("DateTime64(6)"), _source_type("String")
    ('smallint unsigned', 'decimal(32, 4)', 'datetime(6)', 'text')
    """
    if found := re.fullmatch(r"(U?)Int(8|16|32|64)", engine_type):
        word = {"8": "tinyint", "16": "smallint", "32": "int", "64": "bigint"}[found[2]]
        return word + (" unsigned" if found[1] else "")
    if engine_type.startswith("Decimal"):
        return engine_type.lower()
    if engine_type.startswith("DateTime"):
        return "datetime(6)"
    return {"Float32": "float", "Float64": "double", "Date": "date", "Date32": "date"}.get(engine_type, "text")


def _bare(type_: str) -> str:
    return type_.removeprefix("Nullable(").removesuffix(")") if type_.startswith("Nullable(") else type_


def _mark_kind(column: SourceColumn) -> str:
    """`time`, `integer` or `text`: what a watermark of the column is, at the source and in the lake; empty when they differ."""

    def kind(type_: str) -> str:
        if type_.startswith("Date"):
            return "time"
        return "integer" if re.fullmatch(r"U?Int\d+", type_) else "text" if type_ == "String" else ""

    natural, described = kind(_natural(column.source_type)), kind(_bare(column.type))
    plain = _word(column.source_type) not in ("time", *_SHAPES)  # these have an order of their own
    return natural if natural == described and plain else ""


def _expression(column: SourceColumn, value: str, as_text: bool) -> str:
    """The engine's expression for a column out of what the server sent: of its type, or as text."""
    natural, wanted = _natural(column.source_type), _bare(column.type)
    sent_as_number = _word(column.source_type) in (*_INTEGERS, "decimal", "numeric", "bit") and natural != "Bool"
    if wanted == natural and not as_text and (sent_as_number or natural == "String"):
        return f"accurateCast({value}, {quote_text(column.type)})"
    text = f"toString({value})"
    if natural.startswith("Date"):
        read = f"toDate32OrNull({value})" if natural == "Date32" else f"toDateTime64OrNull({value}, 6, 'UTC')"
        if wanted != "String":
            # the engine makes some other day of a zero date, by whatever way it is read
            text = f"if(ifNull(startsWith(toString({read}), {value}), 0), {text}, concat({value}, ' is no date'))"
    if wanted.startswith("Date") and natural == "String":
        text = f"if(match({value}, '^(0000|[0-9]{{4}}-00|[0-9]{{4}}-[0-9]{{2}}-00)'), concat({value}, ' is no date'), {text})"
    elif wanted == "Float32" and natural != wanted:
        text = f"if(isInfinite(accurateCastOrNull({text}, 'Float32')), concat({text}, ' does not fit'), {text})"
    if as_text:
        return f"cast({text} as Nullable(String))"
    if wanted == "String":
        return f"accurateCast({text}, {quote_text(column.type)})"
    return strict_text(text, column.type)


# --- what the server says


def _server_code(text: str) -> int:
    found = re.search(r"e\.code\(\) = (\d+)|ERROR (\d+)", text)
    return int(found[1] or found[2]) if found else 0


def _said(text: str) -> str:
    """The server's own words out of the engine's."""
    said = re.split(r"mysqlxx::\w+: ", text, maxsplit=1)[-1]
    return re.split(r" while executing query: | \(\(nullptr\)", said, maxsplit=1)[0][:300]
