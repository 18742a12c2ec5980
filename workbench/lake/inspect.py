"""What a table is made of: current against physical rows, keys with several versions, deleted keys, columns, what FINAL costs.

Everything here reads; each function is one question, so that a surface asks only what is looked at. A view, a table whose engine keeps
no versions, and one without a key get the part of the answer that there is.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import QueryError, UnknownName, UsageError
from workbench.lake.client import Lake, reads_within
from workbench.lake.sql import current, join_key, quote, quote_table, quote_text, split_key, split_list
from workbench.lake.types import to_rows

__all__ = [
    "KeyVersions",
    "TableFacts",
    "TableShape",
    "Tombstones",
    "busiest_keys",
    "inspect_table",
    "is_nested",
    "key_kinds",
    "key_values",
    "key_versions",
    "read_shape",
    "read_tombstones",
    "unknown_key",
    "without_null",
]

# engines of the MergeTree family that put the rows of a key together in merges, and read them together under FINAL
_MERGING = ("Replacing", "Collapsing", "Summing", "Aggregating", "Coalescing", "Graphite")
_VIEW_S = 20.0  # a view is counted for so long at most
_AGAIN_S = 0.3  # a count that took less is taken a second time, with warm caches
_NEAR_ROWS = 200_000  # keys among which a near one is looked for
_SPILL = {"max_bytes_before_external_group_by": 1 << 30}


@dataclass(frozen=True)
class TableShape:
    """What the catalogue says of a table.

    `key` are expressions of the sorting key, as SQL. `version` and `deleted` are the columns that a ReplacingMergeTree was given for
    them, '' for none. `merges` tells whether the engine puts the rows of a key together. `columns` have `name`, `type`, `default`,
    `comment`, `in_key`, and `compressed` and `uncompressed` bytes. `reads` are the tables that a view names.
    """

    table: str
    engine: str
    key: tuple[str, ...]
    version: str
    deleted: str
    partition: str
    comment: str
    bytes_on_disk: int
    ddl: str
    columns: tuple[dict[str, Any], ...]
    reads: tuple[str, ...] = ()

    @property
    def merges(self) -> bool:
        """Whether several physical rows of a key can stand for one current row."""
        return any(word in self.engine for word in _MERGING)

    @property
    def is_view(self) -> bool:
        """Whether it has no rows of its own, but those of other tables: a view, or a Distributed, Merge or Buffer table."""
        return "View" in self.engine or self.engine in ("Distributed", "Merge", "Buffer")

    @property
    def names(self) -> list[str]:
        """Its columns, in order."""
        return [c["name"] for c in self.columns]

    def to_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.__dict__, "key": list(self.key), "columns": list(self.columns), "reads": list(self.reads), "is_view": self.is_view,
            "merges": self.merges,
        }  # fmt: skip


def read_shape(lake: Lake, table: str) -> TableShape:
    """Engine, key, columns and DDL of a table or view: two catalogue reads.

    Raises:
        UnknownName: there is no such table; names the nearest.
    """
    database, _, name = table.partition(".")
    bound = {"d": database, "t": name}
    found = lake.rows(
        "select engine, engine_full, sorting_key, partition_key, comment, ifNull(total_bytes, 0) as size, as_select, "
        "formatQueryOrNull(create_table_query) as pretty, create_table_query as ddl "
        "from system.tables where database = {d:String} and name = {t:String}",
        bound,
    )
    if not found:
        raise lake.unknown_table(table)
    (row,) = found
    columns = lake.rows(
        "select name, type, default_expression as default, comment, toBool(is_in_sorting_key) as in_key, "
        "data_compressed_bytes as compressed, data_uncompressed_bytes as uncompressed "
        "from system.columns where database = {d:String} and table = {t:String} order by position",
        bound,
    )
    given = [a for a in split_list(_arguments(row["engine_full"])) if not a.startswith("'")] if "Replacing" in row["engine"] else []
    version, deleted = ([*(g.strip("`") for g in given), "", ""])[:2]
    reads: tuple[str, ...] = ()
    if row["as_select"]:
        known = lake.rows("select concat(database, '.', name) as name from system.tables where database not in ('system')")
        said = str(row["as_select"]).replace("`", "")
        reads = tuple(sorted({k["name"] for k in known if re.search(rf"(?<![\w.]){re.escape(k['name'])}(?!\w)", said)} - {table}))
    return TableShape(
        table, row["engine"], tuple(split_list(row["sorting_key"])), version, deleted, row["partition_key"], row["comment"],
        int(row["size"]), row["pretty"] or row["ddl"], tuple(columns), reads,
    )  # fmt: skip


def _arguments(engine: str) -> str:
    """What stands between the first parentheses.

    >>> _arguments("ReplacingMergeTree(_version, _deleted) ORDER BY (a, b)"), _arguments("MergeTree ORDER BY a")
    ('_version, _deleted', '')
    """
    match = re.match(r"\w+\(((?:'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[^()'`])*)\)", engine)
    return match[1] if match else ""


@dataclass(frozen=True)
class TableFacts(Answer):
    """A table's rows now. `seconds_*` are of the same count, over current and over physical rows, the quicker of two looks.

    `keys` and `deleted_keys` are None where there is no key that makes rows the same. For a view the physical rows are those that it
    gives when nothing under it is read FINAL; both counts are None when they took too long.
    """

    table: str
    engine: str
    key: tuple[str, ...]
    current_rows: int | None
    physical_rows: int | None
    keys: int | None
    deleted_keys: int | None
    parts: int
    bytes_on_disk: int
    seconds_current: float
    seconds_raw: float
    is_view: bool = False
    merges: bool = True
    reads: tuple[str, ...] = ()

    @property
    def superseded_rows(self) -> int | None:
        """Physical rows that are not current: older versions, and the tombstones of deleted keys."""
        return None if self.physical_rows is None or self.current_rows is None else self.physical_rows - self.current_rows

    def to_dict(self) -> Any:
        """All figures; sizes in bytes, times in seconds."""
        return {**self.__dict__, "key": list(self.key), "reads": list(self.reads), "superseded_rows": self.superseded_rows}

    def blocks(self) -> Iterator[Block]:
        """The figures, then in words what forgetting FINAL would cost."""
        key = f", key ({', '.join(self.key)})" if self.key else ""
        yield Heading(f"{self.table}: {self.engine}{key}")
        times = [("current", self.current_rows, self.seconds_current), ("physical", self.physical_rows, self.seconds_raw)]
        figures: list[list[Any]] = [[name, rows, round(seconds * 1000, 1)] for name, rows, seconds in times]
        if self.superseded_rows is not None:
            figures.append(["superseded or deleted", self.superseded_rows, None])
        if self.deleted_keys is not None:
            figures.append(["deleted keys", self.deleted_keys, None])
        yield Grid(["", "rows", "count took (ms)"], figures)
        if not self.is_view:
            yield Note(f"{self.parts} part(s), {self.bytes_on_disk:,} bytes on disk", "quiet")
        yield Note(*self.verdict)

    @property
    def verdict(self) -> tuple[str, Any]:
        """In words what a read that forgot FINAL would get, and the tone of it."""
        if self.current_rows is None:
            return f"counting it took longer than {_VIEW_S:.0f} seconds", "quiet"
        under = f"; it reads {', '.join(self.reads)}" if self.reads else ""
        if self.is_view and self.superseded_rows:
            return f"a count that forgot FINAL under this {self.engine} would say {self.physical_rows:,}{under}", "bad"
        if self.is_view:
            return f"a {self.engine}: it gives the same number of rows with and without FINAL now{under}", "quiet"
        if not self.merges:
            return f"a {self.engine} keeps every row as it was written: there are no versions, and FINAL is not needed", "quiet"
        if not self.current_rows:
            return "no current row", "quiet"
        if self.superseded_rows:
            return f"a count that forgot FINAL would be {self.superseded_rows / self.current_rows:.2%} too high", "plain"
        return "every physical row is current: FINAL changes nothing here now", "good"


def inspect_table(lake: Lake, table: str, *, shape: TableShape | None = None) -> TableFacts:
    """Count a table both ways. Reads key columns only; writes nothing.

    Raises:
        UnknownName: there is no such table; names the nearest.
    """
    shape = shape or read_shape(lake, table)
    if shape.is_view:
        return _view_facts(lake, shape)
    database, _, name = table.partition(".")
    parts = lake.scalar(
        "select count() from system.parts where database = {d:String} and table = {t:String} and active", {"d": database, "t": name}
    )
    raw = quote_table(table)
    keys = ", ".join(shape.key) or "1"
    counted = f"select count() from (select {keys} from {{}})"
    distinct: int | None = None
    deleted: int | None = None
    if shape.merges:
        rows, seconds = _timed(lake, counted.format(current(table)))
        physical, seconds_raw = _timed(lake, counted.format(raw))
        deleted = _count_deleted(lake, shape) if shape.deleted else 0
        distinct = rows + deleted if "Replacing" in shape.engine else None
    else:
        physical, seconds_raw = _timed(lake, counted.format(raw))
        rows, seconds = physical, seconds_raw
    return TableFacts(
        table, shape.engine, shape.key, rows, physical, distinct, deleted, int(parts), shape.bytes_on_disk, seconds, seconds_raw,
        merges=shape.merges,
    )  # fmt: skip


def _timed(lake: Lake, sql: str, read: Callable[[str], Any] | None = None) -> tuple[int, float]:
    """A count and its seconds: a quick one is taken twice, and the quicker one told."""
    least = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        rows = int((read or lake.query_history)(sql).column(0)[0].as_py())
        seconds = time.perf_counter() - started
        least = min(least, seconds)
        if seconds > _AGAIN_S:
            break
    return rows, least


def _view_facts(lake: Lake, shape: TableShape) -> TableFacts:
    sql = f"select count() from (select * from {quote_table(shape.table)})"
    rows: int | None = None
    physical: int | None = None
    seconds = seconds_raw = 0.0
    try:
        with reads_within(_VIEW_S):
            rows, seconds = _timed(lake, sql, lake.query)
            physical, seconds_raw = _timed(lake, sql)
    except QueryError as error:
        if error.code != 159:  # not the time that it took
            raise
        rows = physical = None
    return TableFacts(
        shape.table, shape.engine, (), rows, physical, None, None, 0, 0, seconds, seconds_raw, is_view=True, merges=False, reads=shape.reads
    )


def _count_deleted(lake: Lake, shape: TableShape) -> int:
    """Keys whose newest row is a tombstone: only keys that have one are looked at."""
    keys, raw = ", ".join(shape.key), quote_table(shape.table)
    deleted, version = quote(shape.deleted), quote(shape.version)
    found = lake.query_history(
        f"select count() from (select 1 from {raw} where ({keys}) in (select {keys} from {raw} where {deleted} = 1) "
        f"group by {keys} having argMax({deleted}, {version}) = 1)",
        settings={**_SPILL, "transform_null_in": 1},
    )
    return int(found.column(0)[0].as_py())


@dataclass(frozen=True)
class Tombstones(Answer):
    """Physical rows that mark a deleted key. `bytes_on_disk` is their share of their parts; `oldest` when the first one was written."""

    table: str
    rows: int
    parts: int
    bytes_on_disk: int
    oldest: dt.datetime | None

    def to_dict(self) -> Any:
        """The figures."""
        return dict(self.__dict__)

    def blocks(self) -> Iterator[Block]:
        """One line."""
        if not self.rows:
            yield Note("no tombstone: nothing was deleted, or a cleanup took it", "quiet")
            return
        since = f", the oldest of {self.oldest:%Y-%m-%d %H:%M}" if self.oldest else ""
        yield Note(f"{self.rows:,} tombstone(s) in {self.parts} part(s), about {self.bytes_on_disk:,} bytes{since}")


def read_tombstones(lake: Lake, table: str, *, shape: TableShape | None = None) -> Tombstones:
    """The tombstones of a table; none where its engine has no column for them. Reads that column, and the time where there is one."""
    shape = shape or read_shape(lake, table)
    if not shape.deleted:
        return Tombstones(table, 0, 0, 0, None)
    database, _, name = table.partition(".")
    deleted = quote(shape.deleted)
    at = "toDateTime64(`_synced_at`, 3, 'UTC')" if "_synced_at" in shape.names else "cast(null as Nullable(DateTime64(3, 'UTC')))"
    found = lake.rows(
        "select sum(n) as rows, count() as parts, sum(n * p.bytes_on_disk / p.rows) as size, min(oldest) as oldest from ("
        f"select _part as part, countIf({deleted} = 1) as n, minIf({at}, {deleted} = 1) as oldest from {quote_table(table)} "
        "group by _part having n > 0) as t left join (select name, bytes_on_disk, rows from system.parts "
        "where database = {d:String} and table = {t:String} and active) as p on p.name = t.part",
        {"d": database, "t": name},
        history=True,
    )[0]
    size = found["size"] or 0.0
    size = int(size) if size == size and size != float("inf") else 0  # its part was merged away between the two looks
    rows = int(found["rows"] or 0)
    return Tombstones(table, rows, int(found["parts"]), size, found["oldest"] if rows else None)


@dataclass(frozen=True)
class KeyVersions(Answer):
    """Every physical row of one key, oldest version first. `parts` tells, row by row, the part that it lies in."""

    table: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    parts: tuple[str, ...] = field(default=())

    def to_dict(self) -> Any:
        """The rows as objects."""
        return {"table": self.table, "key": self.key, "versions": list(self.rows)}

    def blocks(self) -> Iterator[Block]:
        """A grid of the versions."""
        yield Heading(f"{self.table}, key {self.key}: {len(self.rows)} version(s)")
        yield Grid(self.columns, [[row[c] for c in self.columns] for row in self.rows])


def busiest_keys(lake: Lake, table: str, *, limit: int = 50, shape: TableShape | None = None) -> list[dict[str, Any]]:
    """The keys with most physical rows: `key` as text, `versions`, and `deleted`, whether the newest is a tombstone.

    Keys with one row are left out.

    Raises:
        UsageError: the table has no key that makes rows the same.
    """
    shape = shape or read_shape(lake, table)
    _keyed(shape)
    keys = ", ".join(shape.key)
    texts = ", ".join(f"ifNull(toString({k}), 'NULL')" for k in shape.key)
    dead = f"argMax({quote(shape.deleted)}, {quote(shape.version)}) = 1" if shape.deleted else "false"
    found = lake.query_history(
        f"select [{texts}] as `skygraph key`, count() as `skygraph versions`, toBool({dead}) as `skygraph deleted` "
        f"from {quote_table(table)} group by {keys} having `skygraph versions` > 1 "
        f"order by `skygraph versions` desc, {keys} limit {int(limit)}",
        settings=_SPILL,
    ).to_pylist()
    return [
        {"key": join_key(row["skygraph key"]), "versions": int(row["skygraph versions"]), "deleted": bool(row["skygraph deleted"])}
        for row in found
    ]


def _keyed(shape: TableShape) -> None:
    if not shape.merges or not shape.key:
        what = f"a {shape.engine}: it keeps no rows of its own" if shape.is_view else f"a {shape.engine}: it keeps no versions of its rows"
        under = [r for r in shape.reads if r.startswith("raw.")]
        hint = f"inspect what it reads: {', '.join(under or shape.reads)}" if shape.reads else "inspect a table of raw"
        raise UsageError(f"{shape.table} is {what}", hint=hint)


def key_values(shape: TableShape, key: str) -> list[str]:
    """The values of a key that a person wrote, as texts: those of a compound key stand between commas, in double quotes where needed.

    Raises:
        UsageError: the key has another number of parts, or the table has none.
    """
    _keyed(shape)
    values = split_key(key, len(shape.key))
    if values is None:
        raise UsageError(
            f"the key of {shape.table} is ({', '.join(shape.key)}), not {key[:200]!r}",
            hint='separate its values by commas; put one that has a comma between double quotes: "a,b",5',
        )
    return values


def key_kinds(lake: Lake, shape: TableShape) -> list[str]:
    """The types of the key's expressions."""
    return [
        str(kind)
        for kind in lake.query(f"describe (select {', '.join(shape.key)} from {quote_table(shape.table)})").column("type").to_pylist()
    ]


