"""What a table is made of: current against physical rows, keys with several versions, parts, what reading current rows costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import UnknownName, UsageError
from workbench.lake.client import Lake
from workbench.lake.sql import current, quote, quote_table

__all__ = ["KeyVersions", "TableFacts", "busiest_keys", "inspect_table", "key_versions"]


@dataclass(frozen=True)
class TableFacts(Answer):
    """A table's rows and parts now. `seconds_*` are of the same count, once each, over current and over physical rows."""

    table: str
    engine: str
    key: tuple[str, ...]
    current_rows: int
    physical_rows: int
    keys: int
    deleted_keys: int
    parts: int
    bytes_on_disk: int
    seconds_current: float
    seconds_raw: float

    @property
    def superseded_rows(self) -> int:
        """Physical rows that are not current: older versions, and the tombstones of deleted keys."""
        return self.physical_rows - self.current_rows

    def to_dict(self) -> Any:
        """All figures; sizes in bytes, times in seconds."""
        return {**self.__dict__, "key": list(self.key), "superseded_rows": self.superseded_rows}

    def blocks(self) -> Iterator[Block]:
        """The figures, then in words what forgetting FINAL would cost."""
        yield Heading(f"{self.table}: {self.engine}, key ({', '.join(self.key)})")
        yield Grid(
            ["", "rows", "count took (ms)"],
            [
                ["current", self.current_rows, round(self.seconds_current * 1000, 1)],
                ["physical", self.physical_rows, round(self.seconds_raw * 1000, 1)],
                ["superseded or deleted", self.superseded_rows, None],
                ["deleted keys", self.deleted_keys, None],
            ],
        )
        yield Note(f"{self.parts} part(s), {self.bytes_on_disk:,} bytes on disk", "quiet")
        if self.superseded_rows and self.current_rows:
            share = self.superseded_rows / self.current_rows
            yield Note(f"a count that forgot FINAL would be {share:.2%} too high")
        elif self.current_rows:
            yield Note("every physical row is current: FINAL changes nothing here now", "good")


@dataclass(frozen=True)
class KeyVersions(Answer):
    """Every physical row of one key, oldest version first."""

    table: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    def to_dict(self) -> Any:
        """The rows as objects."""
        return {"table": self.table, "key": self.key, "versions": list(self.rows)}

    def blocks(self) -> Iterator[Block]:
        """A grid of the versions; columns that never change come last in words."""
        yield Heading(f"{self.table}, key {self.key}: {len(self.rows)} version(s)")
        changing = [c for c in self.columns if c.startswith("_") or len({str(r[c]) for r in self.rows}) > 1]
        shown = self.columns if len(self.rows) == 1 else changing
        yield Grid(shown, [[row[c] for c in shown] for row in self.rows])
        if len(shown) < len(self.columns):
            yield Note(f"the other {len(self.columns) - len(shown)} columns are the same in all versions", "quiet")


def inspect_table(lake: Lake, table: str) -> TableFacts:
    """Count a ReplacingMergeTree table both ways. Reads key columns only; writes nothing.

    Raises:
        UnknownName: there is no such table; names the nearest.
        UsageError: it is a view, or of an engine that keeps no versions.
    """
    database, _, name = table.partition(".")
    facts = lake.query(
        "select engine, engine_full, total_bytes from system.tables where database = {d:String} and name = {t:String}",
        {"d": database, "t": name},
    ).to_pylist()
    if not facts:
        raise lake.unknown_table(table)
    engine = facts[0]["engine"]
    if "Replacing" not in engine:
        raise UsageError(f"{table} is a {engine}: it keeps no versions of its rows", hint="inspect a table of raw")
    key = lake.key(table)
    keys = ", ".join(map(quote, key))
    parts = lake.scalar(
        "select count() from system.parts where database = {d:String} and table = {t:String} and active", {"d": database, "t": name}
    )
    started = time.perf_counter()
    current_rows = int(lake.scalar(f"select count() from {current(table)}"))
    between = time.perf_counter()
    physical = lake.query_history(f"select count() from (select {keys} from {quote_table(table)})").column(0)[0].as_py()
    ended = time.perf_counter()
    distinct = lake.query_history(f"select count() from (select {keys} from {quote_table(table)} group by {keys})").column(0)[0].as_py()
    return TableFacts(
        table, engine, tuple(key), current_rows, int(physical), int(distinct), int(distinct) - current_rows, int(parts),
        int(facts[0]["total_bytes"] or 0), between - started, ended - between,
    )  # fmt: skip


def busiest_keys(lake: Lake, table: str, *, limit: int = 50) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys with most physical rows, and how many: column names and rows. Keys with one row are left out."""
    key = lake.key(table)
    if not key:
        raise UsageError(f"{table} has no key", hint="inspect a table of raw")
    keys = ", ".join(map(quote, key))
    found = lake.query_history(
        f"select {keys}, count() as versions from {quote_table(table)} group by {keys} having versions > 1 "
        f"order by versions desc, {keys} limit {int(limit)}"
    )
    return found.column_names, found.to_pylist()


def key_versions(lake: Lake, table: str, key: str) -> KeyVersions:
    """Every physical row of a key. The values of a compound key are separated by commas.

    Raises:
        UnknownName: no row has that key; names near ones.
        UsageError: the key has another number of parts.
    """
    names = lake.key(table)
    columns = lake.columns(table)
    values = [key] if len(names) == 1 else [part.strip() for part in key.split(",")]
    if len(values) != len(names):
        raise UsageError(f"the key of {table} is ({', '.join(names)}), not {key!r}", hint="separate its values by commas")
    # compared in the column's own type, so that the engine finds the key by its index
    match = " and ".join(f"{quote(n)} = accurateCastOrNull({{k{i}:String}}, {{t{i}:String}})" for i, n in enumerate(names))
    parameters = {f"k{i}": v for i, v in enumerate(values)} | {f"t{i}": columns[n] for i, n in enumerate(names)}
    version = "_version" if "_version" in columns else names[0]
    found = lake.query_history(f"select * from {quote_table(table)} where {match} order by {quote(version)}", parameters)
    if not found.num_rows:
        near = lake.query(
            f"select {', '.join(f'toString({quote(n)})' for n in names)} from {current(table)} "
            f"order by editDistance(left(toString({quote(names[0])}), 100), left({{k:String}}, 100)), {quote(names[0])} limit 3",
            {"k": values[0]},
        )
        known = [",".join(row.values()) for row in near.to_pylist()]
        raise UnknownName(f"key of {table}", key, known, hint=f"near it: {', '.join(known)}" if known else "the table is empty")
    return KeyVersions(table, key, tuple(columns), tuple(found.to_pylist()))
