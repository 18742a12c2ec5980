"""What Hermes remembers, in the lake: `skygraph.sync_state` (one watermark row per table) and `skygraph.sync_runs`.

Both are ReplacingMergeTree and read as current rows. `sync_state` moves only after the rows are in; every move, by a run or by
hand, is a row of `sync_runs`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing, quote, quote_table

__all__ = ["Ledger", "SyncRun", "TableState"]

STATE_TABLE = "skygraph.sync_state"
RUNS_TABLE = "skygraph.sync_runs"

_STATE_COLUMNS = (
    Column("table", "String"),
    Column("source", "String"),
    Column("from", "String"),
    Column("watermark_column", "String"),
    Column("watermark", "String"),
    Column("watermark_kind", "LowCardinality(String)"),
    Column("run_id", "String"),
    Column("synced_at", "DateTime64(3, 'UTC')"),
    Column("_version", "UInt64"),
    Column("position", "String"),
    Column("spec", "String"),
    Column("moved_by", "LowCardinality(String)"),
    Column("print", "String"),
)
_RUN_COLUMNS = (
    Column("run_id", "String"),
    Column("table", "String"),
    Column("source", "String"),
    Column("mode", "LowCardinality(String)"),
    Column("status", "LowCardinality(String)"),
    Column("started_at", "DateTime64(3, 'UTC')"),
    Column("finished_at", "DateTime64(3, 'UTC')"),
    Column("watermark_from", "String"),
    Column("watermark_to", "String"),
    Column("inserted", "UInt64"),
    Column("deleted", "UInt64"),
    Column("error", "String"),
    Column("_version", "UInt64"),
    Column("rows_read", "UInt64"),
    Column("unchanged", "UInt64"),
    Column("quarantined", "UInt64"),
    Column("bytes", "UInt64"),
    Column("source_checksum", "String"),
    Column("lake_checksum", "String"),
    Column("ranges", "UInt64"),
    Column("ranges_differing", "UInt64"),
    Column("keys_listed", "UInt64"),
    Column("note", "String"),
    Column("moved_by", "LowCardinality(String)"),
)


_STATE = ", ".join(f"toUnixTimestamp64Milli({quote(c.name)})" if c.name == "synced_at" else quote(c.name) for c in _STATE_COLUMNS)


@dataclass(frozen=True)
class TableState:
    """How far a table has been read, by which run, and when that run ended.

    The watermark is one of `watermark_column` in the table `from_` of the source, and says nothing about any other.
    `position` is where the source was, for sources that have positions; `spec` tells the settings and columns that it was read
    with, `print` is the fingerprint of its keys, where a sweep found both sides equal.
    `moved_by` is `sync`, or who moved the watermark by hand.
    """

    table: str
    source: str
    watermark: Watermark | None
    run_id: str
    synced_at: dt.datetime
    version: int
    from_: str = ""
    watermark_column: str = ""
    position: str = ""
    spec: str = ""
    moved_by: str = "sync"
    print: str = ""


@dataclass(frozen=True)
class SyncRun:
    """One run of one table, with its receipt.

    `mode` is `incremental` (from the watermark), `full` (every row compared), `unchanged` (the source said that nothing changed),
    `backfill`, `replay` or `rewind`; `status` is ok, failed or stopped. Counts are rows: `rows_read` from the source, `inserted` new and
    changed ones, `unchanged` those that were current already, `deleted` tombstones written, `quarantined` rows with a value that
    does not fit. `bytes` are of the rows as they landed. The checksums are over all columns of the rows that were read: as they
    came from the source, and as they are current in the lake after the run. `ranges`, `ranges_differing` and `keys_listed` tell
    what a sweep compared: ranges of keys by fingerprint, those that differed, and the rows that were read for those.
    """

    run_id: str
    table: str
    source: str
    mode: str
    status: str
    started_at: dt.datetime
    finished_at: dt.datetime
    watermark_from: str = ""
    watermark_to: str = ""
    inserted: int = 0
    deleted: int = 0
    error: str = ""
    rows_read: int = 0
    unchanged: int = 0
    quarantined: int = 0
    bytes: int = 0
    source_checksum: str = ""
    lake_checksum: str = ""
    ranges: int = 0
    ranges_differing: int = 0
    keys_listed: int = 0
    note: str = ""
    moved_by: str = "sync"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """The run as data."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"seconds": round(self.seconds, 3)}


