"""The error meter: how wrong an aggregate would be over physical rows, now and over time as merges go on."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import UsageError
from workbench.lake.client import Lake
from workbench.lake.reads import VERSIONED_ENGINES, table_facts
from workbench.lake.sql import Column, create_replacing, current, quote, quote_table

__all__ = ["METER_TABLE", "AggregateError", "ErrorMeter", "error_history", "measure_error"]

METER_TABLE = "skygraph.error_meter"

_COLUMNS = (
    Column("table", "String"),
    Column("aggregate", "String"),
    Column("measured_at", "DateTime64(3, 'UTC')"),
    Column("raw", "Nullable(Float64)"),
    Column("current", "Nullable(Float64)"),
    Column("physical_rows", "UInt64"),
    Column("current_rows", "UInt64"),
    Column("parts", "UInt32"),
    Column("_version", "UInt64"),
)
_KEPT_DAYS = 90
_MOST_COLUMNS = 20
_SHOWN = 12  # earlier measurements of an aggregate in an answer


@dataclass(frozen=True)
class AggregateError:
    """One aggregate both ways. `share` is (raw - current) / |current|: 0.106 is 10.6% too high; None where that is no number.

    `earlier` are measurements before this one, oldest first: `measured_at`, `share`, `parts`.
    """

    aggregate: str
    raw: Any
    current: Any
    share: float | None
    earlier: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether the two differ."""
        return bool(self.raw != self.current)

    @property
    def words(self) -> str:
        """What a read that forgot FINAL would say: `10.6% too high`, `right`, `different`."""
        return _words(self.share, self.is_wrong)

    def to_dict(self) -> dict[str, Any]:
        """The figures, `share` as a fraction of the current value, and `words`."""
        return {**self.__dict__, "earlier": [dict(e) for e in self.earlier], "words": self.words}


@dataclass(frozen=True)
class ErrorMeter(Answer):
    """Aggregates of a table over physical and over current rows, of one statement and so of one moment."""

    table: str
    measured_at: dt.datetime
    physical_rows: int
    current_rows: int
    parts: int
    aggregates: tuple[AggregateError, ...]

    @property
    def worst(self) -> AggregateError | None:
        """The aggregate that is wrong by the largest share; None when all are right."""
        wrong = [a for a in self.aggregates if a.is_wrong]
        return max(wrong, key=lambda a: abs(a.share) if a.share is not None else 0.0) if wrong else None

    def to_dict(self) -> Any:
        """All figures."""
        return {**self.__dict__, "aggregates": [a.to_dict() for a in self.aggregates]}

    def blocks(self) -> Iterator[Block]:
        """A grid of both values and what raw would be, in words; then how the worst of them went before."""
        yield Heading(f"{self.table}: {self.physical_rows:,} physical rows, {self.current_rows:,} current, {self.parts} part(s)")
        yield Grid(
            ["aggregate", "current", "raw", "raw would be"],
            [[a.aggregate, a.current, a.raw, a.words] for a in self.aggregates],
        )
        if self.worst is None:
            yield Note("nobody could be wrong here now: every aggregate is the same both ways", "good")
        told = self.worst or (self.aggregates[0] if self.aggregates else None)
        if told is not None and told.earlier:
            here = {"measured_at": self.measured_at, "share": told.share, "parts": self.parts, "is_wrong": told.is_wrong}
            yield Heading(f"{told.aggregate} over time, as merges go on")
            yield Grid(
                ["measured at", "parts", "raw would be"],
                [[e["measured_at"], e["parts"], _words(e["share"], bool(e.get("is_wrong")))] for e in (*told.earlier, here)],
            )


def _words(share: float | None, is_wrong: bool) -> str:
    if not is_wrong:
        return "right"
    if share is None:
        return "different"
    size = abs(share)
    text = f"{size:.0%}" if size >= 1 else f"{size:.1%}" if size >= 0.001 else f"{size:.2g} of it"
    return f"{text} too {'high' if share > 0 else 'low'}"


