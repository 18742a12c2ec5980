"""The price tag: what reading current rows instead of physical ones will cost a statement, before it runs; then what it did cost.

What FINAL costs is overlap: where the key ranges of parts overlap, versions have to be merged while reading. How much that is says the
index of the parts. The rest is a small model of nanoseconds a row, which learns the speed of this machine from the
statements that were priced and run before.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import LakeError, QueryError
from workbench.lake.client import Lake
from workbench.lake.reads import VERSIONED_ENGINES, Read, plan_reads
from workbench.lake.sql import Column, create_replacing, key_names, quote

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PRICES_TABLE", "Overlap", "Price", "PricedRead", "PriceList", "overlap_of", "price", "prices", "run_priced"]

PRICES_TABLE = "skygraph.final_prices"

_COLUMNS = (
    Column("at", "DateTime64(3, 'UTC')"),
    Column("id", "String"),
    Column("statement", "String"),
    Column("tables", "Array(String)"),
    Column("rows", "UInt64"),
    Column("overlapping_rows", "UInt64"),
    Column("parts", "UInt32"),
    Column("model_ms", "Float64"),
    Column("predicted_ms", "Float64"),
    Column("predicted_raw_ms", "Float64"),
    Column("actual_ms", "Float64"),
    Column("_version", "UInt64"),
)
_KEPT_DAYS = 90
_LEARNT_FROM = 30  # the last statements that say how fast this machine is

# The model: milliseconds a statement and a part, nanoseconds a row. Fitted to benchmarks/final.py on two cores.
_STATEMENT_MS = 2.0
_PART_COLUMN_MS = 0.01  # opening a column of a part
_MERGED_PART_MS = 0.03
_PAGE_MS = {"raw": 1.0, "current": 2.5}  # the columns of a page are fetched once its keys are known
_COLUMN_NS, _BYTE_NS = 0.8, 0.15
_STEP_NS = {"Aggregating": 4.0, "Sorting": 16.0, "Filter": 1.0, "Window": 30.0, "Distinct": 10.0, "Join": 12.0}
_COUNT_NS = 0.05  # aggregating no column
_KEPT_NS = 0.1  # a row where parts do not overlap: its deletion flag is looked at
_MERGED_NS, _MERGED_BYTE_NS = 30.0, 0.3  # a row where they do, and each byte of its key
_GRANULE_ROWS = 8192
_IN_ORDER_GRANULES = 3  # what a page in key order reads of each part before it ends

_DEAR = 2.0  # times the raw read
_DEAR_MS = 50.0  # and at least so much more


@dataclass(frozen=True)
class Overlap:
    """How the parts of a table lie to each other. `rows` are physical; `overlapping_rows` lie in key ranges of several parts.

    Rows of parts that were never merged count as overlapping, as the engine merges them too. `depth` is how many parts a row's key
    range is in, on average.
    """

    rows: int
    overlapping_rows: int
    parts: int
    depth: float
    bytes_on_disk: int
    row_bytes: Mapping[str, float]
    key: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of rows in key ranges of several parts: 0 when reading current rows costs next to nothing."""
        return self.overlapping_rows / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures and `share`."""
        return {**self.__dict__, "key": list(self.key), "row_bytes": dict(self.row_bytes), "share": round(self.share, 4)}


# by client and table: which parts were looked at, and what their indexes said
_SEEN: weakref.WeakKeyDictionary[Lake, dict[str, tuple[int, Overlap]]] = weakref.WeakKeyDictionary()


def overlap_of(lake: Lake, table: str) -> Overlap | None:
    """How the parts of a versioned table overlap, from their indexes; None for a table of another kind. Milliseconds, reads no row.

    The indexes are read once for the parts that there are: while a table has the same parts, it is one short statement.
    """
    database, _, name = table.partition(".")
    bound = {"d": database, "t": name}
    facts = lake.rows(_PARTS, bound)
    if not facts or not facts[0]["engine"].startswith(VERSIONED_ENGINES):
        return None
    of = facts[0]
    seen = _SEEN.setdefault(lake, {})
    if table in seen and seen[table][0] == of["names"]:
        return seen[table][1]
    widths = lake.rows(_WIDTHS, bound)
    rows, parts = int(of["all_rows"]), int(of["part_count"])
    row_bytes = {str(c["column"]): float(c["width"]) for c in widths}
    key = tuple(key_names(of["primary_key"]))
    overlapping, depth = (0, 1.0) if parts < 2 else (rows, float(parts))
    if parts > 1 and key and rows:
        found = lake.rows(_OVERLAP.format(key=", ".join(map(quote, key))), bound)[0]
        counted = max(int(found["all_rows"]), 1)
        overlapping, depth = round(rows * int(found["overlapping"]) / counted), float(found["mean_depth"])
    overlap = Overlap(rows, max(overlapping, int(of["fresh"])), parts, depth, int(of["bytes"]), row_bytes, key)
    seen[table] = (of["names"], overlap)
    return overlap


_PARTS = """
select t.engine as engine, t.primary_key as primary_key, p.*
from system.tables as t cross join (
    select sum(rows) as all_rows, count() as part_count, sum(bytes_on_disk) as bytes, sumIf(rows, level = 0) as fresh,
        groupBitXor(cityHash64(uuid, name)) as names
    from system.parts where active and database = {d:String} and table = {t:String}
) as p
where t.database = {d:String} and t.name = {t:String}"""
_WIDTHS = """
select column, sum(column_data_uncompressed_bytes) / greatest(sum(rows), 1) as width
from system.parts_columns where active and database = {d:String} and table = {t:String} group by column"""

# Each part covers the key range from its first mark to its last; a granule overlaps when its first key is in the range of another part.
_OVERLAP = """
with
    marks as (select part_name, rows_in_granule as n, tuple({key}) as k from mergeTreeIndex({{d:String}}, {{t:String}})),
    parts as (select min(k) as lo, max(k) as hi from marks group by part_name)