class Ledger:
    """Reads and writes both tables; makes them when they are not there."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._ready = False

    def prepare(self) -> None:
        """Make the databases and tables, with the columns that a later release added; does nothing the second time, or for a viewer."""
        if self._ready or self.lake.is_read_only:
            return
        for database in ("raw", "skygraph"):
            self.lake.create_database(database)
        runs_key = ["table", "started_at", "run_id"]
        for table, columns, key in ((STATE_TABLE, _STATE_COLUMNS, ["table"]), (RUNS_TABLE, _RUN_COLUMNS, runs_key)):
            here = self.lake.columns(table)
            if not here:
                ddl = create_replacing(table, columns, key=key, version="_version", placement=self.lake.placement)
                self.lake.command(ddl, retry=True)
            elif missing := [c for c in columns if c.name not in here]:
                added = ", ".join(f"add column if not exists {quote(c.name)} {c.type}" for c in missing)
                self.lake.command(f"alter table {quote_table(table)}{self.lake.placement.on_cluster} {added}", retry=True)
        self._ready = True

    def states(self) -> dict[str, TableState]:
        """The state of every table that has been synced, by name."""
        self.prepare()
        return {row[0]: _state(row) for row in self.lake.facts(f"select {_STATE} from {STATE_TABLE}")}

    def look(self, tables: Sequence[str]) -> dict[str, tuple[TableState | None, bool]]:
        """In one statement, of each of these tables: its state, None when it was never synced, and whether its raw table is there."""
        ((states, there),) = self.lake.facts(
            f"select (select groupArray(tuple({_STATE})) from {STATE_TABLE} where table in {{t:Array(String)}}), "
            "(select groupArray(name) from system.tables where database = 'raw' and name in {t:Array(String)})",
            {"t": list(tables)},
        )
        known = {row[0]: _state(row) for row in states}
        return {table: (known.get(table), table in there) for table in tables}

    def move_mark(self, *states: TableState) -> None:
        """Write states of tables: the last step of a sync."""
        self._write(STATE_TABLE, [
            {
                "table": s.table, "source": s.source, "from": s.from_, "watermark_column": s.watermark_column,
                "watermark": s.watermark.text() if s.watermark else "", "watermark_kind": s.watermark.kind if s.watermark else "",
                "run_id": s.run_id, "synced_at": s.synced_at, "_version": s.version, "position": s.position, "spec": s.spec,
                "moved_by": s.moved_by, "print": s.print,
            }
            for s in states
        ])  # fmt: skip

    def record(self, run: SyncRun, *, version: int) -> None:
        """Write the row of a run."""
        self.prepare()
        row = run.to_dict()
        row.pop("seconds")
        self._write(RUNS_TABLE, [{**row, "_version": version}])

    def runs(self, *, table: str = "", limit: int = 100) -> list[SyncRun]:
        """Past runs, newest first, of one table or of all."""
        self.prepare()
        where = "where table = {t:String} " if table else ""
        found = self.lake.rows(
            f"select * except _version from {RUNS_TABLE} {where}order by started_at desc, table limit {{n:UInt32}}",
            {"t": table, "n": limit},
        )
        return [SyncRun(**row) for row in found]

    def last_runs(self, *, most: int = 1) -> dict[str, list[SyncRun]]:
        """The newest runs of each table, at most so many, newest first, by name."""
        self.prepare()
        found = self.lake.rows(
            f"select * except _version from {RUNS_TABLE} order by started_at desc limit {{n:UInt32}} by table", {"n": most}
        )
        runs: dict[str, list[SyncRun]] = {}
        for row in found:
            runs.setdefault(row["table"], []).append(SyncRun(**row))
        return runs

    def runs_between(self, start: dt.datetime, end: dt.datetime) -> list[SyncRun]:
        """Runs that began in `start` <= t < `end`, in order."""
        self.prepare()
        found = self.lake.rows(
            f"select * except _version from {RUNS_TABLE} where started_at >= {{a:DateTime64(3, 'UTC')}} "
            "and started_at < {b:DateTime64(3, 'UTC')} order by started_at, table",
            {"a": start, "b": end},
        )
        return [SyncRun(**row) for row in found]

    def _write(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        # as JSON lines: Arrow would bring pandas into the process, three times as much memory as all of this
        if rows:
            self.lake.insert_stream(table, iter([json.dumps(row, default=_time_text).encode() + b"\n" for row in rows]), "JSONEachRow")


def _state(values: Sequence[Any]) -> TableState:
    row = dict(zip((c.name for c in _STATE_COLUMNS), values, strict=True))
    kind = row["watermark_kind"]
    mark = Watermark.parse(kind, row["watermark"]) if kind else None
    synced_at = dt.datetime.fromtimestamp(row["synced_at"] / 1000, dt.timezone.utc)
    return TableState(
        row["table"], row["source"], mark, row["run_id"], synced_at, row["_version"], row["from"], row["watermark_column"],
        row["position"], row["spec"], row["moved_by"] or "sync", row["print"],
    )  # fmt: skip


def _time_text(time: dt.datetime) -> str:
    return time.astimezone(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
