"""PostgreSQL. The engine pulls by itself with COPY, the watermark pushed down; what is to be known is asked with psycopg.

Types land as the engine maps them (numeric(p, s) as Decimal(p, s), uuid as UUID, arrays as Array, date as Date32), with
timestamps in UTC and bool as Bool; what it has no type for (json, inet, interval ...) lands as its text. The session's zone is UTC
on both sides.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.errors import QueryError, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import SourceColumn, SourceTable
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text

_READ_FROM_DSN = {"host", "port", "user", "password", "dbname"}


@dataclass(frozen=True)
class Options:
    """`dsn`: postgresql://user:${NAME}@host:5432/database, the password from the environment. `schema`: default public."""

    dsn: str
    schema: str = "public"


class Connector:
    """One database of a PostgreSQL server, read in read-only transactions."""

    options_class: ClassVar[type] = Options

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        self.options = options
        self.lake = lake
        self._open: Any = None
        self._is_utc = False
        try:
            parts = conninfo_to_dict(options.dsn)
        except psycopg.Error:
            # the text may hold a password: it is not repeated
            raise SourceError(
                "the dsn of a postgres source is not an address", hint="write postgresql://user:${NAME}@host:5432/database"
            ) from None
        if unread := sorted(set(parts) - _READ_FROM_DSN):
            raise SourceError(
                f"the dsn of a postgres source has {unread[0]}, which is not read",
                hint="leave it out: the engine and the driver negotiate TLS as the server offers it",
            )
        self.host = str(parts.get("host") or "localhost")
        self.port = int(str(parts.get("port") or 5432))
        self.user = str(parts.get("user") or "postgres")
        self.password = str(parts.get("password") or "")
        self.database = str(parts.get("dbname") or self.user)

    @property
    def where(self) -> str:
        """The source in words, without the password."""
        return f"postgres {self.user}@{self.host}:{self.port}/{self.database}"

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str]) -> SourceTable:
        """See `Connector.describe`."""
        schema, name = self._split(table)
        facts = self._read(
            "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull from pg_attribute a "
            "join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped order by a.attnum",
            (schema, name),
        )
        if not facts:
            known = self._read("select table_name from information_schema.tables where table_schema = %s", (schema,))
            raise UnknownName(f"table of {self.where}", table, [str(n) for (n,) in known])
        self._refuse_names(table)
        if any(source_type.endswith("with time zone") for _, source_type, _ in facts):
            self._require_utc()
        with self._engine_errors():
            seen = self.lake.query(f"describe table {self._function(table)}")
        engine = dict(zip(seen.column("name").to_pylist(), seen.column("type").to_pylist(), strict=True))
        columns = []
        for column, source_type, not_null in facts:
            base = _type_of(source_type, _bare(engine[column]))
            nullable = not (not_null or column in key or base.startswith("Array("))
            columns.append(SourceColumn(column, f"Nullable({base})" if nullable else base, source_type))
        return SourceTable(table, tuple(columns))

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`."""
        from psycopg import sql

        schema, name = self._split(table.name)
        # texts in the order of the lake: a language's own would put rows behind the mark
        top = 'max({}::text collate "C")' if _bare(table.column(column).type) == "String" else "max({})"
        statement = sql.SQL(f"select {top} from {{}}").format(sql.Identifier(column), sql.Identifier(schema, name))
        ((value,),) = self._read(statement)
        if value is None:
            return None
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            value = dt.datetime(value.year, value.month, value.day)
        return Watermark(value if isinstance(value, (dt.datetime, int)) else str(value))

    @contextmanager
    def rows(self, table: SourceTable, columns: Sequence[str], *, watermark: str = "", since: Watermark | None = None) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        body = ",\n    ".join(f"{_engine_expression(c)} as {quote(c.name)}" for c in wanted)
        where = ""
        self._refuse_names(table.name, *columns)
        if since is not None and since.kind != "text":  # the server compares texts by the rules of their language
            column = f"source.{quote(watermark)}"
            at = since.text() if since.kind == "integer" else f"toDateTime64({quote_text(since.text())}, 6, 'UTC')"
            where = f"\nwhere {column} >= {at} or {column} is null"
        with self._engine_errors():
            yield f"select\n    {body}\nfrom {self._function(table.name)} as source{where}"

    def close(self) -> None:
        """See `Connector.close`."""
        if self._open is not None:
            self._open.close()
            self._open = None

    # --- speaking to the server

    def _split(self, table: str) -> tuple[str, str]:
        schema, dot, name = table.partition(".")
        return (schema, name) if dot else (self.options.schema, table)

    def _function(self, table: str) -> str:
        """The engine's table function; the server masks its password in the query log."""
        schema, name = self._split(table)
        arguments = (f"{self.host}:{self.port}", self.database, name, self.user, self.password, schema)
        return f"postgresql({', '.join(quote_text(a) for a in arguments)})"

    def _refuse_names(self, table: str, *columns: str) -> None:
        """The engine quotes some names in a way that the server does not read."""
        for name in (self.options.schema, table, *columns):
            if re.search(r'["\\\x00-\x1f]', name):
                raise SourceError(
                    f"{self.where}: the name {name!r} has a double quote, a backslash or a control character",
                    hint="make a view with plain names at the source, or drop the column under `columns:`",
                )

    def _require_utc(self) -> None:
        """An instant comes to the engine as the text of the session's zone: only in UTC is that the time it lands as.

        `SHOW timezone` cannot be asked through the engine; so both sides are asked when this connection began.
        """
        if self._is_utc:
            return
        ((pid, began),) = self._read("select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()")
        with self._engine_errors():
            seen = self.lake.scalar(f"select backend_start from {self._function('pg_catalog.pg_stat_activity')} where pid = {int(pid)}")
        if seen is not None and (shift := seen - began):
            raise SourceError(
                f"{self.where}: the lake's sessions there are not in UTC but {shift / dt.timedelta(hours=1):+g} hours off, and "
                "timestamps with time zone would be shifted by that",
                hint="set PGTZ=UTC in the environment of the ClickHouse server",
            )
        self._is_utc = True

    def _read(self, statement: Any, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import psycopg

        try:
            if self._open is None:
                self._open = psycopg.connect(
                    host=self.host, port=self.port, user=self.user, password=self.password, dbname=self.database,
                    connect_timeout=10, autocommit=True, options="-c timezone=UTC -c default_transaction_read_only=on",
                )  # fmt: skip
            return self._open.execute(statement, parameters or None).fetchall()  # type: ignore[no-any-return]
        except psycopg.OperationalError as error:
            self.close()
            raise self._unavailable(str(error)) from None
        except psycopg.Error as error:
            raise SourceError(f"{self.where}: {' '.join(str(error).split())}") from error

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        """The engine's troubles with the source, as the source's."""
        try:
            yield
        except QueryError as error:
            if error.code == 614:
                raise self._unavailable(error.message) from None
            if self.password and self.password in str(error):  # the server masks it; an old one may not
                raise SourceError(f"{self.where}: {error.message.replace(self.password, '***')}") from None
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


def _bare(type_: str) -> str:
    return type_.removeprefix("Nullable(").removesuffix(")") if type_.startswith("Nullable(") else type_


def _type_of(source_type: str, engine_type: str) -> str:
    if source_type.startswith("timestamp") and not source_type.endswith("[]"):
        return "DateTime64(6, 'UTC')"
    return "Bool" if source_type == "boolean" else engine_type


def _engine_expression(column: SourceColumn) -> str:
    name = f"source.{quote(column.name)}"
    if "DateTime64" in column.type and not _bare(column.type).startswith("Array("):
        return f"cast(toTimeZone({name}, 'UTC') as {column.type})"
    return f"accurateCast({name}, {quote_text(column.type)})"