select sum(n) as all_rows, sumIf(n, depth > 1) as overlapping, sum(n * depth) / greatest(sum(n), 1) as mean_depth
from (
    select n, sum(step) over (order by k, step desc rows between unbounded preceding and current row) as depth
    from (
        select k, n, toInt64(0) as step from marks where n > 0
        union all select lo, 0, 1 from parts
        union all select hi, 0, -1 from parts
    )
)"""


@dataclass(frozen=True)
class PricedRead:
    """A table of a statement: what is read of it, and what that costs raw and current, in milliseconds."""

    table: str
    parts: int
    rows: int
    overlapping_rows: int
    raw_ms: float
    current_ms: float
    of_table: Overlap

    def to_dict(self) -> dict[str, Any]:
        """The figures."""
        found = {name: value for name, value in self.__dict__.items() if name != "of_table"}
        return {**found, "raw_ms": round(self.raw_ms, 1), "current_ms": round(self.current_ms, 1)}


@dataclass(frozen=True)
class Price(Answer):
    """What a statement costs over current rows, and what the same over physical ones would, in milliseconds.

    `model_ms` is the model's figure before it is set to this machine's speed; `actual_ms` is what it took, None before it ran.
    """

    statement: str
    reads: tuple[PricedRead, ...]
    model_ms: float
    predicted_ms: float
    predicted_raw_ms: float
    actual_ms: float | None = None

    @property
    def times_raw(self) -> float:
        """The price of current rows as a multiple of the raw read."""
        return self.predicted_ms / max(self.predicted_raw_ms, 0.001)

    @property
    def is_dear(self) -> bool:
        """Whether current rows cost much more than raw ones."""
        return self.times_raw > _DEAR and self.predicted_ms - self.predicted_raw_ms > _DEAR_MS

    @property
    def off_by(self) -> float | None:
        """How far the prediction was off, as a factor of at least 1; None before it ran."""
        if self.actual_ms is None:
            return None
        return max(self.predicted_ms, self.actual_ms) / max(min(self.predicted_ms, self.actual_ms), 0.001)

    @property
    def advice(self) -> tuple[str, ...]:
        """When it is dear: for each table why, and the command that helps."""
        if not self.is_dear:
            return ()
        found = {}
        for read in self.reads:
            if read.overlapping_rows and read.current_ms - read.raw_ms > _DEAR_MS / 2:
                found[read.table] = (
                    f"{read.table}: {read.overlapping_rows:,} of {read.rows:,} rows lie in key ranges that several of {read.parts} parts "
                    f"share, so their versions are merged while reading; `skygraph optimize {read.table}` merges them once "
                    f"({read.of_table.bytes_on_disk / 1e6:,.0f} MB to rewrite)"
                )
        return tuple(found.values())

    def to_dict(self) -> Any:
        """All figures; times in milliseconds."""
        rounded = {n: None if v is None else round(v, 1) for n, v in self.__dict__.items() if n.endswith("_ms")}
        return {
            "statement": self.statement, "reads": [r.to_dict() for r in self.reads], **rounded, "times_raw": round(self.times_raw, 2),
            "is_dear": self.is_dear, "off_by": self.off_by and round(self.off_by, 2), "advice": list(self.advice),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """What is read; the price in a line; why it is dear and what helps."""
        if not self.reads:
            yield Note("it reads no table with versions: current rows cost nothing here", "good")
        else:
            rows = [[r.table, r.parts, r.rows, r.overlapping_rows, round(r.raw_ms, 1), round(r.current_ms, 1)] for r in self.reads]
            yield Grid(["table", "parts", "rows to read", "of them overlapping", "raw (ms)", "current (ms)"], rows)
        yield Note(self.words, "bad" if self.is_dear else "plain")
        for line in self.advice:
            yield Note(line)

    @property
    def words(self) -> str:
        """The price in one line."""
        said = (
            f"current rows: about {_ms(self.predicted_ms)}, {self.times_raw:.1f} times the {_ms(self.predicted_raw_ms)} of raw"
            if self.reads
            else f"about {_ms(self.predicted_ms)}"
        )
        return said if self.actual_ms is None else f"{said}; it took {_ms(self.actual_ms)}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def price(lake: Lake, sql: str, parameters: Mapping[str, Any] | None = None) -> Price:
    """What a SELECT over current rows will cost, beside the same over physical ones. Does not run it: a plan, the facts of the parts,
    and for parts that are new their indexes, some milliseconds each.

    Raises:
        UsageError, QueryError, LakeUnavailable: as `Lake.query`.
    """
    overlaps: dict[str, Overlap | None] = {}
    found: list[PricedRead] = []
    raw = now = _STATEMENT_MS
    for read in plan_reads(lake, sql, parameters):
        if read.table not in overlaps:
            overlaps[read.table] = _overlap(lake, read.table)
        overlap = overlaps[read.table]
        priced = _priced(read, overlap)
        raw, now = raw + priced.raw_ms, now + priced.current_ms
        if overlap is not None and overlap.rows:
            found.append(priced)
    speed = _speed(lake)
    scaled = tuple(replace(r, raw_ms=r.raw_ms * speed, current_ms=r.current_ms * speed) for r in found)
    return Price(sql.strip(), scaled, now, now * speed, raw * speed)


def _overlap(lake: Lake, table: str) -> Overlap | None:
    try:
        return overlap_of(lake, table)
    except QueryError:  # a viewer may not look at it
        return None


def _priced(read: Read, overlap: Overlap | None) -> PricedRead:
    """The cost of one reading, by the model."""
    of = overlap or Overlap(0, 0, read.parts, 1.0, 0, {}, ())
    granules = read.granules
    if read.limit is not None:
        granules = min(granules, read.parts * _IN_ORDER_GRANULES + read.limit // _GRANULE_ROWS)
    rows = round(granules * (of.rows / max(read.all_granules, 1) if overlap else _GRANULE_ROWS))
    # within a key range: all of what overlaps anywhere, if the range reaches into several parts
    overlapping = 0 if read.parts < 2 else min(rows, of.overlapping_rows)
    own = [c for c in read.columns if not c.startswith("_")]
    width = sum((of.row_bytes.get(c) or 8.0) for c in own)
    # rows that come in order of the key are not sorted
    steps = sum(ns for step, ns in _STEP_NS.items() if step in read.steps and not (step == "Sorting" and read.limit is not None))
    if not own and "Aggregating" in read.steps:
        steps += _COUNT_NS - _STEP_NS["Aggregating"]
    scan = rows * (len(own) * _COLUMN_NS + width * _BYTE_NS + steps) / 1e6
    opened = read.parts * max(len(own) + len(read.lazy), 1) * _PART_COLUMN_MS
    trivial = not own and not {"Filter"} & set(read.steps)  # a bare count: parts know it by themselves
    raw = 0.0 if trivial else scan + opened
    key_bytes = sum(of.row_bytes.get(c) or 8.0 for c in of.key)
    # single keys are picked before versions are merged: all versions of a key have the same one
    merged = 0.0 if read.is_point else overlapping * (_MERGED_NS + key_bytes * _MERGED_BYTE_NS) / 1e6
    kept = (rows - overlapping) * _KEPT_NS / 1e6
    page = {side: ms if read.limit is not None else 0.0 for side, ms in _PAGE_MS.items()}
    current = scan + opened + read.parts * _MERGED_PART_MS + merged + kept + page["current"]
    raw += page["raw"]
    if not (overlap and read.is_final):
        current = raw
    return PricedRead(read.table, read.parts, rows, overlapping, raw, current, of)


def _speed(lake: Lake) -> float:
    """This machine beside the model's: the median of actual by modelled time of the last statements; 1 before there are five."""
    if lake.is_read_only:
        return 1.0
    try:
        found = lake.query(f"select actual_ms / model_ms as f from {PRICES_TABLE} where model_ms > 0 order by at desc limit {_LEARNT_FROM}")
    except QueryError as error:
        if error.code in (60, 81):  # none was kept yet
            return 1.0
        raise
    factors = found.column(0).to_pylist()
    return statistics.median(factors) if len(factors) >= 5 else 1.0


