"""One table looked into: what the lake says of it, what sync says of it, and the life of its keys, each asked on its own.

Joins lake and Hermes for the inspector and for `skygraph inspect`. Reads only. A table that is dropped between two looks is an
UnknownName, whatever was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import QueryError, UsageError
from workbench.hermes.biography import KeyLife, read_life
from workbench.hermes.status import TableStatus, duration
from workbench.lake import Lake, TableFacts, busiest_keys, inspect_table, read_key_map, read_parts, read_shape, read_tombstones
from workbench.lake.inspect import TableShape, Tombstones
from workbench.lake.meter import ErrorMeter, measure_error
from workbench.lake.parts import KeyMap, Parts
from workbench.lake.price import Price, price, run_priced
from workbench.lake.sql import quote_table

__all__ = ["Inspection", "TableReport"]

T = TypeVar("T")

_GONE = (60, 81)  # ClickHouse: unknown table, unknown database
_MOST_KEYS = 200


@dataclass(frozen=True)
class TableReport(Answer):
    """Everything the inspector shows of a table, but for single keys.

    `keys` are those with most versions, `meter` tells how wrong aggregates would be, `price` what reading every column costs; None for a
    table without versions.
    """

    facts: TableFacts
    keys: tuple[dict[str, Any], ...] | None
    tombstones: Tombstones
    parts: Parts
    ranges: KeyMap
    shape: TableShape
    status: TableStatus | None
    meter: ErrorMeter | None = None
    price: Price | None = None

    def to_dict(self) -> Any:
        """The facts, and beside them `duplicates`, `tombstones`, `layout` (parts, merges), `ranges`, `schema`, `sync`, `meter`, `price`."""
        return {
            **self.facts.to_dict(),
            "duplicates": None if self.keys is None else list(self.keys),
            "tombstones": self.tombstones.to_dict(),
            "layout": self.parts.to_dict(),
            "ranges": self.ranges.to_dict(),
            "schema": self.shape.to_dict(),
            "sync": self.status.to_dict() if self.status else None,
            "meter": self.meter.to_dict() if self.meter else None,
            "price": self.price.to_dict() if self.price else None,
        }

    def blocks(self) -> Iterator[Block]:
        """Rows and cost, duplicates, tombstones, sync, parts, key ranges, errors and price, columns, DDL."""
        yield from self.facts.blocks()
        if self.keys:
            yield Heading("keys with most versions")
            yield Grid(
                ["key", "versions", "newest"], [[k["key"], k["versions"], "deleted" if k["deleted"] else "current"] for k in self.keys[:8]]
            )
        elif self.keys is not None:
            yield Note("every key has one version", "quiet")
        if self.shape.deleted:
            yield from self.tombstones.blocks()
        if (s := self.status) is not None:
            words = f"synced {duration(s.lag_s)} ago" if s.lag_s is not None else "never synced"
            due = f", due every {duration(s.every_s)}" if s.every_s else ""
            mark = f", watermark {s.watermark}" if s.watermark else ""
            yield Note(f"{words}{due}{mark}; last run {s.last_status}", "bad" if s.last_status == "failed" else "plain")
        if self.parts.total:
            yield from self.parts.blocks()
            yield from self.ranges.blocks()
        if self.meter and self.facts.physical_rows:
            yield Heading("what aggregates would be over physical rows")
            yield Grid(
                ["aggregate", "current", "raw", "raw would be"], [[a.aggregate, a.current, a.raw, a.words] for a in self.meter.aggregates]
            )
        if self.price:
            yield Note(f"reading every column: {self.price.words}", "bad" if self.price.is_dear else "plain")
            for line in self.price.advice:
                yield Note(line)
        yield Heading("columns")
        columns = [[c["name"], c["type"], "key" if c["in_key"] else "", c["compressed"] or None, c["comment"]] for c in self.shape.columns]
        yield Grid(["column", "type", "", "bytes", "comment"], columns)
        yield Heading("DDL")
        for line in self.shape.ddl.splitlines():
            yield Note(line, "quiet")


class Inspection:
    """Answers about one table, each a question of its own, as plain data for `Inspector`, or as one report.

    `status` reads how the table stands with its source; None for a table that sync does not know.
    """

    def __init__(self, lake: Lake, table: str, status: Callable[[], TableStatus | None]) -> None:
        self.lake, self.table, self._status = lake, table, status

    def report(self) -> TableReport:
        """All of it, for a terminal.

        Raises:
            UnknownName: there is no such table; names the nearest.
        """

        def read() -> TableReport:
            lake, table = self.lake, self.table
            shape = read_shape(lake, table)
            keyed = shape.merges and bool(shape.key)
            keys = tuple(busiest_keys(lake, table, limit=50, shape=shape)) if keyed else None
            versioned = keyed and "Replacing" in shape.engine
            return TableReport(
                inspect_table(lake, table, shape=shape), keys, read_tombstones(lake, table, shape=shape), read_parts(lake, table),
                read_key_map(lake, table), shape, self._status(), measure_error(lake, table, keep=False) if versioned else None,
                price(lake, self._whole) if versioned else None,
            )  # fmt: skip

        return self._here(read)

    def key(self, key: str) -> KeyLife:
        """The life of one key.

        Raises:
            UnknownName: no version has that key; names near ones.
            UsageError: the key has another number of parts, or the table keeps no versions.
        """
        return self._here(lambda: read_life(self.lake, self.table, key))

    # --- what the inspector asks

    def head(self) -> Mapping[str, Any]:
        """What it is, and how it stands with its source."""
        shape = self._here(lambda: read_shape(self.lake, self.table))
        status = self._status()
        return {
            "table": self.table, "engine": shape.engine, "key": list(shape.key), "version": shape.version, "deleted": shape.deleted,
            "is_view": shape.is_view, "merges": shape.merges, "comment": shape.comment, "reads": list(shape.reads),
            "sync": status.to_dict() if status else None,
        }  # fmt: skip

    def now(self) -> Mapping[str, Any]:
        """What may change at any moment, out of catalogues: `parts`, `rows`, `bytes`, `print` (another one when the parts are others),
        `merges`, and the sync that `runs` (rows read and written, seconds), or None. Three small statements."""  # fmt: skip
        database, _, name = self.table.partition(".")
        found = self.lake.rows(
            "select count() as parts, sum(rows) as rows, sum(bytes_on_disk) as bytes, toString(sum(cityHash64(name))) as print, "
            "(select count() from system.tables where database = {d:String} and name = {t:String}) as here "
            "from system.parts where database = {d:String} and table = {t:String} and active",
            {"d": database, "t": name},
        )[0]
        if not found.pop("here"):
            raise self.lake.unknown_table(self.table)
        merges = self.lake.rows(
            "select result_part_name as result_part, progress, elapsed as elapsed_s, num_parts as parts, rows_read, "
            "total_size_bytes_compressed as bytes, source_part_names as sources from system.merges "
            "where database = {d:String} and table = {t:String} order by elapsed desc limit 20",
            {"d": database, "t": name},
        )
        read, written, seconds = self.lake.running(f"sync:{name}:") if database == "raw" else (0, 0, 0.0)
        runs = {"read": read, "written": written, "seconds": seconds} if seconds else None
        return {**found, "merges": merges, "runs": runs}

    def facts(self) -> Mapping[str, Any]:
        """Current against physical rows, counted, with what the counts cost."""
        facts = self._here(lambda: inspect_table(self.lake, self.table))
        words, tone = facts.verdict
        return {**facts.to_dict(), "verdict": words, "tone": tone}

    def tombstones(self) -> Mapping[str, Any]:
        """The rows that mark deleted keys."""
        return dict(self._here(lambda: read_tombstones(self.lake, self.table)).to_dict())

    def keys(self) -> Mapping[str, Any]:
        """The keys with most versions; for a table without versions, `why`."""
        try:
            return {"keys": self._here(lambda: busiest_keys(self.lake, self.table, limit=_MOST_KEYS)), "most": _MOST_KEYS}
        except UsageError as error:
            if type(error) is not UsageError:
                raise
            return {"keys": [], "why": str(error)}

    def life(self, key: str) -> Mapping[str, Any]:
        """The versions of one key."""
        life = self.key(key)
        return {
            "key": life.key, "columns": [c for c in life.columns if not c.startswith("_")], "gaps": life.gaps,
            "versions": [{**v.__dict__, "changed": {c["column"]: c["old"] for c in v.changes}} for v in life.versions],
        }  # fmt: skip

    def parts(self) -> Mapping[str, Any]:
        """The parts, largest first."""
        return dict(self._here(lambda: read_parts(self.lake, self.table)).to_dict())

    def ranges(self) -> Mapping[str, Any]:
        """The key ranges of the parts."""
        return dict(self._here(lambda: read_key_map(self.lake, self.table)).to_dict())

    def schema(self) -> Mapping[str, Any]:
        """Columns and DDL."""
        return self._here(lambda: read_shape(self.lake, self.table)).to_dict()

    def meter(self) -> Mapping[str, Any]:
        """How wrong aggregates would be over physical rows; the measurement is kept, so that the next look sees how it went."""
        try:
            return dict(self._here(lambda: measure_error(self.lake, self.table)).to_dict())
        except UsageError as error:
            if type(error) is not UsageError:
                raise
            return {"aggregates": [], "why": str(error)}

    def price(self) -> Mapping[str, Any]:
        """What reading every column of the current rows will cost. Runs nothing."""
        return self._priced(lambda: price(self.lake, self._whole))

    def cost(self) -> Mapping[str, Any]:
        """What it does cost: reads every column once; predicted and actual price are kept."""
        return self._priced(lambda: run_priced(self.lake, self._whole)[1])

    def _priced(self, read: Callable[[], Price]) -> Mapping[str, Any]:
        found = self._here(read)
        return {**found.to_dict(), "words": found.words}

    @property
    def _whole(self) -> str:
        """A statement that reads every column of every row, and answers one number."""
        return f"select sum(cityHash64(*)) from {quote_table(self.table)}"

    def _here(self, read: Callable[[], T]) -> T:
        """What is read; a table that went away meanwhile is an unknown one."""
        try:
            return read()
        except QueryError as error:
            if error.code in _GONE and not self.lake.columns(self.table):
                raise self.lake.unknown_table(self.table) from error
            raise