def measure_error(lake: Lake, table: str, aggregates: Sequence[str] = (), *, keep: bool = True) -> ErrorMeter:
    """Ask aggregates of a versioned table over physical and over current rows, both in one statement.

    Without `aggregates`: the count, and the sum of each numeric column that is no part of the key and no `..._id` (the first 20). The
    measurement is kept in `skygraph.error_meter` for 90 days, unless the lake is read-only or `keep` is off; earlier ones are in the
    answer.

    Raises:
        UnknownName: there is no such table; names the nearest.
        UsageError: the table keeps no versions, or an aggregate is not one expression.
        QueryError: an aggregate names a column that is not there, or is no aggregate.
    """
    from workbench.lake.statement import one_expression

    facts = table_facts(lake, table)
    if not facts["engine"].startswith(VERSIONED_ENGINES):
        raise UsageError(f"{table} is a {facts['engine']}: it keeps no versions of its rows", hint="measure a table of raw")
    asked = [one_expression(a) for a in aggregates] or _usual(lake.columns(table), lake.key(table))

    def side(prefix: str, relation: str) -> str:
        picked = ", ".join([f"count() as {prefix}n", *(f"{a} as {prefix}{n}" for n, a in enumerate(asked))])
        return f"(select {picked} from {relation})"

    database, _, name = table.partition(".")
    parts = "(select count() from system.parts where active and database = {d:String} and table = {t:String})"
    statement = f"select *, {parts} as parts from {side('raw_', quote_table(table))} as r cross join {side('now_', current(table))} as c"
    measured_at = dt.datetime.now(dt.timezone.utc)
    row = lake.rows(statement, {"d": database, "t": name}, history=True)[0]
    earlier = error_history(lake, table)
    found = []
    for n, text in enumerate(asked):
        raw, now, said = row[f"raw_{n}"], row[f"now_{n}"], text.replace("`", "")
        found.append(AggregateError(said, raw, now, _share(raw, now), tuple(earlier.get(said, ())[-_SHOWN:])))
    meter = ErrorMeter(table, measured_at, int(row["raw_n"]), int(row["now_n"]), int(row["parts"]), tuple(found))
    if keep and not lake.is_read_only:
        _keep(lake, meter)
    return meter


def error_history(lake: Lake, table: str) -> dict[str, list[dict[str, Any]]]:
    """By aggregate, what was measured of a table before: `measured_at`, `parts`, `share`, `is_wrong`; oldest first."""
    if lake.is_read_only or not lake.columns(METER_TABLE):
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in lake.rows(
        f"select aggregate, measured_at, raw, current, parts from {METER_TABLE} where table = {{t:String}} order by measured_at",
        {"t": table},
    ):
        raw, now = row["raw"], row["current"]
        known = {"measured_at": row["measured_at"], "parts": row["parts"], "share": _share(raw, now), "is_wrong": raw != now}
        found.setdefault(row["aggregate"], []).append(known)
    return found


def _usual(columns: Mapping[str, str], key: Sequence[str]) -> list[str]:
    """The count, and the sums of the columns that are amounts: numbers that are no key, no `..._id` and not our own."""
    number = re.compile(r"(Nullable\(|LowCardinality\()*(U?Int\d+|Float\d+|Decimal)")
    named = [
        c
        for c, kind in columns.items()
        if number.match(kind) and c not in key and not c.startswith("_") and not re.fullmatch(r"(.*_)?id", c, re.I)
    ]
    return ["count()", *(f"sum({quote(c)})" for c in named[:_MOST_COLUMNS])]


def _share(raw: Any, now: Any) -> float | None:
    """The relative error; None where it is no number."""
    numbers = (int, float, Decimal)
    if not isinstance(raw, numbers) or not isinstance(now, numbers) or not now or raw != raw or now != now:
        return None
    return (float(raw) - float(now)) / abs(float(now))


def _keep(lake: Lake, meter: ErrorMeter) -> None:
    """Write the measurement; values that are no numbers as null."""
    if not lake.columns(METER_TABLE):
        lake.create_database("skygraph")
        ddl = create_replacing(
            METER_TABLE, _COLUMNS, key=["table", "aggregate", "measured_at"], version="_version", placement=lake.placement,
            expires=f"toDateTime(measured_at) + toIntervalDay({_KEPT_DAYS})",
        )  # fmt: skip
        lake.command(ddl, retry=True)
    at = meter.measured_at
    rows = [
        {
            "table": meter.table, "aggregate": a.aggregate, "measured_at": at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            "raw": _number(a.raw), "current": _number(a.current), "physical_rows": meter.physical_rows,
            "current_rows": meter.current_rows, "parts": meter.parts, "_version": int(at.timestamp() * 1e6),
        }
        for a in meter.aggregates
    ]  # fmt: skip
    lake.insert_stream(METER_TABLE, iter(["".join(json.dumps(row) + "\n" for row in rows).encode()]), "JSONEachRow")


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, (int, float, Decimal)) else None
    return number if number is not None and abs(number) != float("inf") and number == number else None