def run_priced(lake: Lake, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[pa.Table, Price]:
    """Price a SELECT, run it over current rows, and keep predicted against actual in `skygraph.final_prices` for 90 days.

    A statement that reads no table with versions is not kept.

    Raises:
        UsageError, QueryError, LakeUnavailable: as `Lake.query`.
    """
    told = price(lake, sql, parameters)
    started = time.perf_counter()
    table = lake.query(sql, parameters)
    told = replace(told, actual_ms=(time.perf_counter() - started) * 1000)
    if told.reads and not lake.is_read_only:
        _keep(lake, told)
    return table, told


def _keep(lake: Lake, told: Price) -> None:
    if not lake.columns(PRICES_TABLE):
        lake.create_database("skygraph")
        ddl = create_replacing(
            PRICES_TABLE, _COLUMNS, key=["at", "id"], version="_version", placement=lake.placement,
            expires=f"toDateTime(at) + toIntervalDay({_KEPT_DAYS})",
        )  # fmt: skip
        lake.command(ddl, retry=True)
    now = dt.datetime.now(dt.timezone.utc)
    row = {
        "at": now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], "id": str(uuid.uuid4()), "statement": told.statement[:2000],
        "tables": sorted({r.table for r in told.reads}), "rows": sum(r.rows for r in told.reads),
        "overlapping_rows": sum(r.overlapping_rows for r in told.reads), "parts": sum(r.parts for r in told.reads),
        "model_ms": told.model_ms, "predicted_ms": told.predicted_ms, "predicted_raw_ms": told.predicted_raw_ms,
        "actual_ms": told.actual_ms, "_version": int(now.timestamp() * 1e6),
    }  # fmt: skip
    lake.insert_stream(PRICES_TABLE, iter([json.dumps(row).encode() + b"\n"]), "JSONEachRow")