def is_nested(kind: str) -> bool:
    """Whether a type is one to which the engine casts no text strictly."""
    return re.search(r"\b(Array|Tuple|Map|Nested|Variant|Dynamic|JSON)\b", kind) is not None


def without_null(kind: str) -> str:
    """A type without LowCardinality and Nullable.

    >>> without_null("LowCardinality(Nullable(String))"), without_null("Decimal(10, 2)")
    ('String', 'Decimal(10, 2)')
    """
    for wrapper in ("LowCardinality(", "Nullable("):
        if kind.startswith(wrapper):
            return without_null(kind.removeprefix(wrapper).removesuffix(")"))
    return kind


def key_versions(
    lake: Lake, table: str, key: str, *, shape: TableShape | None = None, kinds: Sequence[str] = (), strict: bool = True
) -> KeyVersions:
    """Every physical row of a key. With `strict`, a key without a row is an error.

    Raises:
        UnknownName: no row has that key; names near ones.
        UsageError: the key has another number of parts, or the table keeps no versions.
    """
    shape = shape or read_shape(lake, table)
    values = key_values(shape, key)
    raw = quote_table(table)
    match, bound = _match(shape.key, kinds or key_kinds(lake, shape), values)
    names = [n for n in shape.names if n != "_part"]
    order = quote(shape.version) if shape.version else "_part"
    sql = f"select {', '.join(map(quote, names))}, _part as `skygraph part` from {raw} where {match} order by {order}, _part"
    found = to_rows(lake.meaning(lake.query_history(sql, bound), sql, bound))
    if not found and strict:
        raise unknown_key(lake, shape, key, values)
    parts = tuple(str(row.pop("skygraph part")) for row in found)
    return KeyVersions(table, key, tuple(names), tuple(found), parts)


