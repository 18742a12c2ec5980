"""ClickHouse. The engine pulls by itself from the other server with its `remote` table function, over the native protocol.

What is sent is one SELECT, `remote(..., view(select ...))`: the span, FINAL and aggregates are worked out there. Tables whose
engine keeps more than the current rows until it merges (Replacing, Collapsing, Summing ...) are read FINAL, so that a
superseded row never arrives.

Types land as they are: Nullable stays, LowCardinality stays, a key column is not Nullable. A time keeps its instant and its
precision and is shown in UTC (`DateTime('Europe/Zurich')` lands as `DateTime('UTC')`). Columns are those of `select *`: for one
that is ALIAS or MATERIALIZED, or for what an aggregate state stands for, write a `query`.
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
from workbench.hermes.connector import SourceColumn, SourceTable, Span
from workbench.hermes.landing import DOES_NOT_FIT, strict_text
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text

# error numbers of a server that was not reached, or was lost: network, time, sign-in
_AWAY = {3, 32, 102, 159, 198, 209, 210, 236, 279, 425, 519}
# error numbers of a cast that a value does not fit: text, date, time, range, NULL, UUID, decimal, boolean, IP
_MISFITS = {6, 38, 41, 69, 70, 72, 321, 349, 376, 407, 441, 467, 675, 676}
_MISFIT_HINT = "correct it at the source, or give the column another type under `columns:`"
_HAS_VERSIONS = re.compile(r"(Replacing|Collapsing|Summing|Aggregating|Coalescing)MergeTree$")


@dataclass(frozen=True)
class Options:
    """`host`, `database`, `user` (default `default`), `password`, `secure` (yes or no), and the native `port` (9000, secure 9440)."""

    host: str
    database: str = "default"
    user: str = "default"
    password: str = ""
    port: str = ""
    secure: str = "no"


@dataclass(frozen=True)
class TableOptions:
    """`query`: a SELECT that is read instead of a table or view."""

    query: str = ""


class Connector:
    """One database of a ClickHouse server. It sends SELECT statements and nothing else."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        self.lake = lake
        self.secure = _flag(options.secure)
        self.host = options.host.removeprefix("[").removesuffix("]")
        if not self.host or re.search(r"[|{},\s/?#]", self.host) or self.host.count(":") == 1:
            raise SourceError(
                f"clickhouse: the host {options.host!r} is not one name or address",
                hint="the port stands in `port:`; one source is one server",
            )
        self.port = _port(options.port, 9440 if self.secure else 9000)
        self.database, self.user, self.password = options.database, options.user, options.password
        self._engines: dict[str, str] = {}
        self._queries: dict[str, str] = {}

    @property
    def where(self) -> str:
        """The source in words, without the password."""
        return f"clickhouse {self.user}@{self.host}:{self.port}/{self.database}"

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """See `Connector.describe`."""
        if query := self._parsed_query(options):
            with self._engine_errors():
                seen = self.lake.query(f"describe table {self._function(query)}", settings={"print_pretty_type_names": 0})
            facts = zip(seen.column("name").to_pylist(), seen.column("type").to_pylist(), strict=True)
            return SourceTable(table or "query", tuple(_described(str(n), str(t), key) for n, t in facts), options)
        found = self._ask(
            f"select engine, total_rows from system.tables where database = {quote_text(self.database)} and name = {quote_text(table)}"
        )
        if not found:
            known = self._ask(f"select name from system.tables where database = {quote_text(self.database)} and not is_temporary")
            raise UnknownName(f"table of {self.where}", table, [str(row["name"]) for row in known], hint=self._no_database(known))
        self._engines[table] = str(found[0]["engine"])
        rows = found[0]["total_rows"]
        columns = self._ask(
            f"select name, type from system.columns where database = {quote_text(self.database)} and table = {quote_text(table)} "
            "and default_kind not in ('ALIAS', 'MATERIALIZED', 'EPHEMERAL') order by position"
        )
        described = tuple(_described(str(row["name"]), str(row["type"]), key) for row in columns)
        return SourceTable(table, described, options, int(rows) if rows is not None else None)

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`."""
        kind, name = _mark_kind(table.column(column)), f"source.{quote(column)}"
        if not kind:
            return None
        top = f"toDateTime64(maxOrNull({name}), 6, 'UTC')" if kind == "time" else f"maxOrNull({name})"
        (row,) = self._ask(f"select toString({top}) as v from {self._from(table)}")
        if row["v"] is None:
            return None
        return Watermark.parse(kind, str(row["v"]))

    @contextmanager
    def rows(self, table: SourceTable, columns: Sequence[str], *, within: Span | None = None, as_text: bool = False) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        condition = _condition(table.column(within.column), within) if within is not None else ""
        names = ", ".join(f"source.{quote(c.name)} as {quote(c.name)}" for c in wanted)
        statement = f"select {names} from {self._from(table)}" + (f" where {condition}" if condition else "")
        body = ",\n    ".join(f"{_expression(c, as_text)} as {quote(c.name)}" for c in wanted)
        with self._engine_errors(misfits=not as_text):
            yield f"select\n    {body}\nfrom {self._function(statement)} as source"

    def close(self) -> None:
        """See `Connector.close`. The engine keeps no connection that is ours."""

    # --- speaking to the server

    def _function(self, statement: str) -> str:
        """The engine's table function over a SELECT; the lake masks its password in the query log."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = "remoteSecure" if self.secure else "remote"
        return f"{name}({quote_text(f'{host}:{self.port}')}, view({statement}), {quote_text(self.user)}, {quote_text(self.password)})"

    def _from(self, table: SourceTable) -> str:
        if query := self._parsed_query(table.options):
            return f"({query}) as source"
        if table.name not in self._engines:
            self.describe(table.name, key=())
        final = " final" if _HAS_VERSIONS.search(self._engines[table.name]) else ""
        return f"{quote(self.database)}.{quote(table.name)} as source{final}"

    def _parsed_query(self, options: Any) -> str:
        """The query of a table, as the engine reads it; empty for none.

        What is not one SELECT is refused before it stands beside a password: the lake keeps the text of a statement that it
        cannot parse as it is.
        """
        query = str(options.query).strip().rstrip(";") if options is not None else ""
        if not query:
            return ""
        if query not in self._queries:
            said = ""
            try:
                read = str(self.lake.scalar("select formatQuerySingleLine({q:String})", {"q": query}))
            except QueryError as error:
                read, said = "", re.split(r" \((?:line|end of query)|: In scope", error.message)[0][:300]
            if not re.match(r"\(*(SELECT|WITH|FROM)\b", read):
                raise SourceError(f"{self.where}: the query is not one SELECT: {said or query[:300]}", hint="check `query:` of the table")
            self._queries[query] = read
        return self._queries[query]

    def _ask(self, statement: str) -> list[dict[str, Any]]:
        with self._engine_errors():
            found: list[dict[str, Any]] = self.lake.query(f"select * from {self._function(statement)}").to_pylist()
            return found

    def _no_database(self, known: Sequence[Any]) -> str | None:
        if known or self._ask(f"select name from system.databases where name = {quote_text(self.database)}"):
            return None
        return f"that user sees no database {self.database!r} there"

    @contextmanager
    def _engine_errors(self, *, misfits: bool = False) -> Iterator[None]:
        """The engine's troubles with the source, as the source's. The casts of `rows` run there: with `misfits` they are told apart."""
        try:
            yield
        except LakeUnavailable as error:
            # the sign-in that was refused is the source's when the answer says that it came from there
            said = self._masked(str(error.__cause__ or ""))
            if getattr(error.__cause__, "code", None) in (516, 194) and self._from_there(said):
                raise self._sign_in() from None
            raise
        except QueryError as error:
            said = self._masked(error.message)
            if error.code in (516, 194) or "AUTHENTICATION_FAILED" in said:
                raise self._sign_in() from None
            if error.code in _AWAY and (error.code in (279, 519) or self._from_there(said) or f"{self.host}:{self.port}" in said):
                raise self._unavailable(said) from None
            if self._from_there(said):
                words = said.split("DB::Exception: ")[-1].split(": while executing")[0][:500]
                if misfits and (error.code in _MISFITS or DOES_NOT_FIT in said):
                    raise Misfit(f"{self.where}: {words}", hint=_MISFIT_HINT) from None
                hint = "grant SELECT on it to that user" if error.code == 497 else None
                raise SourceError(f"{self.where}: {words}", hint=hint) from None
            if self.password and self.password in str(error):
                raise QueryError(said, code=error.code, hint=error.hint) from None
            raise

    def _from_there(self, said: str) -> bool:
        return f"Received from {self.host}:{self.port}" in said or f"Received from [{self.host}]:{self.port}" in said

    def _sign_in(self) -> SourceUnavailable:
        return SourceUnavailable(f"{self.where} refused the sign-in", hint="check user and password")

    def _unavailable(self, said: str) -> SourceUnavailable:
        if "DNS_ERROR" in said or "Not found address of host" in said:
            return SourceUnavailable(f"{self.where}: the name {self.host!r} is not known to the lake's machine", hint="check the host")
        if "SSL" in said or "UNEXPECTED_PACKET" in said or "certificate" in said:
            return SourceUnavailable(
                f"{self.where} does not speak ClickHouse's native protocol {'with' if self.secure else 'without'} TLS there",
                hint="check `port:` (native, 9000 or with TLS 9440; not the HTTP one) and `secure:`",
            )
        if "Connection refused" in said:
            return SourceUnavailable(f"{self.where} refused the connection", hint="is the server up, and the port its native one?")
        return SourceUnavailable(f"{self.where} does not answer: {said[:300]}", hint="check the address and the server")

    def _masked(self, text: str) -> str:
        said = " ".join(text.split())
        for form in (self.password, quote_text(self.password)[1:-1]):
            said = said.replace(form, "***") if form else said
        return said


# --- options


def _flag(text: str) -> bool:
    word = str(text).strip().lower()
    if word not in ("yes", "no", "true", "false", "1", "0", "on", "off", ""):
        raise SourceError(f"clickhouse: secure is {text!r}", hint="write secure: yes or secure: no")
    return word in ("yes", "true", "1", "on")


def _port(text: str, default: int) -> int:
    if not text:
        return default
    if not str(text).isdigit() or not 0 < int(text) < 65536:
        raise SourceError(f"clickhouse: the port {text!r} is not a number from 1 to 65535", hint="9000 is ClickHouse's own native port")
    return int(text)


# --- spans


def _condition(column: SourceColumn, span: Span) -> str:
    """A condition that holds for at least the rows of the span; empty when it would not be the same there."""
    kind, name, parts = _mark_kind(column), f"source.{quote(column.name)}", []
    for sign, mark in ((">=", span.low), ("<", span.high)):
        if mark is None:
            continue
        if mark.kind != kind:
            return ""  # the column has another type in the lake than there: nothing is left out
        if not isinstance(mark.value, dt.datetime):
            parts.append(f"{name} {sign} {mark.value if isinstance(mark.value, int) else quote_text(mark.value)}")
        elif _bare(column.source_type) in ("Date", "Date32"):
            parts.append(f"{name} {'>=' if sign == '>=' else '<='} toDate32({quote_text(mark.value.date().isoformat())})")
        else:
            parts.append(f"{name} {sign} toDateTime64({quote_text(mark.text())}, 6, 'UTC')")
    if not parts:
        return "" if span.nulls else f"{name} is not null"
    within = " and ".join(parts)
    return f"({within}) or {name} is null" if span.nulls else within


# --- types


def _described(name: str, source_type: str, key: Sequence[str]) -> SourceColumn:
    """A column as it lands, from its type there."""
    landed = _landed(source_type)
    if name in key:
        landed = re.sub(r"^(LowCardinality\()?Nullable\((.*?)\)(\))?$", r"\1\2\3", landed)
    return SourceColumn(name, landed, source_type)


def _landed(source_type: str) -> str:
    """A type as it lands: its own, a time shown in UTC.

    >>> _landed("Nullable(DateTime64(3, 'Europe/Zurich'))"), _landed("DateTime"), _landed("LowCardinality(String)")
    ("Nullable(DateTime64(3, 'UTC'))", "DateTime('UTC')", 'LowCardinality(String)')
    """
    found = re.fullmatch(r"(Nullable\()?(?:DateTime(?:\('[^']*'\))?|DateTime64\((\d)(?:, '[^']*')?\))(\))?", source_type)
    if not found:
        return source_type
    inner = f"DateTime64({found[2]}, 'UTC')" if found[2] else "DateTime('UTC')"
    return f"{found[1] or ''}{inner}{found[3] or ''}"


def _bare(type_: str) -> str:
    """A type without LowCardinality and Nullable.

    >>> _bare("LowCardinality(Nullable(String))"), _bare("Nullable(Decimal(10, 2))")
    ('String', 'Decimal(10, 2)')
    """
    for around in ("LowCardinality(", "Nullable("):
        if type_.startswith(around):
            type_ = type_.removeprefix(around).removesuffix(")")
    return type_


def _mark_kind(column: SourceColumn) -> str:
    """`time`, `integer` or `text`: what a watermark of the column is, there and in the lake; empty when they differ."""

    def kind(type_: str) -> str:
        if type_.startswith("Date"):
            return "time"
        return "integer" if re.fullmatch(r"U?Int\d+", type_) else "text" if type_ == "String" else ""

    there, here = kind(_bare(column.source_type)), kind(_bare(column.type))
    return there if there == here else ""


def _expression(column: SourceColumn, as_text: bool) -> str:
    """The engine's expression for a column out of what came: of its type, or as text."""
    value, wanted, there = f"source.{quote(column.name)}", _bare(column.type), _bare(column.source_type)
    text = f"toString(toTimeZone({value}, 'UTC'))" if there.startswith("DateTime") else f"toString({value})"
    same = _bare(_landed(there)) == wanted
    if as_text:
        return f"cast({text} as Nullable(String))"
    if same:
        # the same type, or the same without Nullable: that cast fails on a NULL
        return value if column.type == column.source_type else f"cast({value}, {quote_text(column.type)})"
    if wanted == "String":
        return f"cast({text}, {quote_text(column.type)})"
    return strict_text(text, column.type)