@dataclass(frozen=True)
class PriceList(Answer):
    """Statements that were priced and run, newest first."""

    rows: tuple[Mapping[str, Any], ...]

    @property
    def within_twice(self) -> float | None:
        """The share of predictions within twice or half of what it took; None when there is none."""
        off = [max(r["predicted_ms"], r["actual_ms"]) / max(min(r["predicted_ms"], r["actual_ms"]), 0.001) for r in self.rows]
        return sum(o <= 2 for o in off) / len(off) if off else None

    def to_dict(self) -> Any:
        """The rows and the share within twice."""
        return {"prices": [dict(r) for r in self.rows], "within_twice": self.within_twice}

    def blocks(self) -> Iterator[Block]:
        """A grid, and how good the predictions were."""
        names = ("at", "tables", "rows", "overlapping_rows", "predicted_raw_ms", "predicted_ms", "actual_ms", "statement")
        titles = ["at", "tables", "rows", "overlapping", "raw (ms)", "predicted (ms)", "took (ms)", "statement"]
        yield Heading("predicted and actual price of current rows")
        shown = [
            [", ".join(v) if n == "tables" else round(v, 1) if n.endswith("_ms") else v for n in names for v in [r[n]]] for r in self.rows
        ]
        yield Grid(titles, shown, empty="no statement was priced yet: `skygraph sql SELECT --price`")
        if self.within_twice is not None:
            yield Note(f"{self.within_twice:.0%} of them within twice or half of what it took", "quiet")


def prices(lake: Lake, *, limit: int = 50) -> PriceList:
    """The statements that were priced and run last, newest first."""
    try:
        found = lake.rows(f"select * except (id, _version) from {PRICES_TABLE} order by at desc limit {int(limit)}")
    except LakeError as error:
        if getattr(error, "code", 0) in (60, 81):
            return PriceList(())
        raise
    return PriceList(tuple(found))