def _match(key: Sequence[str], kinds: Sequence[str], values: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The condition for one key, and what it binds. Compared in the column's own type, so that the engine finds it by its index."""
    parts, bound = [], {}
    for i, (name, kind, value) in enumerate(zip(key, kinds, values, strict=True)):
        bound[f"k{i}"] = value
        if is_nested(kind):
            parts.append(f"toString({name}) = {{k{i}:String}}")
            continue
        same = f"{name} = accurateCastOrNull({{k{i}:String}}, {quote_text(without_null(kind))})"
        parts.append(f"({same} or {name} is null)" if "Nullable(" in kind and value == "NULL" else same)
    return " and ".join(parts), bound


def unknown_key(lake: Lake, shape: TableShape, key: str, values: Sequence[str]) -> UnknownName:
    """The error for a key that no row has; names near ones, out of the first rows."""
    texts = ", ".join(f"ifNull(toString({k}), 'NULL')" for k in shape.key)
    near = lake.query_history(
        f"select texts from (select [{texts}] as texts from {quote_table(shape.table)} limit {_NEAR_ROWS}) group by texts "
        "order by editDistance(left(texts[1], 100), left({k:String}, 100)), texts limit 3",
        {"k": values[0]},
    )
    known = [join_key(texts) for texts in near.column(0).to_pylist()]
    return UnknownName(f"key of {shape.table}", key, known, hint=f"near it: {', '.join(known)}" if known else "the table is empty")
