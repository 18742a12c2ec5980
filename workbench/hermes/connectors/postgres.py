"""PostgreSQL. The engine pulls by itself with COPY; what is to be known is asked with psycopg. Both read only.

| at the source | lands as |
| --- | --- |
| smallint, integer, bigint | Int16, Int32, Int64 |
| numeric(p, s) | Decimal(p, s) |
| numeric | Decimal(76, 38); NaN, infinity and what is longer do not fit |
| real, double precision | Float32, Float64, with NaN and infinities |
| boolean, uuid | Bool, UUID |
| date | Date32; infinity and years before 1 or after 9999 do not fit |
| timestamp, timestamptz | DateTime64(6, 'UTC'), an instant in UTC; infinity and years out of range do not fit |
| an array of one dimension | Array(Nullable(...)); no array lands as an empty one |
| bytea | String, the bytes themselves |
| text, varchar, char(n), enums, json, jsonb, inet, interval, arrays of more dimensions and the rest | String, as PostgreSQL writes it |
| a domain | as the type it is made of |

A column is Nullable unless it is NOT NULL or belongs to the key. A row with a value that does not fit goes to the quarantine.

Every change of a row gives it a new transaction number. Beside the watermark it tells which rows a transaction wrote that was still
open at the last sync, and that nothing changed at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.errors import LakeUnavailable, Misfit, QueryError, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import Fingerprint, Ranges, SourceColumn, SourceTable, Span, Stage
from workbench.hermes.landing import DOES_NOT_FIT, bare, strict_text
from workbench.hermes.ranges import POSTGRES, fold, mixed
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table, quote_text

_READ_BY_THE_ENGINE = {"host", "port", "user", "password", "dbname"}
_NO_LOW, _NO_HIGH = -(1 << 63), 1 << 63
_REFUSED = f"{DOES_NOT_FIT}:"  # what our own guards say at the source


@dataclass(frozen=True)
class Options:
    """`dsn`: postgresql://user:${NAME}@host:5432/database, the password from the environment. `schema`: default public.

    Any parameter of libpq may stand in the dsn (`sslmode`, ...); with more than host, port, user, password and database the rows
    come through this process instead of the engine, which cannot be told.
    """

    dsn: str
    schema: str = "public"


@dataclass(frozen=True)
class TableOptions:
    """`query`: SQL to be read instead of a table or view."""

    query: str = ""


class Connector:
    """One database of a PostgreSQL server, read in read-only transactions."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions
    stays_open: ClassVar[bool] = True

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        self.options = options
        self.lake = lake
        self._open: Any = None
        self._snapshot = self._unread = ""  # the last position that was asked for; and if it was asked by `unchanged` alone
        self._places: dict[str, tuple[str, str]] = {}  # schema and name of the tables that were described
        try:
            parts = conninfo_to_dict(options.dsn)
        except psycopg.Error:
            # the text may hold a password: it is not repeated
            raise SourceError(
                "the dsn of a postgres source is not an address", hint="write postgresql://user:${NAME}@host:5432/database"
            ) from None
        self._parameters = {k: str(v) for k, v in parts.items()}
        self._engine_reads: bool | None = False if set(parts) - _READ_BY_THE_ENGINE else None
        self.host = str(parts.get("host") or "localhost")
        port = str(parts.get("port") or 5432)
        self.port = int(port) if port.isdecimal() else 0
        if not self.port or "," in self.host:  # several servers: the driver finds the one that answers
            self._engine_reads = False
        self.user = str(parts.get("user") or "postgres")
        self.password = str(parts.get("password") or "")
        self.database = str(parts.get("dbname") or self.user)

    @property
    def where(self) -> str:
        """The source in words, without the password."""
        return f"postgres {self.user}@{self.host}:{self.port}/{self.database}"

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """See `Connector.describe`."""
        options = options or TableOptions()
        identity, rows, has_numbers, unique = "", None, False, set[frozenset[str]]()
        if options.query:
            facts = self._describe_query(options.query)
        else:
            facts, rows, has_numbers, identity, unique = self._describe_table(table)
        columns = []
        for name, source_type, base, not_null, dimensions, *_ in facts:
            landed = _landed(base, dimensions)
            nullable = not (not_null or name in key or landed.startswith("Array("))
            columns.append(SourceColumn(name, f"Nullable({landed})" if nullable else landed, source_type))
        made = _Facts(options.query, {n: (b, d, bool(nn)) for n, _, b, nn, d, *_ in facts}, has_numbers, self.lake.years)
        is_unique = any(index <= set(key) for index in unique)
        return SourceTable(table, tuple(columns), made, rows, identity, has_numbers, is_unique)

    def _describe_table(self, table: str) -> tuple[list[tuple[Any, ...]], int | None, bool, str, set[frozenset[str]]]:
        # a name with a dot is another schema's table, or one of ours that is called so
        before, dot, after = table.partition(".")
        for schema, name in [(before, after)] * bool(dot) + [(self.options.schema, table)]:
            if facts := self._read(_DESCRIBE, (schema, name)):
                break
        else:
            known = self._read("select table_name from information_schema.tables where table_schema = %s", (schema,))
            raise UnknownName(f"table of {self.where}", table, [str(n) for (n,) in known])
        self._places[table] = schema, name
        ((kind, rows, number, indexes),) = self._read(_ABOUT_TABLE, (schema, name))
        # a column that was dropped and added again has another number, a table that was swapped for another too
        identity = f"{number} {' '.join(str(number) for *_, number in facts)}"
        names = {str(number): str(fact[0]) for *fact, number in facts}
        unique = {frozenset(names[n] for n in index.split()) for index in filter(None, (indexes or "").split(";"))}
        return facts, int(rows) if rows is not None and rows >= 0 else None, kind in ("r", "m", "p"), identity, unique

    def _describe_query(self, query: str) -> list[tuple[Any, ...]]:
        self._read("select 1")
        found = self._run(f"select * from (\n{query}\n) as q limit 0")
        result = found.pgresult
        facts = []
        for n, column in enumerate(found.description or ()):
            ((shown,),) = self._read("select format_type(%s, %s)", (result.ftype(n), result.fmod(n)))
            facts.append((column.name, shown, shown, False, 1))
        return facts

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`."""
        name = _name(column)
        kind = table.options.base(column)
        # texts in the order of the lake: a language's own would put rows behind the mark
        top = f'max({name}::text collate "C")' if not _is_ordered(kind) else f"max({name})"
        held = f" where {name} {table.options.held(kind)}" if _is_time(kind) else ""  # what does not fit is no mark
        ((value,),) = self._read(f"select {top} from {self._relation(table)} as source{held}")
        if value is None:
            return None
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            value = dt.datetime(value.year, value.month, value.day)
        return Watermark(value if isinstance(value, (dt.datetime, int)) else str(value))

    @contextmanager
    def rows(
        self, table: SourceTable, columns: Sequence[str], *, within: Span | Ranges | None = None, as_text: bool = False
    ) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        through_client = not self._engine_can_read()
        facts = table.options
        values = [
            _text_value(c, facts) if as_text or through_client and not _is_whole(c, facts) else _value(c, facts, self._writes_iso)
            for c in wanted
        ]
        select = ", ".join(f"{value} as c{n}" for n, value in enumerate(values))
        statement = f"select {select} from {self._relation(table)} as source{self._where(table, within)}"
        if as_text:
            casts = [f"{_from_text(c, facts, f'source.c{n}')} as {quote(c.name)}" for n, c in enumerate(wanted)]
        else:
            casts = [f"{_cast(c, facts, f'source.c{n}')} as {quote(c.name)}" for n, c in enumerate(wanted)]
        if through_client:
            with self._engine_errors():
                yield from self._copied(statement, wanted, facts, as_text=as_text)
            return
        with self._engine_errors():
            yield f"select\n    {f',{chr(10)}    '.join(casts)}\nfrom {self._function(statement)} as source"

    def close(self) -> None:
        """See `Connector.close`."""
        if self._open is not None:
            self._open.close()
            self._open = None
        self._snapshot = self._unread = ""

    # --- positions and fingerprints

    def position(self) -> str:
        """See `HasPositions.position`: the transactions that have ended, as PostgreSQL writes a snapshot, of this database.

        The one that `unchanged` has just asked for is as good: what happened since is after it.
        """
        found, self._unread = self._unread or self._ask_position(), ""
        return found

    def unchanged(self, position: str) -> bool:
        """See `HasPositions.unchanged`: no transaction has taken a number since, and none was open then."""
        now = self._ask_position()
        lowest, highest, open_ones = position.partition(" ")[2].split(":")
        is_same = lowest == highest and not open_ones and now == position
        self._unread = "" if is_same else now
        return is_same

    def _ask_position(self) -> str:
        ((snapshot,),) = self._read(_SNAPSHOT)
        self._snapshot = str(snapshot)
        return self._snapshot

    def safe_mark(self, table: SourceTable, column: str, high: Watermark) -> tuple[Watermark, bool]:
        """See `TracksTransactions.safe_mark`: what is open writes times from its beginning on."""
        ((oldest, hidden, others, is_copy),) = self._read(_OPEN_TRANSACTIONS)
        if is_copy:  # a standby does not know what is open at its primary
            return high, False
        if not others:
            return high, True
        if table.options.base(column).startswith("timestamp with time zone") and isinstance(high.value, dt.datetime):
            return (Watermark(min(high.value, oldest)) if oldest else high), not hidden
        return high, False

    def is_written(self, table: SourceTable, span: Span, position: str, *, anywhere: bool) -> bool:
        """See `TracksTransactions.is_written`."""
        changed = self._changed_since(table, position)
        within = "" if anywhere else f"{self._where(table, span)} and "
        found = self._read(f"select 1 from {self._relation(table)} as source{within or ' where '}{changed} limit 1")
        return bool(found)

    def fingerprints(
        self, table: SourceTable, columns: Sequence[str], bounds: Sequence[int], *, within: Ranges | None, behind: Span | None
    ) -> dict[int, Fingerprint]:
        """See `HasFingerprints.fingerprints`."""
        stale = "false"
        if behind is not None:
            old = f"{_name(behind.column)} < {_literal(behind.low, table.options.base(behind.column))}" if behind.low else "false"
            stale = f"{self._changed_since(table, behind.position)} and {old}"
        listed = ", ".join(f"({b})" for b in bounds)
        inside = self._where(table, within) or " where true"
        inside += f" and {_name(columns[0])} is not null"
        # `offset 0` keeps the server from computing a fold again where it is used
        found = self._read(
            f"select b, count(*), sum(x::int), sum(({mixed('x', POSTGRES)})::int), count(*) filter (where stale) from (\n"
            f"select width_bucket({_name(columns[0])}::bigint, array[{listed}]::bigint[]) - 1 as b, {stale} as stale, "
            f"{fold([_number(c, table.options.base(c)) for c in columns], POSTGRES)} as x\n"
            f"from {self._relation(table)} as source{inside} offset 0) as f group by b"
        )
        return {int(b): Fingerprint(int(n), int(g), int(h), int(s)) for b, n, g, h, s in found}

    def _changed_since(self, table: SourceTable, position: str) -> str:
        """A condition: the row was written by a transaction that had not ended at the position. True where nobody can tell."""
        if not position or not table.options.has_numbers:
            return "true"
        database, _, snapshot = position.partition(" ")
        lowest = int(snapshot.partition(":")[0])
        now = self._snapshot or self._ask_position()
        highest = int(now.partition(" ")[2].split(":")[1])
        if now.partition(" ")[0] != database or not 0 <= highest - lowest < 1 << 30:
            return "true"  # another database, one that was restored, or numbers that went round
        return f"age(source.xmin) <= {highest - lowest} + age({highest % (1 << 32)}::text::xid)"

    # --- statements

    def _relation(self, table: SourceTable) -> str:
        if table.options.query:
            return f"(\n{table.options.query}\n)"
        schema, name = self._places[table.name]
        return f"{_name(schema)}.{_name(name)}"

    def _where(self, table: SourceTable, within: Span | Ranges | None) -> str:
        if within is None:
            return ""
        name = _name(within.column)
        if isinstance(within, Ranges):
            parts = [
                " and ".join([f"{name} >= {a}"] * (a > _NO_LOW) + [f"{name} < {b}"] * (b < _NO_HIGH)) or "true" for a, b in within.ranges
            ]
            return f" where ({' or '.join(parts) or 'false'})"
        base = table.options.base(within.column)
        ordered = name if _is_ordered(base) else f'{name}::text collate "C"'
        bounds = [f"{ordered} >= {_literal(within.low, base)}"] if within.low is not None else []
        bounds += [f"{ordered} < {_literal(within.high, base)}"] if within.high is not None else []
        either = [f"({' and '.join(bounds) or 'true'})"]
        if within.nulls:
            either.append(f"{name} is null")
        if within.position:
            either.append(self._changed_since(table, within.position))
        return f" where ({' or '.join(either)})"

    def _copied(self, statement: str, wanted: Sequence[SourceColumn], facts: _Facts, *, as_text: bool) -> Iterator[str]:
        """The rows through this process, as COPY writes them: PostgreSQL's text is what the lake reads as TSV."""
        texts = Stage(self.lake, [SourceColumn(f"c{n}", "Nullable(String)", "") for n in range(len(wanted))])
        try:
            self._read("select 1")
            with self._source_errors():
                with self._open.cursor().copy(f"copy ({statement}) to stdout") as copy:
                    self.lake.insert_stream(texts.table, (bytes(block) for block in copy), "TabSeparated")
            casts = [
                f"{_from_text(c, facts, f'source.c{n}') if as_text else _cast_copied(c, facts, f'source.c{n}')} as {quote(c.name)}"
                for n, c in enumerate(wanted)
            ]
            yield f"select {', '.join(casts)} from {quote_table(texts.table)} as source"
        finally:
            texts.drop()

    def _engine_can_read(self) -> bool:
        """Whether the lake reaches the server, and can be given SQL for it (ClickHouse 26.7 and later)."""
        if self._engine_reads is None:
            self._read("select 1")
            try:
                self.lake.facts(f"select * from {self._function('select 1 as x')}")
                self._engine_reads = True
            except LakeUnavailable:
                raise
            except QueryError:
                self._engine_reads = False
        return self._engine_reads

    # --- speaking to the server

    def _function(self, statement: str) -> str:
        """The engine's table function; the server masks its password in the query log."""
        address, *who = (quote_text(a) for a in (f"{self.host}:{self.port}", self.database, self.user, self.password))
        return f"postgresql({address}, {who[0]}, query({quote_text(statement)}), {who[1]}, {who[2]})"

    def _read(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._run(statement, parameters).fetchall()  # type: ignore[no-any-return]

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        import psycopg

        with self._source_errors():
            for is_last in (self._open is None, True):
                try:
                    if self._open is None:
                        self._open = psycopg.connect(
                            **{"connect_timeout": "10", **{k: v for k, v in self._parameters.items() if k != "options"}},  # type: ignore[arg-type]
                            autocommit=True,
                            prepare_threshold=None,  # the shape of an answer may change while the connection is kept
                            options=f"{self._parameters.get('options', '')} -c timezone=UTC -c default_transaction_read_only=on".strip(),
                        )
                        ((style,),) = self._open.execute("show datestyle").fetchall()
                        self._writes_iso = str(style).startswith("ISO")
                        self._open.execute("set datestyle to ISO")
                    return self._open.execute(statement, parameters or None)
                except psycopg.OperationalError:
                    # one that was kept from an earlier iteration may have been closed by the server meanwhile
                    self.close()
                    if is_last:
                        raise
            raise AssertionError

    _writes_iso = True

    @contextmanager
    def _source_errors(self) -> Iterator[None]:
        """The driver's troubles, in our words."""
        import psycopg

        try:
            yield
        except psycopg.OperationalError as error:
            self.close()
            raise self._unavailable(str(error)) from None
        except psycopg.Error as error:
            text = " ".join(str(error).split())
            if _REFUSED in text:
                raise Misfit(f"{self.where}: {_refused(text)}") from None
            raise SourceError(f"{self.where}: {text}") from error

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        """The engine's troubles with the source, as the source's."""
        try:
            yield
        except QueryError as error:
            if _REFUSED in error.message:
                raise Misfit(f"{self.where}: {_refused(error.message)}") from None
            if "Cannot parse PostgreSQL value" in error.message:
                raise Misfit(f"{self.where}: {error.message.partition(': ')[0]}") from None
            if error.code == 614 or "broken_connection" in error.message or "closed the connection" in error.message:
                raise self._unavailable(error.message) from None
            for secret in filter(None, (self.password, quote_text(self.password)[1:-1])):
                if secret in str(error):  # the server masks it; an old one may not
                    raise SourceError(f"{self.where}: {error.message.replace(secret, '***')}") from None
            raise

    def _unavailable(self, text: str) -> SourceUnavailable:
        said = " ".join(text.split())
        if self.password:
            said = said.replace(self.password, "***")
        if "password authentication failed" in said:
            return SourceUnavailable(f"{self.where} refused the sign-in", hint="check user and password of the dsn")
        if "Connection refused" in said:
            return SourceUnavailable(f"{self.where} refused the connection", hint="is the server up, and the port right?")
        return SourceUnavailable(f"{self.where} does not answer: {said[:300]}", hint="check the dsn and the server")


@dataclass(frozen=True)
class _Facts:
    """What was found out of a table: its SQL if it is a query, and per column the type it is made of, dimensions and NOT NULL."""

    query: str
    columns: dict[str, tuple[str, int, bool]]
    has_numbers: bool  # transaction numbers
    years: tuple[int, int]

    def held(self, base: str) -> str:
        """The condition that a time or day is one that the lake holds, without infinities."""
        first, last = f"{self.years[0]:04}-01-01", f"{self.years[1]:04}-12-31"
        if base == "date":
            return f"between date '{first}' and date '{last}'"
        zone = "+00" if "with time zone" in base else ""
        return f"between {_kind(base)} '{first} 00:00:00{zone}' and {_kind(base)} '{last} 23:59:59.999999{zone}'"

    def base(self, column: str) -> str:
        return self.columns[column][0]


# a domain is followed to the type it is made of
_DESCRIBE = """
select a.attname, format_type(a.atttypid, a.atttypmod), (
    with recursive made as (
        select t.oid, t.typtype, t.typbasetype, a.atttypmod as modifier, t.typtypmod, 0 as depth from pg_type t where t.oid = a.atttypid
        union all
        select t.oid, t.typtype, t.typbasetype, made.typtypmod, t.typtypmod, made.depth + 1
        from pg_type t join made on t.oid = made.typbasetype where made.typtype = 'd'
    ) select format_type(oid, modifier) from made order by depth desc limit 1
), a.attnotnull, a.attndims, a.attnum
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
# the unique indexes by their column numbers; those of a table whose children are read with it say nothing of the children's rows
_ABOUT_TABLE = """
select c.relkind, c.reltuples, c.oid, (
    select string_agg(array_to_string((i.indkey::int2[])[0:i.indnkeyatts - 1], ' '), ';') from pg_index i
    where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
        and (c.relkind = 'p' or not c.relhassubclass)
) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s
"""
_SNAPSHOT = "select (select oid from pg_database where datname = current_database())::text || ' ' || pg_current_snapshot()::text"
# Without the right to see them, transactions of other users show no beginning. One that is prepared began at an unknown time.
_OPEN_TRANSACTIONS = """
select
    (select min(xact_start) from pg_stat_activity where pid <> pg_backend_pid() and (datname = current_database() or datname is null)),
    (select count(*) from pg_stat_activity where pid <> pg_backend_pid() and query = '<insufficient privilege>')
        + (select count(*) from pg_prepared_xacts),
    (select count(*) from pg_locks where locktype = 'virtualxid' and pid is distinct from pg_backend_pid())
        + (select count(*) from pg_prepared_xacts),
    pg_is_in_recovery()
"""


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


_SIMPLE = {
    "smallint": "Int16", "integer": "Int32", "bigint": "Int64", "real": "Float32", "double precision": "Float64",
    "boolean": "Bool", "uuid": "UUID", "date": "Date32",
}  # fmt: skip
_IN_ARRAYS = ("Int16", "Int32", "Int64", "Float32", "Float64", "Bool", "UUID")


def _landed(base: str, dimensions: int) -> str:
    """The type, not Nullable, that a type of PostgreSQL lands as.

    >>> _landed("numeric(12,3)", 0), _landed("integer[]", 1), _landed("timestamp(3) with time zone", 0), _landed("inet", 0)
    ('Decimal(12, 3)', 'Array(Nullable(Int32))', "DateTime64(6, 'UTC')", 'String')
    """
    if base.endswith("[]"):
        inner = _landed(base[:-2], 0)
        return "String" if dimensions > 1 else f"Array(Nullable({inner if inner in _IN_ARRAYS else 'String'}))"
    if _is_time(base) and base != "date":
        return "DateTime64(6, 'UTC')"
    if numeric := re.fullmatch(r"numeric\((\d+),(-?\d+)\)", base):
        digits, scale = int(numeric[1]), int(numeric[2])
        return f"Decimal({digits}, {scale})" if 0 <= scale <= digits <= 76 else "Decimal(76, 38)"
    return "Decimal(76, 38)" if base == "numeric" else _SIMPLE.get(base, "String")


def _is_time(base: str) -> bool:
    return base == "date" or base.startswith("timestamp") and not base.endswith("[]")


def _is_ordered(base: str) -> bool:
    """Whether the server orders values of the type as the lake does."""
    return _is_time(base) or base in ("smallint", "integer", "bigint")


def _kind(base: str) -> str:
    return "date" if base == "date" else "timestamptz" if "with time zone" in base else "timestamp"


def _literal(mark: Watermark | None, base: str) -> str:
    """A watermark in PostgreSQL's words."""
    if mark is None:
        return "null"
    if isinstance(mark.value, dt.datetime):
        if base == "date":
            return f"date '{mark.value:%Y-%m-%d}'"
        return f"{_kind(base)} '{mark.text()}{'+00' if 'with time zone' in base else ''}'"
    return str(mark.value) if isinstance(mark.value, int) else _text(str(mark.value))


def _number(column: str, base: str) -> str:
    """A column as a whole number: a time in microseconds since 1970 in UTC, no value as 0."""
    name = _name(column)
    return f"coalesce((extract(epoch from {name}) * 1000000)::bigint, 0)" if _is_time(base) else f"coalesce({name}::bigint, 0)"


def _is_long(base: str) -> bool:
    """Numbers that come as text: the engine would cut their digits."""
    return _landed(base, 0) == "Decimal(76, 38)"


def _is_whole(column: SourceColumn, facts: _Facts) -> bool:
    return facts.base(column.name) in _SIMPLE and facts.base(column.name) != "date"


def _value(column: SourceColumn, facts: _Facts, writes_iso: bool) -> str:
    """The SQL of a value as the engine reads it from COPY; a value that the lake cannot hold makes the server refuse."""
    base, dimensions, _ = facts.columns[column.name]
    name = f"source.{_name(column.name)}"
    if base.endswith("[]") and dimensions <= 1:
        refusal = f"({_text(_REFUSED + ' ')} || {_text(column.name + ' ')} || {name}::text)::int::text"
        return f"case when array_ndims({name}) > 1 then {refusal} else array_to_json({name})::text end"
    if _is_time(base):
        at = f"({name} at time zone 'UTC')" if "with time zone" in base else name
        if not writes_iso:
            at = f"to_char({at}, 'YYYY-MM-DD{'' if base == 'date' else ' HH24:MI:SS.US'}')"
        kind = "date" if base == "date" else "timestamp"
        refusal = f"(({_text(_REFUSED + ' ')} || {_text(column.name + ' ')} || {name}::text)::{kind})"
        refusal += "" if writes_iso else "::text"
        return f"case when {name} {facts.held(base)} or {name} is null then {at} else {refusal} end"
    if _is_long(base):
        refusal = f"(({_text(_REFUSED + ' ')} || {_text(column.name + ' ')} || {name}::text)::numeric)::text"
        fits = f"scale({name}) <= 38 and abs({name}) < 1e38 or {name} is null"
        return f"case when {fits} then {name}::text else {refusal} end"
    if base == "bytea":
        return f"encode({name}, 'hex')"
    return f"{name}::text" if base.endswith("[]") else name


def _text_value(column: SourceColumn, facts: _Facts) -> str:
    """The SQL of a value as text, whatever it is."""
    base, dimensions, _ = facts.columns[column.name]
    name = f"source.{_name(column.name)}"
    if base.endswith("[]") and dimensions <= 1:
        return f"case when array_ndims({name}) > 1 then {name}::text else array_to_json({name})::text end"
    if _is_time(base):
        at = f"({name} at time zone 'UTC')" if "with time zone" in base else name
        form = "YYYY-MM-DD" if base == "date" else "YYYY-MM-DD HH24:MI:SS.US"
        return f"case when {name} {facts.held(base)} then to_char({at}, '{form}') else {name}::text end"
    if base == "bytea":
        return f"encode({name}, 'hex')"
    if base in ("inet", "boolean") or base.startswith("character("):  # a cast to text is another text than the one COPY writes
        return f"case when {name} is not null then format('%s', {name}) end"
    return f"{name}::text"


def _from_text(column: SourceColumn, facts: _Facts, value: str) -> str:
    """The engine's expression of the text that `Connector.rows` promises."""
    return f"unhex({value})" if facts.base(column.name) == "bytea" else value


def _cast(column: SourceColumn, facts: _Facts, value: str) -> str:
    """The engine's expression of a value that it read, in the type of the column. Fails when the value does not fit."""
    base, dimensions, not_null = facts.columns[column.name]
    natural = _landed(base, dimensions)
    if base.endswith("[]") and dimensions <= 1:
        read = f"JSONExtract(ifNull({value}, '[]'), {quote_text(natural)})"
        if "Float" in natural:  # NaN and infinities stand in JSON as texts
            texts = f"JSONExtract(ifNull({value}, '[]'), 'Array(Nullable(String))')"
            read = f"cast(arrayMap(x -> {natural[15:-2].replace('Float', 'toFloat')}(x), {texts}) as {natural})"
        return read if column.type == natural else f"accurateCast({read}, {quote_text(column.type)})"
    if base == "bytea":
        value = f"unhex({value})"
    if natural == "String" and bare(column.type) != "String":
        return strict_text(value, column.type)
    if column.type == f"Nullable({natural})":
        return value if _arrives_as(natural) else f"cast({value} as {column.type})"
    if column.type == natural and not_null:
        value = f"assumeNotNull({value})"
        return value if _arrives_as(natural) else f"cast({value} as {column.type})"
    if _is_time(base) and base != "date":
        value = f"cast({value} as Nullable(DateTime64(6, 'UTC')))"
    return f"accurateCast({value}, {quote_text(column.type)})"


def _arrives_as(natural: str) -> bool:
    """Whether the engine gives a value of the type by itself."""
    return not (natural in ("Bool", "Decimal(76, 38)") or natural.startswith("DateTime64"))


def _cast_copied(column: SourceColumn, facts: _Facts, value: str) -> str:
    """The engine's expression of a text of COPY, in the type of the column. Fails when it does not fit."""
    base, dimensions, _ = facts.columns[column.name]
    if _landed(base, dimensions).startswith("Array("):
        return _cast(column, facts, value)
    return strict_text(f"unhex({value})" if base == "bytea" else value, column.type)


def _refused(text: str) -> str:
    """What our own guard said, out of the server's message."""
    found = re.search(re.escape(_REFUSED) + r' ([^":]*)', text)
    return f"{_REFUSED} {found[1].strip() if found else ''}".strip()
